"""A machine as a resource: allocated, deployed, changed, given back; whatever dies meanwhile."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from msgspec.structs import replace
from tests.baremetal.people import BOB
from tests.stacks.types.bench import DELEGATION, Bench
from tests.stacks.types.machines import Machines

from holdfast.errors import ForbiddenError, InvalidInputError, NotFoundError
from holdfast.stacks.model import Action, Status
from holdfast.stacks.resource import Peer, Ready, Replace, ResourceFailedError
from holdfast.stacks.types.baremetal_node import BaremetalNode
from holdfast.stacks.types.configs import SoftwareConfig

IMAGE = {"image": "http://images/one.raw", "image_checksum": "abc"}


def node(machines: Machines, name: str = "thing", **given: Any) -> Bench:
    asked = {"resource_class": "gold", **IMAGE, **given}
    bench = machines.bench(BaremetalNode(), asked, name=name)
    if given.get("resource_class", "") is None:
        bench.properties["resource_class"] = None
    return bench


async def test_a_machine_is_allocated_deployed_and_given_back(machines: Machines):
    uuid = await machines.available(name="n1", properties={"cpus": 4})
    bench = node(machines, name="thing", metadata={"team": "blue"})
    done = await bench.create(each=machines.work)
    row = await machines.row(uuid)
    assert (done.physical_id, row["provision_state"]) == (uuid, "active")
    assert row["instance_info"]["image_source"] == "http://images/one.raw"
    known = bench.row.attributes
    assert (known["node"], known["name"], known["power_state"]) == (uuid, "n1", "power on")
    assert known["properties"] == {"cpus": 4}
    assert machines.jobs == {"node.deploy": 1}
    assert set(machines.delegated) == {DELEGATION}
    await bench.delete(each=machines.work)
    assert await machines.states() == ["available"]
    assert await machines.allocations() == []
    assert machines.jobs == {"node.deploy": 1, "node.undeploy": 1}


@pytest.mark.parametrize("crash_at", range(4))
async def test_an_engine_may_die_before_any_effect(machines: Machines, crash_at: int):
    for _ in range(3):
        await machines.available()
    bench = node(machines)
    await bench.create(each=machines.work, crash_at=crash_at)
    assert sorted(await machines.states()) == ["active", "available", "available"]
    assert await machines.allocations() == ["active"]
    assert machines.jobs == {"node.deploy": 1}
    assert (bench.guards_left is None) == (crash_at < 3)  # it has three effects, and died before
    await bench.delete(each=machines.work, crash_at=crash_at)
    assert await machines.states() == ["available"] * 3
    assert await machines.allocations() == []
    assert machines.jobs["node.undeploy"] == 1


async def test_each_resource_gets_a_machine_of_its_own(machines: Machines):
    for _ in range(3):
        await machines.available()
    taken = [
        (await node(machines, name=f"n{n}").create(each=machines.work)).physical_id
        for n in range(3)
    ]
    assert len(set(taken)) == 3
    with pytest.raises(ResourceFailedError, match="no available nodes match resource class gold"):
        await node(machines, name="n4").create(each=machines.work)


async def test_by_traits_by_group_or_the_very_node(machines: Machines):
    await machines.available()
    special = await machines.available()
    await machines.fixture.set(UUID(special), traits=["CUSTOM_GPU"])
    await machines.fixture.store.ensure_shards("east", 8)
    grouped = await machines.available(conductor_group="east")
    given = await machines.available(name="the-one")
    by_trait = await node(machines, "a", traits=["CUSTOM_GPU"]).create(each=machines.work)
    by_group = await node(machines, "b", conductor_group="east").create(each=machines.work)
    by_name = await node(machines, "c", resource_class=None, node="the-one").create(
        each=machines.work
    )
    found = [one.physical_id for one in (by_trait, by_group, by_name)]
    assert found == [special, grouped, given]
    with pytest.raises(ResourceFailedError, match="conductor group 'west'"):
        await node(machines, "d", conductor_group="west").create()


async def test_without_an_image_it_is_only_allocated(machines: Machines):
    uuid = await machines.available()
    bench = node(machines, image=None, image_checksum=None, power_state="off")
    await bench.create(each=machines.work)
    assert (await machines.row(uuid))["instance_uuid"] is not None
    assert machines.jobs == {}
    await bench.delete(each=machines.work)
    assert (await machines.row(uuid))["instance_uuid"] is None


async def test_a_machine_may_be_off_and_is_switched_in_place(machines: Machines):
    uuid = await machines.available()
    bench = node(machines, power_state="off")
    await bench.create(each=machines.work)
    assert (await machines.row(uuid))["power_state"] == "power off"
    changed = {"resource_class": "gold", **IMAGE, "power_state": "on"}
    assert isinstance(await bench.update(changed, each=machines.work), Ready)
    assert (await machines.row(uuid))["power_state"] == "power on"
    await bench.do("suspend", Action.SUSPEND, each=machines.work)
    assert (await machines.row(uuid))["power_state"] == "power off"
    await bench.do("resume", Action.RESUME, each=machines.work)
    assert (await machines.row(uuid))["power_state"] == "power on"
    assert machines.jobs["node.power"] == 4


async def test_user_data_may_be_a_software_config(machines: Machines):
    uuid = await machines.available()
    config = str(BOB_CONFIG)
    there = replace(Bench(SoftwareConfig()).row, attributes={"config": "#!/bin/sh"})
    bench = machines.bench(
        BaremetalNode(),
        {
            "resource_class": "gold",
            **IMAGE,
            "user_data": config,
            "config_drive": {"meta_data": {"a": 1}},
        },
        peers=lambda said: Peer(row=there) if said == config else None,
    )
    await bench.create(each=machines.work)
    row = await machines.row(uuid)
    secrets = machines.fixture.baremetal.nodes._secrets.open_instance(
        row["uuid"], row["instance_secrets"]
    )
    assert secrets["configdrive"] == {"meta_data": {"a": 1}, "user_data": "#!/bin/sh"}


BOB_CONFIG = "7e0d5b8e-5b0f-4c55-9a55-1f2f6f3a9b11"


async def test_another_image_rebuilds_the_same_machine_once(machines: Machines):
    uuid = await machines.available()
    bench = node(machines, instance_info={"root_gb": 10, "old": 1})
    await bench.create(each=machines.work)
    other = {
        "resource_class": "gold",
        "image": "http://images/two.raw",
        "instance_info": {"root_gb": 20},
    }
    assert isinstance(await bench.update(other, each=machines.work), Ready)
    row = await machines.row(uuid)
    assert row["provision_state"] == "active"
    info = row["instance_info"]
    assert (info["image_source"], info["root_gb"]) == ("http://images/two.raw", 20)
    assert not {"old", "image_checksum"} & info.keys()
    assert machines.jobs == {"node.deploy": 2}


async def test_another_image_replaces_it_if_that_is_wanted_but_never_a_given_node(
    machines: Machines,
):
    await machines.available(name="the-one")
    wanted = {"resource_class": "gold", **IMAGE, "image_update_policy": "replace"}
    bench = machines.bench(BaremetalNode(), {**wanted, "node": "the-one"})
    await bench.create(each=machines.work)
    other = {**wanted, "node": "the-one", "image": "http://images/two.raw"}
    assert isinstance(await bench.update(other, each=machines.work), Ready)
    bench.properties["node"] = None
    assert isinstance(await bench.update({**wanted, "image": "http://three"}), Replace)


async def test_what_is_noted_with_it_changes_in_place(machines: Machines):
    await machines.available()
    bench = node(machines, metadata={"a": 1})
    await bench.create(each=machines.work)
    given = {"resource_class": "gold", **IMAGE, "metadata": {"b": 2}}
    await bench.update(given, each=machines.work)
    found = await machines.fixture.db.fetchval("select extra from allocation")
    assert found == {"b": 2}
    assert machines.jobs == {"node.deploy": 1}


async def test_a_deployment_that_fails_says_why_and_is_torn_down(machines: Machines):
    await machines.available(name="n1")
    machines.fails = "the disk is on fire"
    bench = node(machines)
    with pytest.raises(
        ResourceFailedError, match=r"node n1 is in .*'deploy failed'.*: the disk is on fire"
    ):
        await bench.create(each=machines.work)
    await bench.delete(each=machines.work)
    assert await machines.states() == ["available"]
    assert await machines.allocations() == []


async def test_a_deployment_under_way_is_broken_off_when_it_is_deleted(machines: Machines):
    await machines.available()
    bench = node(machines)
    machines.slow = 10_000
    with pytest.raises(AssertionError, match="never done"):
        await bench.create(each=machines.work)
    assert await machines.states() == ["deploying"]
    bench.row = replace(bench.row, status=Status.FAILED)
    machines.slow = 1
    await machines.fixture.db.execute("update job set state = 'running'")
    await bench.delete(each=machines.work)
    assert await machines.states() == ["available"]
    assert await machines.allocations() == []


async def test_what_was_never_decided_is_just_withdrawn(machines: Machines):
    machines.lazy = True
    bench = node(machines)
    with pytest.raises(AssertionError, match="never done"):
        await bench.create(each=machines.work)
    assert await machines.allocations() == ["allocating"]
    await bench.delete()
    assert await machines.allocations() == []


async def test_a_busy_machine_is_waited_for(machines: Machines):
    uuid = await machines.available()
    bench = node(machines)
    await bench.create(each=machines.work)
    job = await machines.fixture.busy((await machines.row(uuid))["uuid"], kind="node.inspect")
    calls = 0

    async def others_end() -> None:
        nonlocal calls
        calls += 1
        if calls == 6:
            await machines.fixture.end(job.id)
        await machines.work()

    await bench.delete(each=others_end)
    assert "is locked by" in bench.waits[0].reason
    assert await machines.states() == ["available"]


async def test_a_machine_that_somebody_took_away_is_not_touched(machines: Machines):
    uuid = await machines.available()
    bench = node(machines)
    await bench.create(each=machines.work)
    row = await machines.row(uuid)
    await machines.fixture.db.execute("delete from allocation")
    await machines.fixture.set(row["uuid"], instance_uuid=BOB_CONFIG, allocation_uuid=None)
    with pytest.raises(ResourceFailedError, match="not this stack's any more"):
        await bench.do("observe", Action.CHECK)
    await bench.delete(each=machines.work)
    assert await machines.states() == ["active"]


async def test_a_check_sees_what_became_of_it(machines: Machines):
    uuid = await machines.available()
    bench = node(machines)
    await bench.create(each=machines.work)
    await machines.fixture.set((await machines.row(uuid))["uuid"], power_state="power off")
    await bench.do("observe", Action.CHECK)
    assert bench.row.attributes["power_state"] == "power off"
    await machines.fixture.set((await machines.row(uuid))["uuid"], provision_state="error")
    with pytest.raises(ResourceFailedError, match="it should be active"):
        await bench.do("observe", Action.CHECK)


async def test_it_is_done_with_the_rights_of_the_stacks_user(machines: Machines):
    await machines.available(name="alices")
    machines.caller = BOB
    with pytest.raises(ResourceFailedError, match="no available nodes match"):
        await node(machines).create(each=machines.work)
    with pytest.raises(NotFoundError):
        await node(machines, "other", resource_class=None, node="alices").create()


async def test_the_history_says_for_whom_it_was_done(machines: Machines):
    await machines.fixture.db.execute("delete from event")
    await machines.available()
    await node(machines).create(each=machines.work)
    page = await machines.fixture.store.events(None, 1000)
    who = {event.kind: event.actor for event in page.events}
    assert who["audit.allocation.create"] == "alice-user@alice"
    assert who["audit.node.update"] == "alice-user@alice"


async def test_a_revoked_delegation_ends_it(machines: Machines):
    async def refused(_: Any) -> Any:
        raise ForbiddenError("the delegation of ann@proj was revoked")

    call = {**machines.call(), "caller": refused}
    bench = Bench(BaremetalNode(), {"resource_class": "gold"}, call=call)
    with pytest.raises(ForbiddenError, match="revoked"):
        await bench.create()
    for ports, why in (({}, "no bare metal"), ({"baremetal": object()}, "without identity")):
        with pytest.raises(ResourceFailedError, match=why):
            await Bench(BaremetalNode(), {"resource_class": "g"}, call=ports).create()


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({}, "resource_class or node"),
        ({"node": "n", "conductor_group": "g"}, "conductor_group"),
        ({"node": "n", "config_drive": 3, "image": "i"}, "config_drive"),
        ({"node": "n", "config_drive": "H4s", "user_data": "x", "image": "i"}, "user_data"),
        ({"node": "n", "user_data": "x"}, "image: without one"),
    ],
)
def test_what_contradicts_itself_is_refused(given: dict[str, Any], why: str):
    with pytest.raises(InvalidInputError, match=why):
        Bench(BaremetalNode(), given)
