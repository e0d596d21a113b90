"""What computes: scikit-learn's models, its forests more quickly, ONNX graphs."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, cast

from holdfast.serving.errors import LoadError

_WHOLE_MAX: Final = 2.0**63  # beyond it, and of NaN, 64 bits hold something else


class UnfitError(ValueError):
    """The model cannot take what is in this column; ``what`` that is."""

    def __init__(self, column: int, what: str) -> None:
        super().__init__(f"column {column} is {what}")
        self.column = column
        self.what = what


def optional(module: str, what: str) -> Any:
    """A library that a plain node does not have; raises ``LoadError``."""
    try:
        return importlib.import_module(module)
    except ImportError:
        raise LoadError(
            f"{what} need {module.partition('.')[0]}, which is not installed on this node: "
            "install holdfast[serving]."
        ) from None


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

    def known(self, features: Sequence[str]) -> dict[str, Any]:
        """Of features that are categories: one that the model knows."""
        return _known(self._model, list(features), list(features))

    def predict(self, matrix: Any, *, probable: bool) -> tuple[list[Any], list[list[float]] | None]:
        """Labels, and for each a row of probabilities if the model has them.

        Raises ``UnfitError`` if it is known what is wrong, or whatever the model does.
        """
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
        self._whole = [at for at, (_, kind) in enumerate(self._inputs) if kind == "int64"]
        self._outputs = [one.name for one in self._session.get_outputs()]
        self.classes = []

    def known(self, features: Sequence[str]) -> dict[str, Any]:
        del features
        return {}

    def predict(self, matrix: Any, *, probable: bool) -> tuple[list[Any], list[list[float]] | None]:
        if self._whole:
            self._check_whole(matrix)
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

    def _check_whole(self, matrix: Any) -> None:
        """A cast would make a number of anything."""
        columns = range(matrix.shape[1]) if len(self._inputs) == 1 else self._whole
        fits = abs(matrix) < _WHOLE_MAX
        for column in columns:
            if not fits[:, column].all():
                missing = (matrix[:, column] != matrix[:, column]).any()
                raise UnfitError(column, "missing or null" if missing else "too large a number")


def _known(model: Any, inputs: list[str], features: list[str]) -> dict[str, Any]:
    """As its parts that scikit-learn fitted tell, which have ``inputs`` of the ``features``."""
    if hasattr(model, "categories_"):
        lists: list[list[Any]] = [one.tolist() for one in model.categories_]
        fits = len(lists) == len(inputs)
        return {name: one[0] for name, one in zip(inputs, lists, strict=False) if fits and one}
    if hasattr(model, "transformers_"):
        found: dict[str, Any] = {}
        for _, part, columns in model.transformers_:
            if isinstance(columns, list):
                told = cast("list[Any]", columns)
                names = [features[one] if isinstance(one, int) else str(one) for one in told]
                found |= _known(part, names, features)
        return found
    for _, part in getattr(model, "steps", ()):
        if found := _known(part, inputs, features):
            return found
    return {}


def _onnx_type(name: str) -> str:
    known = {"tensor(float)": "float32", "tensor(double)": "float64", "tensor(int64)": "int64"}
    if name not in known:
        raise LoadError(f"The ONNX model has an input of type {name}; wanted are numbers.")
    return known[name]
