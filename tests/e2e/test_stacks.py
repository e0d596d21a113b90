"""Machines by template: deployed, changed, replaced, given back; engines killed on the way.

One system, as a user starts it, with a fleet of simulated machines; the unmodified client
asks for everything. What was done to the machines is told by the fleet's journal.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.compat.programs import until
from tests.e2e.farm import Farm

pytestmark = pytest.mark.e2e
LONG = bool(os.environ.get("HOLDFAST_TEST_CHAOS_S"))  # `make chaos` has the time for the rest
long_only = pytest.mark.skipif(not LONG, reason="set HOLDFAST_TEST_CHAOS_S (make chaos does)")

TEN = 10
MACHINES = TEN + 3  # two are replaced, create before delete; one is always idle
CLASS, TRAIT = "compute", "CUSTOM_FAST"
FIRST, SECOND = "http://images.example/first.qcow2", "http://images.example/second.qcow2"
QUICK = ("--wait", "--poll", "1")


@pytest.fixture(scope="module")
def farm() -> Iterator[Farm]:
    farm = Farm(MACHINES)
    yield farm
    farm.close()
    shutil.rmtree(farm.up.folder, ignore_errors=True)


@pytest.fixture
async def up(farm: Farm) -> Farm:
    """The farm, started by whichever test comes first."""
    if not farm.macs:
        await farm.start(CLASS, TRAIT)
    return farm


def machine(image: str, **more: Any) -> dict[str, Any]:
    """A resource, as a template has it."""
    properties: dict[str, Any] = {
        "resource_class": CLASS,
        "traits": [TRAIT],
        "image": image,
        "image_checksum": "0123456789abcdef0123456789abcdef",
        "config_drive": {"meta_data": {"team": "blue"}, "user_data": "#cloud-config\n"},
        "metadata": {"role": "web"},
        "image_update_policy": "replace",
        **more,
    }
    return {"type": "Holdfast::Baremetal::Node", "properties": properties}


def write(farm: Farm, name: str, resources: dict[str, Any], outputs: dict[str, Any]) -> Path:
    """A template, as a file."""
    document = {
        "heat_template_version": "2021-04-16",
        "resources": resources,
        "outputs": {key: {"value": value} for key, value in outputs.items()},
    }
    path = farm.up.folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def racks(farm: Farm, **different: dict[str, Any]) -> Path:
    """Ten machines; ``different``: the properties of some."""
    names = [f"web{number}" for number in range(TEN)]
    resources = {name: machine(**{"image": FIRST, **different.get(name, {})}) for name in names}
    outputs = {
        "nodes": {name: {"get_resource": name} for name in names},
        "addresses": {name: {"get_attr": [name, "addresses", 0]} for name in names},
        "allocations": {name: {"get_attr": [name, "allocation"]} for name in names},
    }
    return write(farm, "racks", resources, outputs)


def listed(farm: Farm) -> dict[str, dict[str, Any]]:
    """All nodes, by UUID."""
    fields = ("uuid", "instance_uuid", "provision_state", "power_state")
    found = farm.client.json("baremetal", "node", "list", "--fields", *fields)
    return {node["uuid"]: node for node in found}


def held(farm: Farm) -> set[str]:
    """The nodes that are somebody's."""
    bound = {uuid for uuid, node in listed(farm).items() if node["instance_uuid"]}
    allocations = farm.client.json("baremetal", "allocation", "list")
    assert bound == {one["node_uuid"] for one in allocations}
    return bound


def assert_idle(farm: Farm, nodes: set[str]) -> None:
    """Nobody's, undeployed and cleaned: the disk is empty, the power off."""
    idle = {"instance_uuid": None, "provision_state": "available", "power_state": "power off"}
    assert {uuid: n for uuid, n in listed(farm).items() if uuid in nodes and n != n | idle} == {}
    images = farm.images()
    assert {images[uuid] for uuid in nodes} == {""}


async def test_ten_nodes_of_a_template_are_ten_machines_deployed(up: Farm):
    client = up.client
    client.done("stack", "create", "-t", str(racks(up)), *QUICK, "racks")

    outputs = up.outputs("racks")
    nodes = outputs["nodes"]
    assert up.deployments() == Counter(nodes.values())  # each of the ten once, and no other
    assert len(set(nodes.values())) == TEN
    images = up.images()
    assert {images[node] for node in nodes.values()} == {FIRST}
    assert outputs["addresses"] == {name: up.macs[node] for name, node in nodes.items()}
    assert held(up) == set(nodes.values())
    node = client.node(nodes["web3"])
    assert (node["provision_state"], node["power_state"]) == ("active", "power on")
    assert node["instance_uuid"] == outputs["allocations"]["web3"]
    allocation = client.json("baremetal", "allocation", "show", outputs["allocations"]["web3"])
    assert allocation["extra"] == {"role": "web"}
    assert allocation["traits"] == [TRAIT]
    assert up.fleet.assert_no_double_command() > 0


async def test_a_change_in_place_keeps_the_machines_and_redeploys_none(up: Farm):
    client, before = up.client, up.outputs("racks")
    deployed = up.deployments()

    changed = racks(up, web1={"metadata": {"role": "db"}}, web2={"power_state": "off"})
    client.done("stack", "update", "-t", str(changed), "--wait", "racks")

    assert up.outputs("racks") == before
    assert up.deployments() == deployed
    said = client.json("baremetal", "allocation", "show", before["allocations"]["web1"])
    assert said["extra"] == {"role": "db"}
    assert client.node(before["nodes"]["web2"])["power_state"] == "power off"
    assert client.node(before["nodes"]["web1"])["power_state"] == "power on"


async def test_two_nodes_are_replaced_by_two_others_and_the_old_ones_given_back(up: Farm):
    client, before = up.client, up.outputs("racks")["nodes"]
    deployed = up.deployments()

    changed = racks(up, web4={"image": SECOND}, web5={"image": SECOND})
    client.done("stack", "update", "-t", str(changed), "--wait", "racks")

    after = up.outputs("racks")["nodes"]
    moved = {name for name in after if after[name] != before[name]}
    assert moved == {"web4", "web5"}
    fresh = {after[name] for name in moved}
    assert fresh.isdisjoint(before.values())  # the new ones were there before the old ones went
    assert up.deployments() - deployed == Counter(fresh)
    assert {up.images()[node] for node in fresh} == {SECOND}
    assert held(up) == set(after.values())
    assert_idle(up, {before[name] for name in moved})


async def test_a_deleted_stack_gives_every_machine_back_clean(up: Farm):
    nodes = set(up.outputs("racks")["nodes"].values())
    up.client.done("stack", "delete", "--yes", "--wait", "racks")
    assert held(up) == set()
    assert_idle(up, nodes)
    assert up.fleet.assert_no_double_command() > 0


def group(farm: Farm, count: int) -> Path:
    """So many machines, by a ResourceGroup."""
    properties = {"count": count, "resource_def": machine(FIRST)}
    resources = {"farm": {"type": "OS::Heat::ResourceGroup", "properties": properties}}
    outputs = {"nodes": {"get_attr": ["farm", "refs"]}}
    return write(farm, "group", resources, outputs)


@long_only
async def test_an_engine_killed_in_mid_stack_deploys_nothing_twice(up: Farm):
    deployed = up.deployments()
    up.client.done("stack", "create", "-t", str(group(up, TEN)), "group")
    until(lambda: len(up.deployments() - deployed) >= 1, "the first image is written", 60)
    for slot in ("engine-1", "engine-2"):
        started = up.up.text().count(f"{slot}: started")
        os.kill(up.up.pid(slot), signal.SIGKILL)
        await up.up.until(f"{slot}: started", count=started + 1)
    up.until_status("group", "CREATE_COMPLETE")

    nodes = up.outputs("group")["nodes"]
    assert up.deployments() - deployed == Counter(nodes)
    assert len(set(nodes)) == TEN
    assert held(up) == set(nodes)
    assert up.fleet.assert_no_double_command() > 0


@long_only
async def test_a_group_of_ten_scaled_to_seven_gives_three_machines_back(up: Farm):
    before, deployed = up.outputs("group")["nodes"], up.deployments()

    up.client.done("stack", "update", "-t", str(group(up, 7)), "--wait", "group")

    after = up.outputs("group")["nodes"]
    assert after == before[:7]
    assert up.deployments() == deployed
    assert held(up) == set(after)
    assert_idle(up, set(before[7:]))


@long_only
async def test_a_stack_deleted_while_it_deploys_leaves_no_machine_behind(up: Farm):
    up.client.done("stack", "delete", "--yes", "--wait", "group")
    deployed = up.deployments()
    up.client.done("stack", "create", "-t", str(group(up, TEN)), "group")
    until(lambda: len(up.deployments() - deployed) >= 1, "the first image is written", 60)

    up.client.done("stack", "delete", "--yes", "--wait", "group")

    assert held(up) == set()
    assert_idle(up, set(up.macs))
    assert up.fleet.assert_no_double_command() > 0
