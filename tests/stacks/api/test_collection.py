"""Stacks of a project over HTTP: versions, creation, lists, places."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from holdfast.store.model import JobState
from holdfast.store.pg.database import Database

TEMPLATE: dict[str, Any] = {
    "heat_template_version": "2021-04-16",
    "description": "one text",
    "parameters": {
        "value": {"type": "string", "default": "x"},
        "secret": {"type": "string", "default": "s", "hidden": True},
    },
    "resources": {
        "one": {
            "type": "OS::Heat::TestResource",
            "properties": {"value": {"get_param": "value"}},
        }
    },
    "outputs": {"out": {"value": {"get_attr": ["one", "output"]}}},
}


def body(name: str = "app", **changes: Any) -> dict[str, Any]:
    return {"stack_name": name, "template": TEMPLATE, "disable_rollback": True, **changes}


async def create(client: httpx.AsyncClient, name: str = "app", **changes: Any) -> str:
    """A stack's address."""
    answer = await client.post("/stacks", json=body(name, **changes))
    assert answer.status_code == 201, answer.text
    return answer.headers["location"]


async def test_the_root_names_the_versions(client: httpx.AsyncClient) -> None:
    answer = await client.get("http://hf:8080/orchestration/", headers={"X-Auth-Token": ""})
    assert answer.status_code == 300
    (version,) = answer.json()["versions"]
    assert (version["id"], version["status"]) == ("v1.0", "CURRENT")
    assert version["links"] == [{"rel": "self", "href": "http://hf:8080/orchestration/v1/"}]


async def test_a_stack_is_created_and_its_first_job_enqueued(
    client: httpx.AsyncClient, db: Database
) -> None:
    answer = await client.post("/stacks", json=body(tags="a,b", timeout_mins=5))
    assert answer.status_code == 201
    stack = answer.json()["stack"]
    place = f"http://hf:8080/orchestration/v1/alice/stacks/app/{stack['id']}"
    assert answer.headers["location"] == place
    assert stack["links"] == [{"href": place, "rel": "self"}]
    job = await db.fetchrow("select * from job")
    assert job is not None
    assert (job["kind"], job["state"], job["queue"]) == ("stack.round", JobState.QUEUED, "stacks")
    assert job["args"] == {"stack": stack["id"], "traversal": 1, "phase": "apply"}
    shown = (await client.get(place)).json()["stack"]
    assert shown["stack_status"] == "CREATE_IN_PROGRESS"
    assert shown["stack_status_reason"] == "Stack CREATE started"
    assert shown["tags"] == ["a", "b"]
    assert shown["timeout_mins"] == 5
    assert shown["parameters"]["value"] == "x"
    assert shown["parameters"]["secret"] == "******"
    assert shown["parameters"]["OS::stack_name"] == "app"
    assert shown["outputs"] == [
        {"output_key": "out", "description": "No description given", "output_value": None}
    ]
    assert shown["stack_owner"] == "alice-user"
    told = await db.fetchrow("select * from event where kind = 'audit.stack.create'")
    assert told is not None
    assert told["projects"] == ["alice"]


async def test_what_is_named_only_in_part_is_elsewhere(client: httpx.AsyncClient) -> None:
    place = await create(client)
    ident = place.rsplit("/", 1)[1]
    for part in ("app", ident):
        for rest in ("", "/resources", "/events", "/template", "/resources/one", "/actions"):
            answer = await client.get(f"/stacks/{part}{rest}", params={"limit": "1"})
            assert answer.status_code == 302, part + rest
            assert answer.headers["location"] == f"{place}{rest}?limit=1"
    assert (await client.delete("/stacks/app")).headers["location"] == place
    missing = await client.get("/stacks/other")
    assert missing.status_code == 404
    assert missing.json() == {
        "code": 404,
        "title": "Not Found",
        "explanation": "The resource could not be found.",
        "error": {
            "type": "EntityNotFound",
            "message": "The Stack (other) could not be found.",
            "traceback": None,
        },
    }


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"stack_name": "1st"}, "HTTPBadRequest"),
        ({"template": None}, "HTTPBadRequest"),
        ({"template": {"heat_template_version": "1999-01-01"}}, "InvalidTemplateVersion"),
        ({"template": {**TEMPLATE, "nonsense": {}}}, "InvalidTemplateSection"),
        ({"parameters": {"nonsense": 1}}, "UnknownUserParameter"),
        ({"timeout_mins": "soon"}, "HTTPBadRequest"),
        ({"tags": ["a,b"]}, "HTTPBadRequest"),
        (
            {"template": {"heat_template_version": "pike", "resources": {"a": {"type": "No::T"}}}},
            "StackValidationFailed",
        ),
        (
            {
                "template": {
                    "heat_template_version": "pike",
                    "resources": {
                        "a": {"type": "OS::Heat::TestResource", "properties": {"valve": 1}}
                    },
                }
            },
            "StackValidationFailed",
        ),
    ],
)
async def test_what_makes_no_stack_is_refused_by_name(
    client: httpx.AsyncClient, db: Database, changes: dict[str, Any], kind: str
) -> None:
    answer = await client.post("/stacks", json={**body(), **changes})
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["type"] == kind, answer.text
    assert await db.fetchval("select count(*) from stack") == 0
    assert await db.fetchval("select count(*) from job") == 0


async def test_a_name_is_taken_once_in_a_project(client: httpx.AsyncClient) -> None:
    await create(client)
    again = await client.post("/stacks", json=body())
    assert again.status_code == 409
    assert again.json()["error"]["type"] == "StackExists"
    other = await client.post(
        "http://hf:8080/orchestration/v1/bob/stacks",
        json=body(),
        headers={"X-Auth-Token": "bob"},
    )
    assert other.status_code == 201


async def test_a_repeated_request_with_its_key_makes_one_stack(client: httpx.AsyncClient) -> None:
    headers = {"Idempotency-Key": "k1"}
    first = await client.post("/stacks", json=body(), headers=headers)
    again = await client.post("/stacks", json=body(), headers=headers)
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()


async def test_a_project_sees_its_own_stacks_only(client: httpx.AsyncClient) -> None:
    place = await create(client)
    stranger = {"X-Auth-Token": "bob"}
    assert (await client.get("/stacks", headers=stranger)).status_code == 403
    elsewhere = place.replace("/alice/", "/bob/")
    assert (await client.get(elsewhere, headers=stranger)).status_code == 404
    bobs = await client.get("http://hf:8080/orchestration/v1/bob/stacks", headers=stranger)
    assert bobs.json() == {"stacks": []}
    reader = {"X-Auth-Token": "reader"}
    assert (await client.get(place, headers=reader)).status_code == 200
    assert (await client.delete(place, headers=reader)).status_code == 403
    assert (await client.get("/stacks", headers={"X-Auth-Token": ""})).status_code == 401


async def test_lists_are_filtered_sorted_and_paged(client: httpx.AsyncClient) -> None:
    for name in ("a", "b", "c"):
        await create(client, name, tags=f"{name},all")

    async def names(**params: Any) -> list[str]:
        answer = await client.get("/stacks", params=params)
        assert answer.status_code == 200, answer.text
        return [one["stack_name"] for one in answer.json()["stacks"]]

    assert await names() == ["c", "b", "a"]
    assert await names(sort_keys="stack_name") == ["a", "b", "c"]
    assert await names(sort_keys="stack_name", sort_dir="desc") == ["c", "b", "a"]
    assert await names(name="b") == ["b"]
    assert await names(status="IN_PROGRESS", action="CREATE") == ["c", "b", "a"]
    assert await names(status="CREATE_COMPLETE") == []
    assert await names(tags="a,all") == ["a"]
    assert await names(tags_any="a,b") == ["b", "a"]
    assert await names(not_tags="a") == ["c", "b"]
    assert await names(not_tags_any="a,b") == ["c"]
    first = (await client.get("/stacks", params={"limit": 2, "with_count": "true"})).json()
    assert [one["stack_name"] for one in first["stacks"]] == ["c", "b"]
    assert first["count"] == 3
    (following,) = first["links"]
    assert following["rel"] == "next"
    rest = (await client.get(following["href"])).json()
    assert [one["stack_name"] for one in rest["stacks"]] == ["a"]
    assert (await client.get("/stacks", params={"sort_keys": "nonsense"})).status_code == 400
    assert (await client.get("/stacks", params={"limit": "-1"})).status_code == 400


async def test_validation_shows_parameters(client: httpx.AsyncClient) -> None:
    answer = await client.post("/validate", json={"template": TEMPLATE})
    assert answer.status_code == 200, answer.text
    assert answer.json()["Description"] == "one text"
    assert answer.json()["Parameters"]["secret"]["NoEcho"] == "true"
    wrong = await client.post("/validate", json={"template": {"resources": {}}})
    assert wrong.status_code == 400


async def test_a_preview_makes_nothing(client: httpx.AsyncClient, db: Database) -> None:
    answer = await client.post("/stacks/preview", json=body(parameters={"value": "y"}))
    assert answer.status_code == 200, answer.text
    stack = answer.json()["stack"]
    assert [one["resource_name"] for one in stack["resources"]] == ["one"]
    assert stack["resources"][0]["properties"]["value"] == "y"
    assert stack["parameters"]["value"] == "y"
    assert await db.fetchval("select count(*) from stack") == 0
