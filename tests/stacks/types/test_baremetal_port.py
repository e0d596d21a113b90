"""Ports as resources, over the real service."""

from __future__ import annotations

from typing import Any

import pytest
from tests.stacks.types.machines import Machines

from holdfast.errors import ConflictError, HoldfastError, InvalidInputError, NotFoundError
from holdfast.stacks.model import Action
from holdfast.stacks.resource import Ready, ResourceFailedError
from holdfast.stacks.types.baremetal_port import BaremetalPort, IronicPort

MAC = "52:54:00:00:00:0a"


async def ports(machines: Machines) -> list[dict[str, Any]]:
    return [dict(row) for row in await machines.fixture.db.fetch("select * from port")]


@pytest.mark.parametrize("kind", [IronicPort(), BaremetalPort()], ids=lambda kind: kind.name)
async def test_a_port_is_made_once_shown_and_taken_away(machines: Machines, kind: IronicPort):
    node = await machines.available(name="n1")
    given = {
        "node": "n1",
        "address": MAC.upper(),
        "pxe_enabled": False,
        "physical_network": "lan",
        "local_link_connection": {"switch_id": "02:00:00:00:00:01", "port_id": "e1"},
        "extra": {"a": 1},
    }
    bench = machines.bench(kind, given)
    done = await bench.create()
    (row,) = await ports(machines)
    assert str(row["uuid"]) == done.physical_id
    known = bench.row.attributes
    assert (known["address"], known["node_uuid"], known["pxe_enabled"]) == (MAC, node, False)
    assert known["local_link_connection"]["port_id"] == "e1"
    await bench.delete()
    assert await ports(machines) == []
    await bench.delete()  # again, as after a crash


async def test_it_is_changed_in_place_and_what_is_left_out_is_unset(machines: Machines):
    await machines.available(name="n1")
    other = await machines.available(name="n2")
    bench = machines.bench(
        BaremetalPort(),
        {"node": "n1", "address": MAC, "physical_network": "lan", "name": "p1"},
    )
    await bench.create()
    changed = {"node": "n2", "address": MAC, "extra": {"b": 2}, "name": "p2"}
    assert isinstance(await bench.update(changed), Ready)
    known = bench.row.attributes
    assert (known["node_uuid"], known["physical_network"]) == (other, None)
    assert (known["extra"], known["name"]) == ({"b": 2}, "p2")


async def test_it_waits_while_a_job_has_the_node_in_hand(machines: Machines):
    uuid = await machines.available(name="n1")
    bench = machines.bench(IronicPort(), {"node": "n1", "address": MAC})
    await bench.create()
    job = await machines.fixture.busy((await machines.row(uuid))["uuid"])
    calls = 0

    async def later() -> None:
        nonlocal calls
        calls += 1
        if calls == 4:
            await machines.fixture.end(job.id)

    await bench.delete(each=later)
    assert len(bench.waits) >= 1
    assert await ports(machines) == []


async def test_what_the_service_refuses_fails_it(machines: Machines):
    await machines.available(name="n1")
    await machines.bench(IronicPort(), {"node": "n1", "address": MAC}, name="one").create()
    for given, fault in (
        ({"node": "n1", "address": MAC}, ConflictError),
        ({"node": "n1", "address": "no-mac"}, InvalidInputError),
        ({"node": "nowhere", "address": MAC}, NotFoundError),
    ):
        with pytest.raises(fault) as caught:
            await machines.bench(IronicPort(), given, name="two").create()
        assert isinstance(caught.value, HoldfastError)


async def test_a_check_misses_a_port_that_is_gone(machines: Machines):
    await machines.available(name="n1")
    bench = machines.bench(IronicPort(), {"node": "n1", "address": MAC})
    await bench.create()
    await machines.fixture.db.execute("delete from port")
    with pytest.raises(ResourceFailedError, match="is not there any more"):
        await bench.do("observe", Action.CHECK)
