"""A node's history on the wire: the errors that the event log tells of (1.78)."""

from __future__ import annotations

from uuid import UUID, uuid4

import httpx
from tests.baremetal.api.test_nodes import at, create, fault
from tests.baremetal.people import BaremetalFixture

from holdfast.store.events import NewEvent, told


async def fail(fixture: BaremetalFixture, node: str, *errors: str, project: str = "alice") -> None:
    events: list[NewEvent] = [
        told(
            "node.error",
            ("node", node),
            projects=[project],
            data={"error": error, "job_kind": "node.deploy"},
        )
        for error in errors
    ]
    await fixture.store.record([*events, told("node.power_state", ("node", node))])


async def test_errors_are_listed_oldest_first_and_shown_in_detail(
    client: httpx.AsyncClient, fixture: BaremetalFixture
):
    node = await create(client, name="n1")
    await fail(fixture, node["uuid"], "the BMC does not answer", "gave up")
    (first, second) = (await client.get("/v1/nodes/n1/history")).json()["history"]
    assert (first["event"], second["event"]) == ("the BMC does not answer", "gave up")
    assert set(first) == {"uuid", "created_at", "severity", "event", "links"}
    assert first["severity"] == "ERROR"
    UUID(first["uuid"])
    (detailed, _) = (await client.get("/v1/nodes/n1/history?detail=True")).json()["history"]
    shown = (await client.get(f"/v1/nodes/n1/history/{first['uuid']}")).json()
    assert shown == detailed
    assert shown["event_type"] == "deploy"
    assert shown["node_uuid"] == node["uuid"]
    assert shown["links"][0]["href"].endswith(f"/history/{first['uuid']}")


async def test_pages_go_on_at_the_marker(client: httpx.AsyncClient, fixture: BaremetalFixture):
    node = await create(client, name="n1")
    await fail(fixture, node["uuid"], "one", "two", "three")
    page = (await client.get("/v1/nodes/n1/history?limit=2")).json()
    assert [entry["event"] for entry in page["history"]] == ["one", "two"]
    rest = (await client.get(page["next"])).json()
    assert [entry["event"] for entry in rest["history"]] == ["three"]
    assert "next" not in rest


async def test_an_owner_sees_what_happened_while_the_node_was_its_own(
    client: httpx.AsyncClient, fixture: BaremetalFixture
):
    node = await create(client, name="n1", owner="alice")
    await fail(fixture, node["uuid"], "before", project="another")
    await fail(fixture, node["uuid"], "since")
    client.headers["X-Auth-Token"] = "reader"
    (entry,) = (await client.get("/v1/nodes/n1/history")).json()["history"]
    assert entry["event"] == "since"
    client.headers["X-Auth-Token"] = "bob"
    assert (await client.get("/v1/nodes/n1/history")).status_code == 404


async def test_what_is_not_there_and_what_came_later(
    client: httpx.AsyncClient, fixture: BaremetalFixture
):
    node = await create(client, name="n1")
    assert (await client.get("/v1/nodes/n1/history")).json() == {"history": []}
    for entry in (str(uuid4()), str(UUID(int=0)), "nonsense"):
        answer = await client.get(f"/v1/nodes/n1/history/{entry}")
        assert answer.status_code == 404
        assert "history record" in fault(answer)
    assert (await client.get("/v1/nodes/nobody/history")).status_code == 404
    early = await client.get(f"/v1/nodes/{node['uuid']}/history", headers=at(77))
    assert early.status_code == 404
