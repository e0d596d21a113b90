"""One stack over HTTP: updates, actions, deletion, what it is made of."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from msgspec.structs import force_setattr
from tests.stacks.api.test_collection import TEMPLATE, create

from holdfast.stacks.service import Stacks
from holdfast.store.pg.database import Database

SETTLED = "update stack set status = 'COMPLETE', action = $1"


async def complete(db: Database, action: str = "CREATE") -> None:
    """As the engine leaves a stack."""
    await db.execute(SETTLED, action)


async def shown(client: httpx.AsyncClient, place: str) -> dict[str, Any]:
    answer = await client.get(place)
    assert answer.status_code == 200, answer.text
    return answer.json()["stack"]


async def test_an_update_is_the_next_traversal(client: httpx.AsyncClient, db: Database) -> None:
    place = await create(client, parameters={"value": "a"})
    await complete(db)
    answer = await client.put(
        place, json={"template": TEMPLATE, "parameters": {"value": "b"}, "tags": "t"}
    )
    assert answer.status_code == 202, answer.text
    assert answer.content == b""
    stack = await shown(client, place)
    assert stack["stack_status"] == "UPDATE_IN_PROGRESS"
    assert stack["parameters"]["value"] == "b"
    assert stack["tags"] == ["t"]
    assert stack["updated_time"] is not None
    row = await db.fetchrow("select * from stack")
    assert row is not None
    assert (row["traversal"], row["stopped"]) == (2, 1)
    assert row["previous"] is not None
    assert await db.fetchval("select count(*) from job") == 2
    assert await db.fetchval("select count(*) from delegation where revoked_at is null") == 1


async def test_a_patch_keeps_what_it_does_not_name(client: httpx.AsyncClient, db: Database) -> None:
    template = {
        **TEMPLATE,
        "parameters": {**TEMPLATE["parameters"], "other": {"type": "string", "default": "d"}},
    }
    place = await create(client, template=template, parameters={"value": "a", "other": "o"})
    await complete(db)
    answer = await client.patch(place, json={"parameters": {"value": "b"}})
    assert answer.status_code == 202, answer.text
    stack = await shown(client, place)
    assert (stack["parameters"]["value"], stack["parameters"]["other"]) == ("b", "o")
    answer = await client.patch(place, json={"clear_parameters": ["other"]})
    assert answer.status_code == 202, answer.text
    stack = await shown(client, place)
    assert (stack["parameters"]["value"], stack["parameters"]["other"]) == ("b", "d")


async def test_a_stack_that_goes_is_not_updated_and_goes_once(
    client: httpx.AsyncClient, db: Database
) -> None:
    place = await create(client)
    for _ in range(2):
        answer = await client.delete(place)
        assert answer.status_code == 204
        assert answer.content == b""
    assert (await shown(client, place))["stack_status"] == "DELETE_IN_PROGRESS"
    assert await db.fetchval("select traversal from stack") == 2
    refused = await client.put(place, json={"template": TEMPLATE})
    assert refused.status_code == 409
    assert refused.json()["error"]["type"] == "ActionInProgress"
    await db.execute("update stack set status = 'COMPLETE', deleted_at = clock_timestamp()")
    assert (await client.delete(place)).status_code == 404
    assert (await shown(client, place))["stack_status"] == "DELETE_COMPLETE"
    assert (await client.get("/stacks/app")).status_code == 404
    await create(client)  # the name is free again


async def test_actions_begin_once_the_stack_is_at_rest(
    client: httpx.AsyncClient, db: Database
) -> None:
    place = await create(client)
    busy = await client.post(f"{place}/actions", json={"suspend": None})
    assert busy.status_code == 409
    await complete(db)
    for body in ({}, {"nonsense": None}, {"suspend": None, "resume": None}):
        assert (await client.post(f"{place}/actions", json=body)).status_code == 400
    for action in ("suspend", "resume", "check"):
        for _ in range(2):
            answer = await client.post(f"{place}/actions", json={action: None})
            assert answer.status_code == 200, answer.text
        stack = await shown(client, place)
        assert stack["stack_status"] == f"{action.upper()}_IN_PROGRESS"
        await complete(db, action.upper())
    assert await db.fetchval("select traversal from stack") == 4


async def test_only_an_update_under_way_is_cancelled(
    client: httpx.AsyncClient, db: Database
) -> None:
    place = await create(client)
    refused = await client.post(f"{place}/actions", json={"cancel_update": None})
    assert refused.status_code == 400
    assert refused.json()["error"]["type"] == "NotSupported"
    await complete(db)
    first = await db.fetchval("select source from stack")
    await client.put(place, json={"template": TEMPLATE, "parameters": {"value": "b"}})
    answer = await client.post(f"{place}/actions", json={"cancel_update": None})
    assert answer.status_code == 200, answer.text
    assert (await shown(client, place))["stack_status"] == "ROLLBACK_IN_PROGRESS"
    assert await db.fetchval("select source from stack") == first


async def test_a_stack_shows_what_it_is_made_of(client: httpx.AsyncClient) -> None:
    place = await create(client, files={"a.txt": "hello"}, parameters={"secret": "swordfish"})
    assert (await client.get(f"{place}/template")).json() == TEMPLATE
    assert (await client.get(f"{place}/files")).json() == {"a.txt": "hello"}
    environment = (await client.get(f"{place}/environment")).json()
    assert environment["parameters"] == {"secret": "******"}
    outputs = (await client.get(f"{place}/outputs")).json()
    assert outputs["outputs"][0]["output_key"] == "out"
    one = (await client.get(f"{place}/outputs/out")).json()
    assert one["output"]["output_value"] is None
    assert (await client.get(f"{place}/outputs/none")).status_code == 404
    assert (await client.get(f"{place}/snapshots")).status_code == 400


async def test_an_update_is_previewed(client: httpx.AsyncClient, db: Database) -> None:
    place = await create(client)
    await complete(db)
    answer = await client.put(f"{place}/preview", json={"template": TEMPLATE})
    assert answer.status_code == 200, answer.text
    changes = answer.json()["resource_changes"]
    assert [one["resource_name"] for one in changes["added"]] == ["one"]
    assert changes["deleted"] == changes["updated"] == changes["replaced"] == []
    assert await db.fetchval("select traversal from stack") == 1


async def test_an_abandoned_stack_is_adopted_again(client: httpx.AsyncClient, db: Database) -> None:
    place = await create(client)
    assert (await client.delete(f"{place}/abandon")).status_code == 409
    await complete(db)
    exported = (await client.get(f"{place}/export")).json()
    answer = await client.delete(f"{place}/abandon")
    assert answer.status_code == 200, answer.text
    document = answer.json()
    assert document == exported
    assert (await client.get(place)).json()["stack"]["stack_status"] == "DELETE_COMPLETE"
    document["resources"] = {"one": {"resource_id": "physical"}}
    adopted = await client.post("/stacks", json={"stack_name": "app", "adopt_stack_data": document})
    assert adopted.status_code == 201, adopted.text
    stack = await shown(client, adopted.headers["location"])
    assert stack["stack_status"] == "ADOPT_IN_PROGRESS"
    row = await db.fetchrow("select name, physical_id, action from stack_resource")
    assert row is not None
    assert tuple(row.values()) == ("one", "physical", "INIT")


@pytest.mark.parametrize("limit", [1, 2])
async def test_a_project_has_so_many_stacks_at_most_x20(
    client: httpx.AsyncClient, all_stacks: Stacks, limit: int
) -> None:
    force_setattr(all_stacks.settings, "stacks_per_project_max", limit)
    for n in range(limit):
        await create(client, f"s{n}")
    refused = await client.post("/stacks", json={"stack_name": "more", "template": TEMPLATE})
    assert refused.status_code == 403
    assert refused.json()["error"]["type"] == "RequestLimitExceeded"
    assert f"maximum stacks per project, {limit} " in refused.json()["error"]["message"]


async def test_a_stack_has_so_many_resources_at_most_x20(client: httpx.AsyncClient) -> None:
    resources = {f"r{n}": {"type": "OS::Heat::None"} for n in range(1001)}
    template = {"heat_template_version": "pike", "resources": resources}
    refused = await client.post("/stacks", json={"stack_name": "big", "template": template})
    assert refused.status_code == 403, refused.text
    assert refused.json()["error"]["type"] == "StackResourceLimitExceeded"
    assert "1000" in refused.json()["error"]["message"]
