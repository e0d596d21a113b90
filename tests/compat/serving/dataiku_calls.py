"""Every call of dataikuapi's query and admin clients. Run in the clients' environment.

Arguments: URL, admin key, query key, a package of generation v1 and one of v2 of ``zoo``.
The last line tells of each method whether it worked, or was refused; JSON.
"""

from __future__ import annotations

import functools
import inspect
import json
import sys
from collections.abc import Callable
from typing import Any

from dataikuapi import (  # pyright: ignore[reportMissingImports]  # there, not here
    APINodeAdminClient,
    APINodeClient,
)
from dataikuapi.apinode_admin.auth import APINodeAuth  # pyright: ignore[reportMissingImports]
from dataikuapi.apinode_admin.service import (  # pyright: ignore[reportMissingImports]
    APINodeService,
)
from dataikuapi.utils import DataikuException  # pyright: ignore[reportMissingImports]

url, admin_key, key, first, second = sys.argv[1:]
setosa = {"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}
admin = APINodeAdminClient(url, admin_key)


WORKS, REFUSED, UNTRIED = "works", "refused", "untried"
CLIENTS = (APINodeClient, APINodeAdminClient, APINodeService, APINodeAuth)
fates: dict[str, str] = {}


def noted(method: str, call: Callable[..., Any]) -> Callable[..., Any]:
    """The same method, of which it is remembered how it ended. One success counts."""
    fates[method] = UNTRIED

    @functools.wraps(call)
    def calling(*words: Any, **told: Any) -> Any:
        try:
            answer = call(*words, **told)
        except DataikuException:
            fates[method] = WORKS if fates[method] == WORKS else REFUSED
            raise
        fates[method] = WORKS
        return answer

    return calling


for kind in CLIENTS:
    for name, call in inspect.getmembers(kind, inspect.isfunction):
        if not name.startswith("_"):
            setattr(kind, name, noted(f"{kind.__name__}.{name}", call))


def refused(call: Any, told: str) -> None:
    try:
        call()
    except DataikuException as error:
        if told in str(error):
            return
        raise
    raise AssertionError(f"not refused: {told}")


def administration() -> Any:
    admin.create_service("zoo")
    assert [one["serviceId"] for one in admin.list_services()["services"]] == ["zoo"]
    zoo = admin.service("zoo")
    zoo.import_generation_from_archive(first)
    assert [one["generationId"] for one in zoo.list_generations()] == ["v1"]
    assert zoo.list_generations()[0]["createdOn"] > 1_500_000_000_000
    zoo.preload_generation("v1")
    assert (zoo.list_generations()[0]["mounted"], zoo.list_generations()[0]["mapped"]) == (
        True,
        False,
    )
    zoo.switch_to_newest()
    zoo.import_generation_from_archive(second)
    zoo.disable()
    zoo.enable()
    return zoo


def queries(client: APINodeClient) -> None:
    result = client.predict_record("lr", setosa)["result"]
    assert result["prediction"] == "setosa"
    assert set(result["probas"]) == {"setosa", "versicolor", "virginica"}
    assert result["ignored"] is False
    context = {"who": "me"}
    explained = client.predict_record("lr", setosa, context=context, with_explanations=False)
    assert explained["result"]["prediction"] == "setosa"
    many = client.predict_records("lr", [{"features": setosa}, {"features": {"petal_width": "x"}}])
    assert [one["ignored"] for one in many["results"]] == [False, True]
    assert client.predict_record("onnx", setosa)["result"]["prediction"] == "setosa"
    nan = client.predict_record("double", {"x": float("nan")})["result"]
    assert nan["prediction"] is None
    assert client.predict_record("double", {"x": 4})["result"]["prediction"] == 8
    assert client.predict_record("groups", setosa)["result"]["prediction"].startswith("cluster_")
    items = [{"date": "2024-01-01", "target": 7.0}]
    assert client.forecast("later", items)["results"][0]["forecast"] == 7.0
    rows = client.sql_query("by-city", {"city": "London"})
    assert [column["name"] for column in rows["columns"]] == ["id", "name"]
    assert rows["rows"] == [["1", "Ada"], ["3", None]]
    assert client.lookup_record("people", {"id": 1})["data"]["name"] == "Ada"
    looked = client.lookup_records("people", [{"data": {"id": 2}}, {"data": {"id": 3}}])
    assert [one["ignored"] for one in looked["results"]] == [False, True]
    assert client.run_function("add", a=1, b=2)["response"] == 3
    refused(lambda: client.run_function("add"), "arguments do not fit")
    refused(lambda: client.predict_effect("lr", setosa), "not 'predict-effect'")
    refused(lambda: client.predict_effects("lr", [{"features": setosa}]), "predict-effect-multi")


def dispatching(zoo: Any, client: APINodeClient) -> None:
    entries = [{"generation": "v1", "proba": 0.5}, {"generation": "v2", "proba": 0.5}]
    zoo.set_generations_mapping({"entries": entries})

    def generation(**dispatch: Any) -> str:
        answer = client.predict_record("lr", setosa, **dispatch)
        return answer["apiContext"]["serviceGeneration"]

    assert {generation(forced_generation="v1") for _ in range(5)} == {"v1"}
    assert {generation(forced_generation="v2") for _ in range(5)} == {"v2"}
    by_key = {key: generation(dispatch_key=key) for key in ("a", "b", "c", "d", "e", "f")}
    assert set(by_key.values()) == {"v1", "v2"}
    assert {key: generation(dispatch_key=key) for key in by_key} == by_key
    refused(lambda: generation(forced_generation="v9"), "v9")
    zoo.switch_to_single_generation("v2")
    assert generation() == "v2"


def keys_and_the_rest(zoo: Any) -> None:
    auth = admin.auth()
    made = auth.add_key(label="another", description="for a test", created_by="me")
    other = APINodeAdminClient(url, made["key"])
    assert len(other.auth().list_keys()) == 2
    assert all("key" not in one for one in auth.list_keys())
    auth.delete_key(made["key"])
    refused(other.list_services, "admin key")
    auth.delete_key_by_id(auth.add_key(label="third")["id"])
    assert len(auth.list_keys()) == 1
    assert admin.get_metrics()["metrics"]
    admin.clean_unused_services_and_generations()
    admin.clean_code_env_cache()
    admin.clear_model_cache()
    refused(lambda: admin.import_code_env_in_cache("/x", "python"), "no cache of code environments")
    refused(lambda: admin.register_code_env_in_cache("/x", "/y", "python"), "no cache of")
    refused(lambda: admin.import_model_archive_in_cache("/x"), "no cache of models")
    refused(zoo.delete, "disable it first")
    zoo.disable()
    zoo.delete()
    assert admin.list_services()["services"] == []


service = administration()
for base in (url, url + "/"):
    queries(APINodeClient(base, "zoo", key))
queries(APINodeClient(url, "zoo", bearer_token=key))
refused(lambda: APINodeClient(url, "zoo").run_function("add", a=1), "API keys")
dispatching(service, APINodeClient(url, "zoo", key))
keys_and_the_rest(service)
sys.stdout.write(json.dumps(fates) + "\n")
