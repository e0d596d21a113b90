"""Endpoints of the author's own Python: a function, a prediction class, a forecast class."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from holdfast.serving.endpoints.base import Endpoint, Query, Row, Surroundings
from holdfast.serving.endpoints.prediction import RecordModel
from holdfast.serving.errors import LoadError, QueryError
from holdfast.serving.packages.manifest import (
    CustomPredictionSpec,
    ForecastSpec,
    FunctionSpec,
)


def load_module(content: Path, file: str) -> ModuleType:
    """Run a module of the package; its siblings there can be imported."""
    if str(content) not in sys.path:
        sys.path.insert(0, str(content))
    name = file.removesuffix(".py").replace("/", ".")
    found = sys.modules.get(name)
    if found is not None and getattr(found, "__file__", None) == str(content / file):
        return found
    spec = importlib.util.spec_from_file_location(name, content / file)
    if spec is None or spec.loader is None:
        raise LoadError(f"{file} is not a Python module.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def attribute(content: Path, file: str, name: str) -> Any:
    """What the module calls by that name; raises ``LoadError``."""
    found = getattr(load_module(content, file), name, None)
    if not callable(found):
        raise LoadError(f"{file} has no {name!r} that can be called.")
    return found


class FunctionEndpoint(Endpoint):
    """``run``: the query's members are keyword arguments; the answer is in ``response``."""

    actions = ("run",)

    def __init__(self, spec: FunctionSpec, around: Surroundings) -> None:
        self._function = attribute(around.content, spec.file, spec.function)
        self._signature = inspect.signature(self._function)

    def answer(self, action: str, query: Query) -> Any:
        try:
            self._signature.bind(**query)
        except TypeError as error:
            raise QueryError(f"The function's arguments do not fit: {error}.") from None
        return {"response": self._function(**query)}


def _instance(content: Path, spec: CustomPredictionSpec | ForecastSpec, method: str) -> Any:
    made = attribute(content, spec.file, spec.class_name)(str(content / spec.folder))
    if not callable(getattr(made, method, None)):
        raise LoadError(f"{spec.class_name} of {spec.file} has no method {method!r}.")
    return made


class CustomModel(RecordModel):
    """The author's prediction class, given a data frame of the features as they came."""

    def __init__(self, spec: CustomPredictionSpec, around: Surroundings) -> None:
        from holdfast.serving.endpoints.predictor import pandas  # noqa: PLC0415 - optional

        self._pandas = pandas("custom predictions")
        self._made = _instance(around.content, spec, "predict")

    def predict(self, records: Sequence[Row]) -> list[Row]:
        frame = self._pandas.DataFrame(list(records))
        answer = self._made.predict(frame)
        probas: list[Row] | None = None
        if isinstance(answer, tuple):
            pair = cast("tuple[Any, ...]", answer)
            answer = pair[0]
            table = pair[1] if len(pair) > 1 else None
            if table is not None:
                probas = self._pandas.DataFrame(table).to_dict(orient="records")
        labels: list[Any] = [_scalar(one) for one in _listed(answer)]
        if len(labels) != len(records) or (probas is not None and len(probas) != len(records)):
            raise ValueError("predict() gave another number of predictions than records")
        results: list[Row] = [{"prediction": label, "ignored": False} for label in labels]
        for result, proba in zip(results, probas or (), strict=False):
            result["probas"] = {str(name): value for name, value in proba.items()}
        return results


def _listed(answer: Any) -> list[Any]:
    if type(answer).__name__ == "DataFrame":
        return answer.iloc[:, 0].tolist()
    return answer.tolist() if hasattr(answer, "tolist") else list(answer)


def _scalar(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


class ForecastEndpoint(Endpoint):
    """``forecast``: the class gets the list of ``items`` and gives the list of results."""

    actions = ("forecast",)

    def __init__(self, spec: ForecastSpec, around: Surroundings) -> None:
        self._made = _instance(around.content, spec, "forecast")

    def answer(self, action: str, query: Query) -> Any:
        items = query.get("items")
        if not isinstance(items, list):
            raise QueryError("The query needs 'items', a JSON array of past records.")
        return {"results": list(self._made.forecast(cast("list[Any]", items)))}
