"""What jobs write around a node, in PostgreSQL: fenced, and the same when done twice."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest
from tests.baremetal.people import ADMIN, BaremetalFixture

from holdfast.baremetal.belongings import PgBelongings
from holdfast.errors import FenceLostError
from holdfast.store.model import Fence, Member, MemberSpec, ObjectRef

MACS = ["52:54:00:00:00:01", "52:54:00:00:00:02"]


async def owned(fixture: BaremetalFixture) -> tuple[UUID, Fence, Member]:
    """A node, and the fence of the member that owns it."""
    node = await fixture.node()
    spec = MemberSpec(id=uuid4(), role="conductor", slot="c", host="h")
    member = await fixture.store.register(spec, 60)
    await fixture.store.take("", list(range(8)), member.id, member.epoch)
    fence = await fixture.store.fence_for(ObjectRef("node", node), member.id, member.epoch)
    assert fence is not None
    return node, fence, member


async def ports(fixture: BaremetalFixture) -> list[tuple[UUID, str]]:
    rows = await fixture.db.fetch("select node_uuid, address from port order by address")
    return [(row["node_uuid"], row["address"]) for row in rows]


async def test_an_inventory_is_kept_and_ports_are_made_of_new_addresses(fixture: BaremetalFixture):
    node, fence, _ = await owned(fixture)
    other = await fixture.node()
    await fixture.baremetal.ports.create(ADMIN, {"address": MACS[0], "node_uuid": str(other)})
    belongings = PgBelongings(fixture.db)
    assert await belongings.keep_inventory(fence, node, {"cpu": {}}, MACS) == MACS[1:]
    assert await belongings.keep_inventory(fence, node, {"cpu": {"count": 2}}, MACS) == []
    assert await ports(fixture) == [(other, MACS[0]), (node, MACS[1])]
    kept = await fixture.db.fetch("select node_uuid, inventory from node_inventory")
    assert [tuple(row.values()) for row in kept] == [(node, {"cpu": {"count": 2}})]


async def test_an_allocation_ends_with_its_instance(fixture: BaremetalFixture):
    node, fence, _ = await owned(fixture)
    await fixture.set(node, provision_state="active")
    await fixture.baremetal.allocations.create(ADMIN, {"node": str(node)})
    belongings = PgBelongings(fixture.db)
    for _ in range(2):
        await belongings.release_allocation(fence, node)
        assert await fixture.db.fetchval("select count(*) from allocation") == 0


async def test_who_does_not_own_the_node_any_more_writes_nothing(fixture: BaremetalFixture):
    node, fence, member = await owned(fixture)
    await fixture.store.end_lease(member.id, member.epoch, "died")
    belongings = PgBelongings(fixture.db)
    with pytest.raises(FenceLostError):
        await belongings.keep_inventory(fence, node, {}, MACS)
    with pytest.raises(FenceLostError):
        await belongings.release_allocation(fence, node)
    assert await ports(fixture) == []
