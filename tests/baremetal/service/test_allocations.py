"""Allocations: who gets which node, what happens with many at once, and how a node comes back."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID, uuid4

import pytest
from tests.baremetal.people import ADMIN, ALICE, BOB, BaremetalFixture

from holdfast.baremetal.errors import NodeLockedError
from holdfast.baremetal.resources import ALLOCATIONS
from holdfast.errors import ConflictError, ForbiddenError, InvalidInputError, NotFoundError
from holdfast.identity.policy import Caller

GOLD: dict[str, Any] = {"resource_class": "gold"}


async def available(fixture: BaremetalFixture, who: Caller = ADMIN, **fields: Any) -> UUID:
    """A node that can be allocated."""
    uuid = await fixture.node(who, state="available", **{**GOLD, **fields})
    await fixture.set(uuid, power_state="power off")
    return uuid


async def ask(fixture: BaremetalFixture, who: Caller = ADMIN, **fields: Any) -> UUID:
    return await fixture.baremetal.allocations.create(who, {**GOLD, **fields})


async def shown(fixture: BaremetalFixture, uuid: UUID) -> dict[str, Any]:
    names = ("state", "node_uuid", "last_error", "candidate_nodes", "resource_class", "owner")
    return await fixture.baremetal.read.one(ALLOCATIONS, ADMIN, str(uuid), names)


async def test_a_request_waits_to_be_decided_and_then_has_a_node(fixture: BaremetalFixture):
    node = await available(fixture)
    uuid = await ask(fixture, traits=[], name="mine")
    assert (await shown(fixture, uuid))["state"] == "allocating"
    assert await fixture.baremetal.allocations.decide() == 1
    seen, row = await shown(fixture, uuid), await fixture.row(node)
    assert (seen["state"], seen["node_uuid"], seen["last_error"]) == ("active", str(node), None)
    assert (row["allocation_uuid"], row["instance_uuid"]) == (uuid, uuid)
    assert row["instance_info"] == {"traits": []}
    assert await fixture.baremetal.allocations.of_node(ADMIN, str(node)) == uuid
    assert await fixture.baremetal.allocations.decide() == 0


@pytest.mark.parametrize(
    "columns",
    [
        {"provision_state": "manageable"},
        {"maintenance": True},
        {"retired": True},
        {"power_state": None},
        {"resource_class": "silver"},
        {"instance_uuid": UUID(int=7)},
        {"traits": ["CUSTOM_B"]},
    ],
    ids=str,
)
async def test_a_node_that_does_not_fit_is_not_given_away(
    fixture: BaremetalFixture, columns: dict[str, Any]
):
    node = await available(fixture)
    await fixture.set(node, **{"traits": ["CUSTOM_A"], **columns})
    uuid = await ask(fixture, traits=["CUSTOM_A"])
    assert await fixture.baremetal.allocations.decide() == 1
    seen = await shown(fixture, uuid)
    assert (seen["state"], seen["node_uuid"]) == ("error", None)
    assert "no available nodes match resource class gold and the traits CUSTOM_A" in str(
        seen["last_error"]
    )


async def test_candidates_are_the_only_ones_and_may_be_named(fixture: BaremetalFixture):
    await available(fixture)
    chosen = await available(fixture, name="n2")
    uuid = await ask(fixture, candidate_nodes=["n2", str(chosen)])
    await fixture.baremetal.allocations.decide()
    seen = await shown(fixture, uuid)
    assert (seen["candidate_nodes"], seen["node_uuid"]) == ([str(chosen)], str(chosen))
    with pytest.raises(InvalidInputError, match="candidate_nodes: Node n3 could not be found"):
        await ask(fixture, candidate_nodes=["n3"])


async def test_a_busy_node_is_waited_for(fixture: BaremetalFixture):
    node = await available(fixture)
    job = await fixture.busy(node)
    uuid = await ask(fixture)
    assert await fixture.baremetal.allocations.decide() == 0
    assert (await shown(fixture, uuid))["state"] == "allocating"
    await fixture.end(job.id)
    assert await fixture.baremetal.allocations.decide() == 1
    assert (await shown(fixture, uuid))["node_uuid"] == str(node)


async def test_of_many_at_once_each_gets_another_node_and_the_rest_none(
    fixture: BaremetalFixture,
):
    nodes = {str(await available(fixture)) for _ in range(4)}
    asked = [await ask(fixture) for _ in range(7)]
    for _ in range(20):
        await asyncio.gather(*(fixture.baremetal.allocations.decide() for _ in range(3)))
    seen = [await shown(fixture, uuid) for uuid in asked]
    given = [one["node_uuid"] for one in seen if one["state"] == "active"]
    assert sorted(given) == sorted(nodes)
    assert [one["state"] for one in seen].count("error") == 3


async def test_projects_get_their_own_nodes_only_and_see_their_own_allocations(
    fixture: BaremetalFixture,
):
    await available(fixture, BOB)
    leased = await available(fixture, BOB, lessee="alice")
    mine = await ask(fixture, ALICE)
    await fixture.baremetal.allocations.decide()
    seen = await shown(fixture, mine)
    assert (seen["owner"], seen["node_uuid"]) == ("alice", str(leased))
    with pytest.raises(NotFoundError):
        await fixture.baremetal.read.one(ALLOCATIONS, BOB, str(mine), ("uuid",))
    with pytest.raises(NotFoundError):
        await fixture.baremetal.allocations.delete(BOB, str(mine))
    with pytest.raises(ForbiddenError, match="leave owner out"):
        await ask(fixture, ALICE, owner="bob")


async def test_a_deleted_allocation_gives_its_node_back(fixture: BaremetalFixture):
    node = await available(fixture)
    uuid = await ask(fixture)
    await fixture.baremetal.allocations.decide()
    await fixture.baremetal.allocations.delete(ADMIN, str(uuid))
    row = await fixture.row(node)
    assert (row["allocation_uuid"], row["instance_uuid"]) == (None, None)
    assert row["instance_info"] == {}
    with pytest.raises(NotFoundError, match="has no allocation"):
        await fixture.baremetal.allocations.of_node(ADMIN, str(node))


async def test_deleting_while_it_is_being_decided_leaves_no_node_marked(
    fixture: BaremetalFixture,
):
    node = await available(fixture)
    for _ in range(10):
        uuid = await ask(fixture)
        await asyncio.gather(
            fixture.baremetal.allocations.decide(),
            fixture.baremetal.allocations.delete(ADMIN, str(uuid)),
        )
        assert (await fixture.row(node))["instance_uuid"] is None


@pytest.mark.parametrize("state", ["active", "deploying", "deploy failed", "deleting"])
async def test_an_allocation_whose_node_is_in_use_stays(fixture: BaremetalFixture, state: str):
    node = await available(fixture)
    uuid = await ask(fixture)
    await fixture.baremetal.allocations.decide()
    await fixture.set(node, provision_state=state)
    with pytest.raises(ConflictError, match="undeploy it first"):
        await fixture.baremetal.allocations.delete(ADMIN, str(uuid))
    job = await fixture.busy(node)
    with pytest.raises(NodeLockedError):
        await fixture.baremetal.allocations.delete(ADMIN, str(uuid))
    await fixture.end(job.id)
    operations = [{"op": "remove", "path": "/instance_uuid"}]
    with pytest.raises(ConflictError, match="by allocation"):
        await fixture.baremetal.nodes.update(ADMIN, str(node), operations)


async def test_only_name_and_extra_of_an_allocation_change(fixture: BaremetalFixture):
    allocations = fixture.baremetal.allocations
    uuid = str(await ask(fixture, name="a"))
    await ask(fixture, name="b")
    await allocations.update(ADMIN, "a", [{"op": "add", "path": "/extra/x", "value": 1}])
    with pytest.raises(ConflictError, match="name b already exists"):
        await allocations.update(ADMIN, uuid, [{"op": "replace", "path": "/name", "value": "b"}])
    operation = {"op": "replace", "path": "/resource_class", "value": "silver"}
    with pytest.raises(InvalidInputError, match="resource_class of an allocation cannot"):
        await allocations.update(ADMIN, uuid, [operation])


async def test_a_deployed_node_is_allocated_after_the_fact(fixture: BaremetalFixture):
    node = await fixture.node(state="active", **GOLD)
    allocations = fixture.baremetal.allocations
    uuid = await allocations.create(ADMIN, {"node": str(node)})
    seen = await shown(fixture, uuid)
    assert (seen["state"], seen["node_uuid"]) == ("active", str(node))
    assert seen["resource_class"] == "gold"
    assert (await fixture.row(node))["instance_uuid"] == uuid
    with pytest.raises(ConflictError, match="associated with instance"):
        await allocations.create(ADMIN, {"node": str(node)})


@pytest.mark.parametrize(
    ("fields", "refusal", "named"),
    [
        ({"resource_class": "silver"}, ConflictError, "not silver"),
        ({"traits": ["CUSTOM_A"]}, ConflictError, "lacks the traits CUSTOM_A"),
        ({"candidate_nodes": ["n1"]}, InvalidInputError, "not both"),
        ({"uuid": str(uuid4())}, ConflictError, "associated with instance"),
    ],
)
async def test_what_does_not_fit_the_deployed_node_is_refused(
    fixture: BaremetalFixture, fields: dict[str, Any], refusal: type[Exception], named: str
):
    node = await fixture.node(state="active", name="n1", **GOLD)
    await fixture.set(node, instance_uuid=uuid4())
    with pytest.raises(refusal, match=named):
        await fixture.baremetal.allocations.create(ADMIN, {"node": "n1", **fields})


async def test_a_node_of_ones_choice_must_be_active(fixture: BaremetalFixture):
    node = await available(fixture)
    with pytest.raises(ConflictError, match="use candidate_nodes"):
        await fixture.baremetal.allocations.create(ADMIN, {"node": str(node)})


@pytest.mark.parametrize(
    ("document", "named"),
    [
        ({}, "resource_class"),
        ({"resource_class": "x" * 81}, "resource_class"),
        ({**GOLD, "traits": ["small"]}, "small"),
        ({**GOLD, "name": "no spaces"}, "no spaces"),
        ({**GOLD, "state": "active"}, "state"),
        ({**GOLD, "wings": 2}, "wings"),
    ],
)
async def test_bad_input_is_refused_by_its_name(
    fixture: BaremetalFixture, document: dict[str, Any], named: str
):
    with pytest.raises(InvalidInputError, match=named):
        await fixture.baremetal.allocations.create(ADMIN, document)
