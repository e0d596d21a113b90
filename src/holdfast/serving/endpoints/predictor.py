"""Records as rows of a model's features, and its answers as dataikuapi knows them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, cast

from holdfast.serving.endpoints.base import Query, Row
from holdfast.serving.endpoints.engines import Engine, UnfitError, optional
from holdfast.serving.endpoints.prediction import RecordModel, ignored
from holdfast.serving.errors import QueryError
from holdfast.serving.packages.manifest import ClusteringSpec, PredictionSpec

_NAN: Final = math.nan
_LARGEST: Final = 3.4028234663852886e38  # what 32 bits hold: trees and networks have no more

_TRIES_MAX: Final = 16  # so often a model is asked to find out who is at fault


def pandas(what: str) -> Any:
    """pandas, or a ``LoadError`` that says who needs it."""
    return optional("pandas", what)


class Table:
    """Makes a matrix (or data frame) of records; numbers may come as text, gaps are NaN."""

    def __init__(self, features: Sequence[str], *, frame: bool) -> None:
        self._features = list(features)
        self._numpy = optional("numpy", "predictions")
        self._pandas = pandas("models with frame = true") if frame else None

    def rows(self, records: Sequence[Row]) -> tuple[Any, list[str | QueryError | None]]:
        """The matrix of the records that can be used, and for each record why it cannot."""
        if self._pandas is not None:
            frame = self._pandas.DataFrame(list(records), columns=self._features)
            return frame, [None] * len(records)
        features = self._features
        kept: list[list[float]] = []
        reasons: list[str | QueryError | None] = []
        for record in records:
            try:
                kept.append([float(record[name]) for name in features])
                reasons.append(None)
            except (KeyError, TypeError, ValueError, OverflowError):
                row, reason = self._slowly(record)
                reasons.append(reason)
                if reason is None:
                    kept.append(row)
        return self._numpy.array(kept, dtype="float64").reshape(-1, len(features)), reasons

    def values(self, row: Any) -> list[Any]:
        """What a matrix or frame of one row holds."""
        return (row.iloc[0] if self._pandas is not None else row[0]).tolist()

    def of(self, values: list[Any]) -> Any:
        """A matrix or frame of one row."""
        if self._pandas is not None:
            return self._pandas.DataFrame([values], columns=self._features)
        return self._numpy.array([values], dtype="float64")

    def _slowly(self, record: Row) -> tuple[list[float], str | QueryError | None]:
        row: list[float] = []
        for name in self._features:
            value = record.get(name)
            try:
                row.append(_NAN if value is None or value == "" else float(value))
            except (TypeError, ValueError):
                return [], f"the feature {name} is not a number"
            except OverflowError:
                return [], QueryError(f"The feature {name!r} is too large a number.")
        return row, None


class Predictor(RecordModel):
    """Records through a table and an engine, answers as dataikuapi knows them."""

    def __init__(self, spec: PredictionSpec | ClusteringSpec, engine: Engine) -> None:
        self._engine = engine
        self._table = Table(spec.features, frame=spec.frame)
        self._features = spec.features
        self._clusters = isinstance(spec, ClusteringSpec)
        self._probable = isinstance(spec, PredictionSpec) and spec.task == "classification"
        self._names = spec.classes
        self._classes: list[str] = spec.classes
        self._framed = spec.frame
        # Values of a record that the model has answered; before the first, what is known of it.
        known = engine.known(spec.features) if spec.frame else {}
        self._usual: list[Any] = [known.get(name, 0.0) for name in spec.features] if known else []

    def predict(self, records: Sequence[Row]) -> list[Row | QueryError]:
        matrix, reasons = self._table.rows(records)
        good = iter(self._answers(matrix))
        results = [
            next(good) if reason is None else ignored(reason) if isinstance(reason, str) else reason
            for reason in reasons
        ]
        if self._framed and not any(isinstance(one, QueryError) for one in results):
            self._usual = [records[0].get(name) for name in self._features]
        return results

    def _answers(self, matrix: Any) -> Sequence[Row | QueryError]:
        """Of all rows at once; if that fails, of each alone, so that who is at fault is known."""
        if not len(matrix):
            return []
        try:
            return self._results(matrix)
        except Exception as error:
            if len(matrix) > 1:
                rows = range(len(matrix))
                return [self._answers(matrix[at : at + 1])[0] for at in rows]
            if isinstance(error, UnfitError):
                return [self._unfit(error.column, error.what)]
            fault = self._fault(matrix)
            if fault is None:
                raise
            return [fault]

    def _fault(self, row: Any) -> QueryError | None:
        """Which feature the model fails for, if it answers with another value in its place.

        That is one of a record it has answered (a test query, for one), or else 0.
        """
        values = self._table.values(row)
        found = [kind_of(value) for value in values]
        usual = self._usual or [0.0] * len(values)
        odd = [at for at, value in enumerate(usual) if found[at] != kind_of(value)]
        changed = [at for at, value in enumerate(self._usual) if values[at] != value]
        if odd and self._works(_with(values, usual, odd)):
            at = self._culprit(values, usual, odd)
        elif changed and self._works(_with(values, usual, changed)):
            at = self._culprit(values, usual, changed)
        else:
            at = self._single_culprit(values, found)
        if at < 0:
            return None
        return self._unfit(at, found[at] if found[at] != kind_of(usual[at]) else "a value")

    def _unfit(self, at: int, what: str) -> QueryError:
        return QueryError(
            f"The feature {self._features[at]!r} is {what} that the model cannot take."
        )

    def _culprit(self, values: list[Any], usual: list[Any], odd: list[int]) -> int:
        """That of the odd ones without which it works, if it is one alone; else the first."""
        for at in odd if 1 < len(odd) <= _TRIES_MAX else ():
            if not self._works(_with(values, usual, [one for one in odd if one != at])):
                return at
        return odd[0]

    def _single_culprit(self, values: list[Any], found: list[str]) -> int:
        """Nothing is known of what the model takes where: a number or a text in one's place."""
        for at in range(len(values)) if len(values) <= _TRIES_MAX else ():
            for other in (0.0, ""):
                if found[at] != kind_of(other) and self._works(
                    [*values[:at], other, *values[at + 1 :]]
                ):
                    return at
        return -1

    def _works(self, values: list[Any]) -> bool:
        try:
            self._results(self._table.of(values))
        except Exception:  # noqa: BLE001 - models raise what they like
            return False
        return True

    def _results(self, matrix: Any) -> list[Row]:
        labels, probas = self._engine.predict(matrix, probable=self._probable)
        if self._clusters:
            return [{"prediction": self._cluster(one), "ignored": False} for one in labels]
        if probas is None:
            return [{"prediction": one, "ignored": False} for one in labels]
        # An ONNX graph tells its classes with its first answer only.
        classes = self._classes = self._classes or [str(one) for one in self._engine.classes]
        return [
            {
                "prediction": label,
                "probas": dict(zip(classes, row, strict=False)),
                "probaPercentile": None,
                "explanations": None,
                "ignored": False,
            }
            for label, row in zip(self._named(labels), probas, strict=True)
        ]

    def _named(self, labels: list[Any]) -> list[Any]:
        if not self._names:
            return labels
        known = dict(zip(self._engine.classes, self._names, strict=False))
        return [known.get(label, label) for label in labels]

    def _cluster(self, label: Any) -> str:
        number = int(label)
        return self._names[number] if 0 <= number < len(self._names) else f"cluster_{number}"

    def infer(self, query: Query) -> Query:
        matrix = self._tensor(query)
        try:
            labels, probas = self._engine.predict(matrix, probable=self._probable)
        except UnfitError as error:
            raise self._unfit(error.column, error.what) from None
        except Exception:
            for at in range(len(matrix)):
                fault = self._fault(self._table.of(matrix[at].tolist()))
                if fault is not None:
                    raise fault from None
            raise
        words = any(isinstance(one, str) for one in labels)
        outputs: list[Row] = [
            {
                "name": "predict",
                "shape": [len(labels)],
                "datatype": "BYTES" if words else "FP64",
                "data": labels if words else [float(one) for one in labels],
            }
        ]
        if probas is not None:
            flat = [value for row in probas for value in row]
            shape = [len(labels), len(flat) // max(1, len(labels))]
            outputs.append(
                {"name": "predict_proba", "shape": shape, "datatype": "FP64", "data": flat}
            )
        answer: Query = {"outputs": outputs}
        if isinstance(query.get("id"), str):
            answer["id"] = query["id"]
        return answer

    def _tensor(self, query: Query) -> Any:
        numpy = optional("numpy", "predictions")
        inputs = query.get("inputs")
        if not isinstance(inputs, list) or not inputs:
            raise QueryError("The query needs 'inputs', a JSON array of tensors.")
        try:
            given = cast("list[Row]", inputs)
            if len(given) == 1 and len(given[0]["shape"]) == 2:
                matrix = numpy.array(given[0]["data"], dtype="float64")
                matrix = matrix.reshape([int(one) for one in given[0]["shape"]])
            else:
                by_name = {one["name"]: one["data"] for one in given}
                columns = [by_name[name] for name in self._features]
                matrix = numpy.array(columns, dtype="float64").reshape(len(columns), -1).T
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise QueryError(f"The tensors do not fit: {error!r}.") from None
        if not len(matrix):
            raise QueryError("The tensors have no rows.")
        if matrix.shape[1] != len(self._features):
            raise QueryError(f"The model has {len(self._features)} features.")
        return matrix


def kind_of(value: Any) -> str:
    """What a feature's value is, as a client may be told."""
    if value is None or value != value:  # noqa: PLR0124 - NaN
        return "missing or null"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "a number" if abs(value) <= _LARGEST else "too large a number"
    return "text" if isinstance(value, str) else "not a single value"


def _with(values: list[Any], others: list[Any], where: list[int]) -> list[Any]:
    """The values, with others at these places."""
    return [others[at] if at in where else value for at, value in enumerate(values)]
