"""What a model cannot take is the client's fault, and named, from the first query on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
from onnx import TensorProto as Types
from onnx import helper
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from holdfast.serving.endpoints.engines import Engine, OnnxEngine
from holdfast.serving.endpoints.prediction import PredictionEndpoint
from holdfast.serving.endpoints.predictor import Predictor
from holdfast.serving.errors import QueryError
from holdfast.serving.packages.manifest import PredictionSpec


def asked(endpoint: PredictionEndpoint, *records: dict[str, Any]) -> list[Any]:
    """Predictions, or what the client is told."""
    answers = endpoint.answer_batch("predict", [{"features": one} for one in records])
    for one in answers:
        assert not isinstance(one, Exception) or isinstance(one, QueryError), one
    return [
        one.message if isinstance(one, QueryError) else one["result"]["prediction"]
        for one in answers
    ]


def spec(features: list[str], **more: Any) -> PredictionSpec:
    return PredictionSpec(id="x", model="m", flavour="onnx", features=features, **more)


def sums_of_whole_numbers(folder: Path) -> PredictionEndpoint:
    """One input of two whole numbers: their sum."""
    nodes = [helper.make_node("ReduceSum", ["x", "axis"], ["y"], keepdims=0)]
    whole = helper.make_tensor_value_info("x", Types.INT64, [None, 2])
    out = helper.make_tensor_value_info("y", Types.INT64, [None])
    axis = helper.make_tensor("axis", Types.INT64, [1], [1])
    return graph(folder, helper.make_graph(nodes, "g", [whole], [out], [axis]))


def products(folder: Path) -> PredictionEndpoint:
    """An input of its own for each: a number, which may be missing, and a whole one."""
    nodes = [
        helper.make_node("Cast", ["b"], ["c"], to=Types.FLOAT),
        helper.make_node("Mul", ["a", "c"], ["y"]),
    ]
    inputs = [
        helper.make_tensor_value_info("a", Types.FLOAT, [None, 1]),
        helper.make_tensor_value_info("b", Types.INT64, [None, 1]),
    ]
    out = helper.make_tensor_value_info("y", Types.FLOAT, [None, 1])
    return graph(folder, helper.make_graph(nodes, "g", inputs, [out]))


def graph(folder: Path, made: Any) -> PredictionEndpoint:
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path = folder / "model.onnx"
    onnx.save(model, str(path))
    return PredictionEndpoint(Predictor(spec(["a", "b"], task="regression"), OnnxEngine(path)))


@pytest.mark.parametrize(
    ("value", "what"),
    [
        (None, "missing or null"),
        (float("nan"), "missing or null"),
        (float("inf"), "too large a number"),
        (-1e300, "too large a number"),
        (2**63, "too large a number"),
    ],
)
@pytest.mark.parametrize("made", [sums_of_whole_numbers, products])
def test_a_whole_number_is_not_made_of_what_is_none(
    tmp_path: Path, made: Any, value: Any, what: str
):
    """A cast to 64 bits makes a large negative number of NaN, without a word."""
    endpoint = made(tmp_path)
    good, bad, also = asked(endpoint, {"a": 2, "b": 3}, {"a": 1, "b": value}, {"a": 4, "b": 1})
    assert (good, also) in ((5, 5), (6, 4))
    assert bad == f"The feature 'b' is {what} that the model cannot take."
    tensor = {"name": "x", "shape": [1, 2], "data": [[1, value]]}
    (told,) = endpoint.answer_batch("infer", [{"inputs": [tensor]}])
    assert isinstance(told, QueryError)
    assert f"'b' is {what}" in told.message


def test_a_number_that_may_be_missing_still_may(tmp_path: Path):
    (found,) = asked(products(tmp_path), {"a": None, "b": 3})
    assert np.isnan(found)


TABLE = pd.DataFrame(
    {"size": np.arange(40) / 7, "colour": ["red", "green"] * 20, "make": ["x", "y", "z", "x"] * 10}
)


def by_name() -> Any:
    words = make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder())
    return make_column_transformer((StandardScaler(), ["size"]), (words, ["colour", "make"]))


def by_place() -> Any:
    words = OneHotEncoder()
    return make_column_transformer((words, [2, 1]), remainder="passthrough")


@pytest.mark.parametrize("turned", [by_name, by_place])
def test_a_category_that_nobody_knows_is_named_by_the_very_first_query(turned: Any):
    """Without a test query, nor any answer so far."""
    model = make_pipeline(turned(), LogisticRegression()).fit(TABLE, np.arange(40) % 2)
    for colour, make, feature in (("purple", "x", "colour"), ("red", "w", "make")):
        endpoint = PredictionEndpoint(Predictor(spec([*TABLE], frame=True), Engine(model)))
        (told,) = asked(endpoint, {"size": 1, "colour": colour, "make": make})
        assert told == f"The feature '{feature}' is a value that the model cannot take."
