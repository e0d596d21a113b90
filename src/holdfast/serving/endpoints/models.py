"""Trained models: opened as their flavour asks, and answering records as rows of numbers.

skops and ONNX hold no code. Pickles, and MLflow models that are pickles within, run code when
they are opened: only for packages that a trusted key signed, on nodes that allow it.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, cast

from holdfast.serving.endpoints.base import Query, Row, Surroundings
from holdfast.serving.endpoints.prediction import RecordModel, ignored
from holdfast.serving.errors import EndpointKindError, LoadError, QueryError
from holdfast.serving.packages.manifest import ClusteringSpec, PredictionSpec

_NAN: Final = math.nan
# Tables of numbers that scikit-learn's own estimators consist of; skops leaves them to us. A
# forged one may crash the worker that opens it, which is why a worker opens it.
_NUMBERS: Final = (
    "sklearn.tree._tree.Tree",
    "sklearn._loss.link.Interval",
    "sklearn._loss.link.LogitLink",
    "sklearn._loss.link.MultinomialLogit",
    "sklearn._loss.loss.HalfBinomialLoss",
    "sklearn._loss.loss.HalfMultinomialLoss",
    "sklearn._loss.loss.HalfSquaredError",
)


def optional(module: str, what: str) -> Any:
    """A library that a plain node does not have; raises ``LoadError``."""
    try:
        return importlib.import_module(module)
    except ImportError:
        raise LoadError(
            f"{what} need {module.partition('.')[0]}, which is not installed on this node: "
            "install holdfast[serving]."
        ) from None


def pandas(what: str) -> Any:
    """pandas, or a ``LoadError`` that says who needs it."""
    return optional("pandas", what)


class Table:
    """Makes a matrix (or data frame) of records; numbers may come as text, gaps are NaN."""

    def __init__(self, features: Sequence[str], *, frame: bool) -> None:
        self._features = list(features)
        self._numpy = optional("numpy", "predictions")
        self._pandas = pandas("models with frame = true") if frame else None

    def rows(self, records: Sequence[Row]) -> tuple[Any, list[str | None]]:
        """The matrix of the records that can be used, and for each record why it cannot."""
        if self._pandas is not None:
            frame = self._pandas.DataFrame(list(records), columns=self._features)
            return frame, [None] * len(records)
        features = self._features
        kept: list[list[float]] = []
        reasons: list[str | None] = []
        for record in records:
            try:
                kept.append([float(record[name]) for name in features])
                reasons.append(None)
            except (KeyError, TypeError, ValueError):
                row, reason = self._slowly(record)
                reasons.append(reason)
                if reason is None:
                    kept.append(row)
        return self._numpy.array(kept, dtype="float64").reshape(-1, len(features)), reasons

    def _slowly(self, record: Row) -> tuple[list[float], str | None]:
        row: list[float] = []
        for name in self._features:
            value = record.get(name)
            try:
                row.append(_NAN if value is None or value == "" else float(value))
            except (TypeError, ValueError):
                return [], f"the feature {name} is not a number"
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

    def predict(self, records: Sequence[Row]) -> list[Row]:
        matrix, reasons = self._table.rows(records)
        good = iter(self._results(matrix) if len(matrix) else [])
        return [next(good) if reason is None else ignored(reason) for reason in reasons]

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
        labels, probas = self._engine.predict(matrix, probable=self._probable)
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
        except (KeyError, TypeError, ValueError) as error:
            raise QueryError(f"The tensors do not fit: {error!r}.") from None
        if matrix.shape[1] != len(self._features):
            raise QueryError(f"The model has {len(self._features)} features.")
        return matrix


class Engine:
    """A model with scikit-learn's methods."""

    def __init__(self, model: Any) -> None:
        self._model = model
        if not callable(getattr(model, "predict", None)):
            raise LoadError("The model has no method 'predict'.")
        self._has_probas = callable(getattr(model, "predict_proba", None))
        self.classes: list[Any] = [
            one.item() if hasattr(one, "item") else one for one in getattr(model, "classes_", ())
        ]

    def predict(self, matrix: Any, *, probable: bool) -> tuple[list[Any], list[list[float]] | None]:
        """Labels, and for each a row of probabilities if the model has them."""
        if not (probable and self._has_probas and self.classes):
            found = self._model.predict(matrix)
            return (found.tolist() if hasattr(found, "tolist") else list(found)), None
        # A classifier's label is its likeliest class: the model need not be asked twice.
        probas = self._model.predict_proba(matrix)
        classes = self.classes
        return [classes[best] for best in probas.argmax(axis=1).tolist()], probas.tolist()


class ForestEngine(Engine):
    """A scikit-learn forest, its trees asked without the thread pool around them.

    For the few rows of a batch the pool costs several times what the trees do (measured: 5 ms a
    call for 100 trees, against 1). What the trees are not meant for goes the usual way.
    """

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self._numpy = optional("numpy", "predictions")
        self._trees = [tree.tree_ for tree in model.estimators_]

    @classmethod
    def suits(cls, model: Any, features: int) -> bool:
        """Whether it is a forest of one output, and gives the same answers in this way."""
        kind = cast("type[object]", type(model))
        forests = ("RandomForestClassifier", "ExtraTreesClassifier")
        if not kind.__module__.startswith("sklearn.ensemble.") or kind.__name__ not in forests:
            return False
        if getattr(model, "n_outputs_", 0) != 1 or model.n_features_in_ != features:
            return False
        numpy = optional("numpy", "predictions")
        rows = numpy.linspace(-3, 12, 8 * features).reshape(8, features)
        return bool(numpy.allclose(cls(model).probas(rows), model.predict_proba(rows)))

    def probas(self, matrix: Any) -> Any:
        rows = self._numpy.ascontiguousarray(matrix, dtype="float32")
        total = self._trees[0].predict(rows)
        for tree in self._trees[1:]:
            total += tree.predict(rows)
        return total / len(self._trees)

    def predict(self, matrix: Any, *, probable: bool) -> tuple[list[Any], list[list[float]] | None]:
        if not probable or not self._numpy.isfinite(matrix).all():
            return super().predict(matrix, probable=probable)
        probas = self.probas(matrix)
        classes = self.classes
        return [classes[best] for best in probas.argmax(axis=1).tolist()], probas.tolist()


class OnnxEngine(Engine):
    """An ONNX graph; one thread, as there are several workers."""

    def __init__(self, path: Path) -> None:
        runtime = optional("onnxruntime", "ONNX models")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = runtime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        self._inputs = [(one.name, _onnx_type(one.type)) for one in self._session.get_inputs()]
        self._outputs = [one.name for one in self._session.get_outputs()]
        self.classes = []

    def predict(self, matrix: Any, *, probable: bool) -> tuple[list[Any], list[list[float]] | None]:
        if len(self._inputs) == 1:
            name, kind = self._inputs[0]
            feed = {name: matrix.astype(kind)}
        else:
            feed = {
                name: matrix[:, [at]].astype(kind) for at, (name, kind) in enumerate(self._inputs)
            }
        names = self._outputs if probable else self._outputs[:1]
        found = self._session.run(names, feed)
        labels = found[0].reshape(len(found[0]), -1)[:, 0].tolist()
        if len(found) < 2:
            return labels, None
        probas = found[1]
        if isinstance(probas, list):  # a ZipMap: one mapping of class to probability a row
            rows = cast("list[dict[Any, float]]", probas)
            self.classes = self.classes or list(rows[0])
            return labels, [list(row.values()) for row in rows]
        self.classes = self.classes or list(range(probas.shape[1]))
        return labels, probas.tolist()


def _onnx_type(name: str) -> str:
    known = {"tensor(float)": "float32", "tensor(double)": "float64", "tensor(int64)": "int64"}
    if name not in known:
        raise LoadError(f"The ONNX model has an input of type {name}; wanted are numbers.")
    return known[name]


def load_model(spec: PredictionSpec | ClusteringSpec, around: Surroundings) -> RecordModel:
    """The model of an endpoint; raises ``LoadError``, ``EndpointKindError``."""
    path = around.content / spec.model
    if spec.flavour == "onnx":
        return Predictor(spec, OnnxEngine(path))
    if spec.flavour == "skops":
        model = _skops(path, spec.trusted_types, around)
        quick = not spec.frame and ForestEngine.suits(model, len(spec.features))
        return Predictor(spec, ForestEngine(model) if quick else Engine(model))
    if spec.flavour == "mlflow":
        return Predictor(spec, _mlflow(path, spec, around))
    return Predictor(spec, Engine(_pickle(path, around)))


def _skops(path: Path, trusted: list[str], around: Surroundings) -> Any:
    if trusted and not around.allow_pickle:
        raise LoadError(
            "trusted_types lets a model run code of its own: the package must be signed by a "
            "trusted key, and the node must have allow_pickle."
        )
    io = optional("skops.io", "skops models")
    trusted = [*trusted, *_NUMBERS]
    unknown = [one for one in io.get_untrusted_types(file=path) if one not in trusted]
    if unknown:
        raise LoadError(f"{path.name} holds types that are not trusted: {', '.join(unknown)}.")
    return io.load(path, trusted=trusted)


def _pickle(path: Path, around: Surroundings) -> Any:
    if not around.allow_pickle:
        raise EndpointKindError(
            f"{path.name} is a pickle, which runs code when opened: sign the package with a key "
            "the node trusts, and set allow_pickle on the node; or save the model with skops or "
            "as ONNX."
        )
    import pickle  # noqa: PLC0415 - signed, and allowed by the node

    with path.open("rb") as file:
        return pickle.load(file)  # noqa: S301 - signed, and allowed by the node


def _mlflow(folder: Path, spec: PredictionSpec | ClusteringSpec, around: Surroundings) -> Engine:
    """An MLflow model's folder: by what its MLmodel says is within."""
    yaml: Any = optional("yaml", "MLflow models")
    try:
        described: Any = yaml.safe_load((folder / "MLmodel").read_text())
        flavours: dict[str, Any] = described["flavors"]
    except (OSError, KeyError, TypeError, yaml.YAMLError) as error:
        raise LoadError(f"{spec.model} is not an MLflow model: {error!r}.") from None
    if "onnx" in flavours:
        return OnnxEngine(_within(folder, str(flavours["onnx"].get("data", "model.onnx"))))
    sklearn = flavours.get("sklearn")
    if sklearn is not None:
        path = _within(folder, str(sklearn.get("pickled_model", "model.pkl")))
        if sklearn.get("serialization_format") == "skops":
            return Engine(_skops(path, spec.trusted_types, around))
        return Engine(_pickle(path, around))
    if "python_function" in flavours:
        if not around.allow_pickle:
            return Engine(_pickle(folder / "MLmodel", around))  # says why not
        return Engine(optional("mlflow.pyfunc", "MLflow models").load_model(str(folder)))
    raise EndpointKindError(
        f"{spec.model} has the MLflow flavours {sorted(flavours)}; served are sklearn, onnx and "
        "python_function."
    )


def _within(folder: Path, name: str) -> Path:
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise LoadError(f"{name!r} leads out of the model's folder.")
    return path
