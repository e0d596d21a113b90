"""Resources, signals and events over HTTP."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import httpx
from tests.stacks.api.test_collection import create
from tests.stacks.rows import a_resource, a_stack, put_rows, put_stack

from holdfast.stacks.model import Action, Resource, Status, nested_id
from holdfast.store.pg.database import Database


async def made(client: httpx.AsyncClient, db: Database) -> tuple[str, Resource]:
    """A stack whose resource is there."""
    place = await create(client)
    row = a_resource(
        UUID(place.rsplit("/", 1)[1]),
        "one",
        type="OS::Heat::TestResource",
        action=Action.CREATE,
        physical_id="phys",
        attributes={"output": "x"},
    )
    await put_rows(db, row)
    await db.execute("update stack set status = 'COMPLETE'")
    return place, row


async def test_resources_are_listed_and_filtered(client: httpx.AsyncClient, db: Database) -> None:
    place, row = await made(client, db)
    (one,) = (await client.get(f"{place}/resources")).json()["resources"]
    assert one["resource_name"] == one["logical_resource_id"] == "one"
    assert one["resource_status"] == "CREATE_COMPLETE"
    assert one["physical_resource_id"] == "phys"
    assert {link["rel"]: link["href"] for link in one["links"]} == {
        "self": f"{place}/resources/one",
        "stack": place,
    }
    for params, count in (
        ({"type": "OS::Nova::Server"}, 0),
        ({"type": row.type, "name": "one", "status": "COMPLETE"}, 1),
        ({"physical_resource_id": "phys"}, 1),
        ({"action": "UPDATE"}, 0),
    ):
        found = (await client.get(f"{place}/resources", params=params)).json()["resources"]
        assert len(found) == count, params
    (whole,) = (await client.get(f"{place}/resources?with_detail=true")).json()["resources"]
    assert whole["attributes"] == {"output": "x"}
    assert (await client.get(f"{place}/resources?nonsense=1")).status_code == 400


async def test_nested_resources_are_found_at_their_depth(
    client: httpx.AsyncClient, db: Database
) -> None:
    place, row = await made(client, db)
    inner = a_stack("inner", id=nested_id(row.id), root=row.stack, owner=row.id, project="alice")
    await put_stack(db, inner)
    await put_rows(db, a_resource(inner.id, "deep", action=Action.CREATE))
    flat = (await client.get(f"{place}/resources")).json()["resources"]
    assert [one["resource_name"] for one in flat] == ["one"]
    assert flat[0]["links"][-1]["rel"] == "nested"
    deep = (await client.get(f"{place}/resources", params={"nested_depth": 2})).json()["resources"]
    assert [one["resource_name"] for one in deep] == ["one", "deep"]
    assert deep[1]["parent_resource"] == "one"
    href = f"http://hf:8080/orchestration/v1/alice/stacks/inner/{inner.id}"
    assert deep[1]["links"][1]["href"] == href


async def test_a_resource_shows_its_attributes(client: httpx.AsyncClient, db: Database) -> None:
    place, _ = await made(client, db)
    one = (await client.get(f"{place}/resources/one")).json()["resource"]
    assert one["attributes"]["output"] == "x"
    assert one["required_by"] == []
    out = (await client.get(f"{place}/outputs/out")).json()["output"]
    assert out["output_value"] == "x"
    assert (await client.get(f"{place}/resources/one/metadata")).json() == {"metadata": {}}
    missing = await client.get(f"{place}/resources/none")
    assert missing.status_code == 404
    assert missing.json()["error"]["type"] == "EntityNotFound"


async def test_a_resource_is_marked_unhealthy_and_well_again(
    client: httpx.AsyncClient, db: Database
) -> None:
    place, _ = await made(client, db)
    body = {"mark_unhealthy": True, "resource_status_reason": "it burns"}
    answer = await client.patch(f"{place}/resources/one", json=body)
    assert answer.status_code == 200, answer.text
    one = (await client.get(f"{place}/resources/phys")).json()["resource"]
    assert one["resource_status"] == "CHECK_FAILED"
    assert one["resource_status_reason"] == "it burns"
    await client.patch(f"{place}/resources/one", json={"mark_unhealthy": False})
    one = (await client.get(f"{place}/resources/one")).json()["resource"]
    assert one["resource_status"] == "CHECK_COMPLETE"
    for wrong in ({}, {"mark_unhealthy": "maybe"}, {"mark_unhealthy": True, "more": 1}):
        assert (await client.patch(f"{place}/resources/one", json=wrong)).status_code == 400
    await db.execute("update stack_resource set status = 'IN_PROGRESS'")
    assert (await client.patch(f"{place}/resources/one", json=body)).status_code == 409


async def test_only_what_takes_signals_is_signalled(
    client: httpx.AsyncClient, db: Database
) -> None:
    place, row = await made(client, db)
    refused = await client.post(f"{place}/resources/one/signal", json={})
    assert refused.status_code == 400
    assert refused.json()["error"]["type"] == "ResourceActionNotSupported"
    handle = a_resource(
        row.stack,
        "handle",
        type="OS::Heat::WaitConditionHandle",
        action=Action.CREATE,
        status=Status.COMPLETE,
        data={"signal_token": "open sesame"},
    )
    await put_rows(db, handle)
    url = f"{place}/resources/handle/signal"
    said: dict[str, Any] = {"id": "1", "status": "SUCCESS", "data": "d"}
    assert (await client.post(url, json=said)).status_code == 200
    by_token = {"X-Auth-Token": "open sesame"}
    assert (await client.post(url, json=said, headers=by_token)).status_code == 200
    wrong = {"X-Auth-Token": "shut"}
    assert (await client.post(url, json=said, headers=wrong)).status_code == 401
    assert (await client.post(url, json=said, headers={"X-Auth-Token": ""})).status_code == 401
    assert (await client.post(url, json=said, headers={"X-Auth-Token": "bob"})).status_code == 403
    reader = {"X-Auth-Token": "reader"}
    assert (await client.post(url, json=said, headers=reader)).status_code == 403
    assert (await client.post(url, json={"nonsense": 1})).status_code == 400
    kept = await db.fetch("select payload from stack_signal order by seq")
    assert [one["payload"]["data"] for one in kept] == ["d", "d"]


async def test_history_is_read_on_from_the_last_line(
    client: httpx.AsyncClient, db: Database
) -> None:
    place, _ = await made(client, db)
    (first,) = (await client.get(f"{place}/events")).json()["events"]
    assert first["resource_status"] == "CREATE_IN_PROGRESS"
    assert first["resource_name"] == "app"
    assert first["physical_resource_id"] == place.rsplit("/", 1)[1]
    assert [link["rel"] for link in first["links"]] == ["self", "resource", "stack"]
    for n in range(3):
        body = {"mark_unhealthy": True, "resource_status_reason": f"r{n}"}
        await client.patch(f"{place}/resources/one", json=body)
    after = (await client.get(f"{place}/events", params={"marker": first["id"]})).json()["events"]
    assert [one["resource_status_reason"] for one in after] == ["r0", "r1", "r2"]
    params = {"marker": after[2]["id"], "sort_dir": "desc", "limit": 1, "nested_depth": 1}
    (before,) = (await client.get(f"{place}/events", params=params)).json()["events"]
    assert before["id"] == after[1]["id"]
    assert before["links"][-1] == {"rel": "root_stack", "href": place}
    of_one = (await client.get(f"{place}/resources/one/events")).json()["events"]
    assert len(of_one) == 3
    assert (await client.get(f"{place}/resources/none/events")).status_code == 404
    whole = await client.get(of_one[0]["links"][0]["href"])
    assert whole.json()["event"]["resource_type"] == "OS::Heat::TestResource"
    filtered = {"resource_action": "CREATE", "resource_name": "app"}
    found = (await client.get(f"{place}/events", params=filtered)).json()["events"]
    assert [one["id"] for one in found] == [first["id"]]
    assert (await client.get(f"{place}/events", params={"marker": "none"})).status_code == 404
