"""Endpoints of every kind, loaded in this process as a worker does."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd
import pytest
import skops.io
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from tests.serving.nodes import make
from tests.serving.zoo import CLASSES, FEATURES, SETOSA, VIRGINICA, zoo

from holdfast.serving.endpoints.base import Endpoint, Surroundings, decode, encode
from holdfast.serving.endpoints.engines import Engine, ForestEngine
from holdfast.serving.endpoints.loading import derive, load, run_tests
from holdfast.serving.endpoints.prediction import PredictionEndpoint
from holdfast.serving.endpoints.predictor import Predictor
from holdfast.serving.errors import EndpointKindError, LoadError, QueryError
from holdfast.serving.packages.build import Built
from holdfast.serving.packages.expectations import contains
from holdfast.serving.packages.manifest import PredictionSpec
from holdfast.serving.packages.opening import Limits, open_package


def loaded(folder: Path, built: Built, **around: Any) -> dict[str, Endpoint]:
    content, derived = folder / "content", folder / "derived"
    derived.mkdir(parents=True)
    opened = open_package(Path(built.path), Limits(), (), content)
    told = {"allow_pickle": False, "connections": {}, **around}
    service = opened.manifest.service
    derive(service, content, derived)
    made = load(service, Surroundings(content=content, derived=derived, **told))
    run_tests(service, made)
    return made


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Endpoint]:
    folder = tmp_path_factory.mktemp("zoo")
    return loaded(folder, zoo(folder))


def predict(endpoint: Endpoint, *records: Mapping[str, Any]) -> list[dict[str, Any]]:
    items = [{"features": record} for record in records]
    return endpoint.answer("predict-multi", {"items": items})["results"]


@pytest.mark.parametrize("name", ["lr", "onnx"])
def test_a_classifier_gives_its_class_and_the_probabilities(
    kinds: Mapping[str, Endpoint], name: str
):
    first, second = predict(kinds[name], SETOSA, VIRGINICA)
    assert (first["prediction"], second["prediction"]) == ("setosa", "virginica")
    assert list(first["probas"]) == CLASSES
    assert sum(second["probas"].values()) == pytest.approx(1, abs=1e-5)


def test_the_same_forest_answers_alike_from_skops_and_onnx(kinds: Mapping[str, Endpoint]):
    data, _ = load_iris(return_X_y=True)
    records = [dict(zip(FEATURES, row, strict=True)) for row in data.tolist()]
    skops_says = predict(kinds["forest"], *records)
    onnx_says = predict(kinds["onnx"], *records)
    assert [CLASSES[one["prediction"]] for one in skops_says] == [
        one["prediction"] for one in onnx_says
    ]


def test_a_forest_answers_as_scikit_learn_does_and_knows_what_suits():
    data, target = load_iris(return_X_y=True)
    model = RandomForestClassifier(n_estimators=20, random_state=1).fit(data, target)
    assert ForestEngine.suits(model, 4)
    assert not ForestEngine.suits(model, 5)
    assert not ForestEngine.suits(fitted(), 4)
    labels, probas = ForestEngine(model).predict(data, probable=True)
    assert labels == model.predict(data).tolist()
    assert probas == pytest.approx(model.predict_proba(data))
    two = RandomForestClassifier(5).fit(data, [[one, one] for one in target])
    assert not ForestEngine.suits(two, 4)
    with pytest.raises(ValueError, match="infinity"):
        ForestEngine(model).predict(data * float("inf"), probable=True)


def test_numbers_may_come_as_text_and_what_is_none_is_ignored_with_a_reason(
    kinds: Mapping[str, Endpoint],
):
    as_text = {name: str(value) for name, value in SETOSA.items()}
    good, bad, fine = predict(kinds["lr"], as_text, {**SETOSA, "petal_width": "wide"}, SETOSA)
    assert (good["prediction"], fine["prediction"]) == ("setosa", "setosa")
    assert (bad["ignored"], bad["ignoreReason"]) == (
        True,
        "the feature petal_width is not a number",
    )


def test_one_bad_query_does_not_fail_its_batch_mates(kinds: Mapping[str, Endpoint]):
    answers = kinds["lr"].answer_batch(
        "predict", [{"features": SETOSA}, {}, {"features": {}}, {"features": VIRGINICA}]
    )
    assert answers[0]["result"]["prediction"] == "setosa"
    assert isinstance(answers[1], QueryError)
    assert isinstance(answers[2], QueryError)  # this model takes no gaps
    assert answers[3]["result"]["prediction"] == "virginica"


def test_a_regression_and_a_clustering_answer(kinds: Mapping[str, Endpoint]):
    (length,) = predict(kinds["length"], SETOSA)
    assert length["prediction"] == pytest.approx(0.2, abs=0.2)
    groups = {one["prediction"] for one in predict(kinds["groups"], SETOSA, VIRGINICA)}
    assert len(groups) == 2
    assert all(name.startswith("cluster_") for name in groups)


def test_a_lookup_enriches_what_is_predicted_for(kinds: Mapping[str, Endpoint]):
    small, large, own, twice, none = predict(
        kinds["rich"],
        {"who": "small"},
        {"who": "large"},
        {"who": "large", "x": 1},
        {"who": "both"},
        {"who": "nobody", "x": 3},
    )
    # A CSV holds text: "2" doubled is "22".
    assert (small["prediction"], large["prediction"]) == ("22", "5050")
    assert own["prediction"] in (2, "2")
    assert (twice["ignored"], "several rows" in twice["ignoreReason"]) == (True, True)
    assert none["prediction"] in (6, "6")


def test_a_lookup_finds_one_row_and_ignores_several(kinds: Mapping[str, Endpoint]):
    items = [{"data": {"id": one}} for one in (1, "2", 2.0, 3, 99)]
    found = kinds["people"].answer("lookup-multi", {"items": items})["results"]
    assert [one["data"].get("name") for one in found] == ["Ada", "Grace", "Grace", None, None]
    assert [one["ignored"] for one in found] == [False, False, False, True, False]


def test_parameters_of_sql_are_bound_and_never_part_of_it(kinds: Mapping[str, Endpoint]):
    ask = kinds["by-city"].answer
    assert ask("query", {"city": "London"})["rows"] == [["1", "Ada"], ["3", None]]
    assert ask("query", {"city": "' OR 1=1 --"})["rows"] == []
    for query in ({}, {"city": "x", "more": 1}, {"city": ["London"]}):
        with pytest.raises(QueryError):
            ask("query", query)


def test_a_function_asks_a_sibling_endpoint(kinds: Mapping[str, Endpoint]):
    assert kinds["greet"].answer("run", {"id": 1}) == {"response": "hello Ada"}


def test_tensors_of_the_open_inference_protocol_are_answered(kinds: Mapping[str, Endpoint]):
    rows = [list(SETOSA.values()), list(VIRGINICA.values())]
    tensor = {"name": "x", "shape": [2, 4], "datatype": "FP64", "data": [*rows[0], *rows[1]]}
    answer = kinds["forest"].answer("infer", {"id": "7", "inputs": [tensor]})
    assert answer["id"] == "7"
    assert answer["outputs"][0]["data"] == [0.0, 2.0]
    assert answer["outputs"][1]["shape"] == [2, 3]
    columns = [
        {"name": name, "shape": [1], "datatype": "FP64", "data": [value]}
        for name, value in SETOSA.items()
    ]
    assert kinds["lr"].answer("infer", {"inputs": columns})["outputs"][0]["shape"] == [1]
    for bad in ({}, {"inputs": []}, {"inputs": [{**tensor, "shape": [4, 2]}]}, {"inputs": [{}]}):
        with pytest.raises(QueryError):
            kinds["lr"].answer("infer", bad)


def one_model(flavour: str, model: str = "m", **more: Any) -> list[dict[str, Any]]:
    given = {"id": "m", "kind": "prediction", "model": model, "flavour": flavour}
    return [{**given, "features": FEATURES, **more}]


def fitted() -> LogisticRegression:
    data, target = load_iris(return_X_y=True)
    return LogisticRegression(max_iter=500).fit(data, target)


def test_a_pickle_is_opened_only_where_that_is_allowed(tmp_path: Path):
    built = make(tmp_path, "m", {"m": pickle.dumps(fitted())}, one_model("pickle"))
    with pytest.raises(EndpointKindError, match="runs code when opened"):
        loaded(tmp_path / "a", built)
    allowed = loaded(tmp_path / "b", built, allow_pickle=True)
    assert predict(allowed["m"], SETOSA)[0]["prediction"] == 0


def test_skops_opens_no_type_that_is_not_trusted(tmp_path: Path):
    from sklearn.preprocessing import FunctionTransformer

    model = FunctionTransformer(func=one_model)
    built = make(tmp_path, "m", {"m": skops.io.dumps(model)}, one_model("skops"))
    with pytest.raises(LoadError, match="not trusted"):
        loaded(tmp_path / "a", built)


def test_an_mlflow_models_folder_is_served_by_what_is_in_it(tmp_path: Path):
    described = "flavors:\n  sklearn:\n    pickled_model: model.pkl\n"
    files = {"m/MLmodel": described, "m/model.pkl": pickle.dumps(fitted())}
    built = make(tmp_path, "m", files, one_model("mlflow"))
    with pytest.raises(EndpointKindError, match="pickle"):
        loaded(tmp_path / "a", built)
    allowed = loaded(tmp_path / "b", built, allow_pickle=True)
    assert predict(allowed["m"], SETOSA)[0]["prediction"] == 0
    outside = {**files, "m/MLmodel": described.replace("model.pkl", "../../x")}
    with pytest.raises(LoadError, match="leads out"):
        loaded(tmp_path / "c", make(tmp_path, "m", outside, one_model("mlflow")))
    other = {**files, "m/MLmodel": "flavors:\n  spark: {}\n"}
    with pytest.raises(EndpointKindError, match="spark"):
        loaded(tmp_path / "d", make(tmp_path, "m", other, one_model("mlflow")))


def test_a_connection_that_the_node_does_not_have_is_told(tmp_path: Path):
    sql = {"id": "q", "kind": "sql", "query": "SELECT 1", "connection": "books"}
    with pytest.raises(LoadError, match="books"):
        loaded(tmp_path, make(tmp_path, "m", {}, [sql]))


def test_bodies_are_read_leniently_and_answers_written_strictly():
    assert decode(b"") == {}
    assert decode(b'{"a": NaN}')["a"] != decode(b'{"a": NaN}')["a"]
    assert encode({"a": float("nan"), "b": {1, 2}, 3: (4,)}) == b'{"a":null,"b":[1,2],"3":[4]}'
    with pytest.raises(TypeError):
        encode(object())


def test_an_expected_part_is_found_in_an_answer():
    answer = {"a": {"b": 1, "c": 0.1 + 0.2}, "d": [1, 2]}
    assert contains(answer, {"a": {"c": 0.3}})
    assert contains(answer, {"d": [1, 2]})
    assert not contains(answer, {"a": {"b": 2}})
    assert not contains(answer, {"e": None})
    assert msgspec.json.decode(encode(answer)) == answer


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Endpoint]:
    """Models that take numbers only, or text where they learnt text."""
    folder = tmp_path_factory.mktemp("strict")
    data, target = load_iris(return_X_y=True)
    table = pd.DataFrame({"size": data[:, 0], "colour": ["red", "green"] * 75})
    turned = make_column_transformer((OneHotEncoder(), ["colour"]), (StandardScaler(), ["size"]))
    mixed = make_pipeline(turned, LogisticRegression(max_iter=500)).fit(table, target)
    plain = LogisticRegression(max_iter=500).fit(data[:, :2], target)
    gaps = make_pipeline(SimpleImputer(), LogisticRegression(max_iter=500))
    models = {
        "plain": plain,
        "forest": RandomForestClassifier(5, random_state=0).fit(data[:, :2], target),
        "imputed": gaps.fit(data[:, :2], target),
        "framed": plain,
        "mixed": mixed,
    }
    endpoints = [
        {
            "id": name,
            "kind": "prediction",
            "model": name,
            "flavour": "pickle",
            "features": ["size", "colour"] if name == "mixed" else ["a", "b"],
            "frame": name in ("framed", "mixed"),
            "tests": [{"query": {"features": {"size": 5.0, "colour": "red"}}}] * (name == "mixed"),
        }
        for name in models
    ]
    files = {name: pickle.dumps(model) for name, model in models.items()}
    return loaded(folder, make(folder, "strict", files, endpoints), allow_pickle=True)


def told(endpoint: Endpoint, action: str, body: str) -> str:
    """The sentence that a client gets with a 400."""
    (answer,) = endpoint.answer_batch(action, [decode(body.encode())])
    assert isinstance(answer, QueryError), answer
    assert answer.status == 400
    encode(answer.message)
    return answer.message


BIG = "9" * 400


@pytest.mark.parametrize(
    ("names", "features", "what"),
    [
        ("plain framed", '{"a": 1}', "'b' is missing or null"),
        ("plain framed", '{"a": null, "b": 2}', "'a' is missing or null"),
        ("plain framed", '{"a": 1, "b": NaN}', "'b' is missing or null"),
        ("plain framed", "{}", "'a' is missing or null"),
        ("plain framed forest imputed", '{"a": Infinity, "b": 2}', "'a' is too large"),
        ("plain forest imputed framed", '{"a": 1, "b": 1e400}', "'b' is too large"),
        ("plain forest imputed framed", '{"a": ' + BIG + ', "b": 2}', "'a' is too large"),
        ("framed", '{"a": "x", "b": 2}', "'a' is text"),
        ("framed", '{"a": 1, "b": [2]}', "'b' is not a single value"),
        ("framed", '{"a": {}, "b": "x"}', "'a' is not a single value"),
        ("mixed", '{"size": "x", "colour": "red"}', "'size' is text"),
        ("mixed", '{"size": 1, "colour": {}}', "'colour' is not a single value"),
        ("mixed", '{"size": 1}', "'colour' is missing or null"),
    ],
)
def test_a_feature_that_the_model_does_not_take_is_named(
    strict: Mapping[str, Endpoint], names: str, features: str, what: str
):
    for name in names.split():
        assert what in told(strict[name], "predict", '{"features": ' + features + "}"), name
        items = '{"items": [{"features": ' + features + "}]}"
        assert f"items[0]: The feature {what}" in told(strict[name], "predict-multi", items), name


def test_what_a_model_has_answered_tells_what_it_takes(strict: Mapping[str, Endpoint]):
    two = '{"features": {"size": "x", "colour": null}}'
    assert "'size' is text" in told(strict["mixed"], "predict", two)
    unknown = '{"features": {"size": 7, "colour": "purple"}}'
    assert "'colour' is a value" in told(strict["mixed"], "predict", unknown)


def test_records_at_fault_do_not_cost_their_mates(strict: Mapping[str, Endpoint]):
    records = [{"a": 1, "b": 2}, {"a": 1}, {"a": 3, "b": 4}, {"a": 10**400, "b": 1}]
    answers = strict["plain"].answer_batch("predict", [{"features": one} for one in records])
    assert [isinstance(one, QueryError) for one in answers] == [False, True, False, True]
    assert strict["imputed"].answer("predict", {"features": {"a": 1}})["result"]["ignored"] is False


def test_a_model_that_fails_by_itself_is_not_the_clients_fault(strict: Mapping[str, Endpoint]):
    class Broken(Engine):
        def __init__(self) -> None:
            self.classes = []

        def predict(self, matrix: Any, *, probable: bool) -> Any:
            raise ValueError("broken")

    spec = PredictionSpec(id="x", model="m", flavour="skops", features=["a", "b"])
    endpoint = PredictionEndpoint(Predictor(spec, Broken()))
    for features in ({"a": 1, "b": 2}, {"a": 1}):
        with pytest.raises(ValueError, match="broken"):
            endpoint.answer("predict", {"features": features})


@pytest.mark.parametrize(
    "tensor",
    [
        '{"shape": [0, 2], "data": []}',
        '{"shape": [-1, 2], "data": []}',
        '{"shape": [1, 2], "data": [1, Infinity]}',
        '{"shape": [1, 2], "data": [1, null]}',
        '{"shape": [1, 2], "data": [1, ' + BIG + "]}",
        '{"shape": [' + BIG + ', 2], "data": [1, 2]}',
        '{"shape": [1e99, 2], "data": [1, 2]}',
        '{"shape": ["x", 2], "data": [1]}',
        '{"shape": [1, 1, 1], "data": 1, "name": []}',
        "null",
        '"ab"',
    ],
)
def test_tensors_that_do_not_fit_are_the_clients_fault(strict: Mapping[str, Endpoint], tensor: str):
    assert told(strict["plain"], "infer", '{"inputs": [' + tensor + "]}")


@pytest.mark.parametrize("value", [10**20, -(10**20), 1 << 63])
def test_an_integer_that_the_database_cannot_hold_is_named(
    kinds: Mapping[str, Endpoint], value: int
):
    with pytest.raises(QueryError, match="'city' is an integer of more than 64 bits"):
        kinds["by-city"].answer("query", {"city": value})


@pytest.mark.parametrize(
    "body",
    [b'{"x": "\\ud800"}', b'{"x": ["\\udfff a"]}', b'{"\\udc00": 1}', b'{"x": "\xed\xa0\x80"}'],
)
def test_half_of_a_surrogate_pair_is_refused_at_the_door(body: bytes):
    with pytest.raises(QueryError, match=r"surrogate|not JSON"):
        decode(body)
