"""Every change of a user's is in the event log, with who, what and on which object."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.baremetal.people import ADMIN, ALICE, REDFISH, BaremetalFixture

from holdfast.baremetal.service.verbs import ProvisionRequest
from holdfast.baremetal.service.vifs import Vif
from holdfast.errors import ConflictError, NotFoundError
from holdfast.store.events import Actor, Event, acting

ANN = Actor(user_id="u1", label="ann@alice", project="alice", request="req-1")
MAC = "52:54:00:00:00:01"


@pytest.fixture(autouse=True)
async def empty(fixture: BaremetalFixture) -> None:
    await fixture.db.execute("delete from event")


async def told(fixture: BaremetalFixture) -> list[Event]:
    """What the log has; others' transactions, for which its readers wait, are waited for."""
    while True:
        page = await fixture.store.events(None, 1000)
        if len(page.events) == await fixture.db.fetchval("select count(*) from event"):
            return list(page.events)


def replace(path: str, value: Any) -> list[dict[str, Any]]:
    return [{"op": "replace", "path": path, "value": value}]


async def test_a_nodes_life_is_told_with_who_did_what(fixture: BaremetalFixture):
    nodes = fixture.baremetal.nodes
    with acting(ANN):
        uuid = await fixture.node(ALICE, name="n1")
        await nodes.update(ALICE, "n1", replace("/description", "third rack"))
        await fixture.baremetal.upkeep.set_traits(ALICE, "n1", lambda _: ["CUSTOM_X"])
        await nodes.delete(ALICE, "n1")
    events = await told(fixture)
    assert [event.kind for event in events] == [
        "audit.node.create", "audit.node.update", "audit.node.set_traits", "audit.node.delete",
    ]  # fmt: skip
    for event in events:
        assert (event.object_kind, event.object_id, event.object_name) == ("node", str(uuid), "n1")
        assert (event.user_id, event.actor, event.request) == ("u1", "ann@alice", "req-1")
        assert (event.result, event.projects) == ("ok", ("alice",))
    assert events[1].data == {"changed": {"description": "third rack"}}
    assert events[2].data == {"traits": ["CUSTOM_X"]}


async def test_documents_are_named_and_not_shown(fixture: BaremetalFixture):
    await fixture.node(ALICE, name="n1")
    secret = {**REDFISH, "redfish_password": "hunter2"}
    await fixture.baremetal.nodes.update(ALICE, "n1", replace("/driver_info", secret))
    events = await told(fixture)
    assert events[-1].data == {"changed": {"driver_info.redfish_password": "…"}}
    assert "hunter2" not in msgspec.json.encode(events).decode()


async def test_maintenance_and_states_that_no_job_changes_are_told_as_changes_too(
    fixture: BaremetalFixture,
):
    uuid = await fixture.node(ALICE, name="n1", state="enroll")
    with acting(ANN):
        await fixture.baremetal.upkeep.set_maintenance(ALICE, "n1", True, "fan")
        await fixture.baremetal.upkeep.set_maintenance(ALICE, "n1", True, "fans")
        await fixture.baremetal.nodes.update(ALICE, "n1", replace("/maintenance", False))
    changes = [event for event in await told(fixture) if event.kind == "node.maintenance"]
    assert [(event.data["from"], event.data["to"]) for event in changes] == [
        (False, True), (True, False),
    ]  # fmt: skip
    assert {event.actor for event in changes} == {"ann@alice"}
    await fixture.set(uuid, provision_state="available")
    with acting(ANN):
        await fixture.baremetal.verbs.provision(ALICE, "n1", ProvisionRequest(target="manage"))
    last = (await told(fixture))[-1]
    assert (last.kind, last.actor) == ("node.provision_state", "ann@alice")
    assert (last.data["from"], last.data["to"]) == ("available", "manageable")


async def test_ports_and_groups_are_told_to_those_who_see_the_node(fixture: BaremetalFixture):
    node = await fixture.node(ALICE)
    bare = fixture.baremetal
    group = await bare.portgroups.create(ALICE, {"node_uuid": str(node)})
    port = await bare.ports.create(ALICE, {"node_uuid": str(node), "address": MAC})
    await bare.ports.update(ALICE, str(port), replace("/pxe_enabled", False))
    await bare.vifs.attach(ALICE, str(node), Vif(id="vif-1"))
    await bare.vifs.detach(ALICE, str(node), "vif-1")
    await bare.ports.delete(ALICE, str(port))
    await bare.portgroups.delete(ALICE, str(group))
    events = (await told(fixture))[1:]
    assert [event.kind.removeprefix("audit.") for event in events] == [
        "portgroup.create", "port.create", "port.update", "node.vif_attach", "node.vif_detach",
        "port.delete", "portgroup.delete",
    ]  # fmt: skip
    assert {event.projects for event in events} == {("alice",)}
    created = events[1]
    assert (created.object_kind, created.object_id) == ("port", str(port))
    assert (created.data["address"], created.data["node_uuid"]) == (MAC, str(node))


async def test_other_records_and_allocations_are_told(fixture: BaremetalFixture):
    bare = fixture.baremetal
    chassis = await bare.chassis.create({"description": "c"})
    await bare.chassis.update(ADMIN, str(chassis), replace("/description", "d"))
    await bare.chassis.delete(ADMIN, str(chassis))
    uuid = await bare.allocations.create(ALICE, {"name": "a1", "resource_class": "big"})
    await bare.allocations.decide()
    await bare.allocations.delete(ALICE, str(uuid))
    events = await told(fixture)
    assert [event.kind for event in events] == [
        "audit.chassis.create", "audit.chassis.update", "audit.chassis.delete",
        "audit.allocation.create", "allocation.decided", "audit.allocation.delete",
    ]  # fmt: skip
    assert events[4].result == "error"
    assert events[4].projects == ("alice",)


async def test_what_is_refused_or_fails_is_not_told_as_done(fixture: BaremetalFixture):
    await fixture.node(ALICE, name="n1")
    await fixture.db.execute("delete from event")
    with pytest.raises(ConflictError):
        await fixture.node(ALICE, name="n1")
    with pytest.raises(NotFoundError):
        await fixture.baremetal.nodes.delete(ALICE, "nobody")
    with pytest.raises(NotFoundError):
        await fixture.baremetal.ports.delete(ALICE, "nobody")
    assert await told(fixture) == []
