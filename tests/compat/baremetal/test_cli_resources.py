"""The ``openstack baremetal`` commands beside a node's life: inspection, cleaning and more."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from tests.compat.baremetal.lives import move, node_create
from tests.compat.clients import Client, whole_suite
from tests.compat.machines import Fleet
from tests.compat.programs import until

pytestmark = [pytest.mark.compat, whole_suite]
BAREMETAL = "baremetal"
NODE = (BAREMETAL, "node")


def ids(rows: list[dict[str, Any]]) -> set[str]:
    """The UUIDs in a list, whatever case the client heads its columns in."""
    return {value for row in rows for key, value in row.items() if key.lower() == "uuid"}


@pytest.fixture(scope="module")
def fake(client: Client) -> Iterator[str]:
    """A node of fake-hardware."""
    name = "cli-fake"
    create = [*NODE, "create", "--driver", "fake-hardware", "--name", name]
    client.done(*create, "--resource-class", "cli-gold")
    yield name
    client.done(*NODE, "delete", name)


def test_a_machine_is_inspected_cleaned_by_steps_adopted_and_rebuilt(
    client: Client, fleet: Fleet, folder: Path
):
    machine = list(fleet.machines())[-2]
    name = "cli-inspected"
    client.done(*node_create(name, machine.driver_info))
    move(client, "manage", name)
    move(client, "inspect", name)
    node = client.node(name)
    assert node["properties"] == {
        "cpu_arch": "x86_64",
        "cpus": 64,
        "local_gb": 447,
        "memory_mb": 65536,
        "vendor": "Holdfast",
        "capabilities": "boot_mode:uefi",
    }
    assert node["inspection_finished_at"] > node["inspection_started_at"]
    (port,) = client.json(BAREMETAL, "port", "list", "--node", name)
    assert machine.mac in port.values()
    saved = folder / "inventory.json"
    client.done(*NODE, "inventory", "save", "--file", str(saved), name)
    inventory = json.loads(saved.read_text())["inventory"]
    assert [disk["name"] for disk in inventory["disks"]] == ["Drive 1", "Drive 2"]
    steps = [{"interface": "deploy", "step": "erase_devices"}]
    client.done(*NODE, "clean", name, "--wait", "200", "--clean-steps", json.dumps(steps))
    assert client.node(name)["provision_state"] == "manageable"
    wrong = json.dumps([{"interface": "deploy", "step": "fly"}])
    client.refused(*NODE, "clean", name, "--wait", "200", "--clean-steps", wrong)
    node = client.node(name)
    assert node["provision_state"] == "clean failed"
    assert "has no step deploy.fly; it offers: deploy.erase_devices" in node["last_error"]
    move(client, "manage", name)
    move(client, "adopt", name)
    assert client.node(name)["provision_state"] == "active"
    move(client, "rebuild", name)
    client.done(*NODE, "inject", "nmi", name)
    until(lambda: '"value":"Nmi"' in fleet.journal.read_text(), "its BMC heard of the NMI", 30)
    until(lambda: client.node(name)["reservation"] is None, "the NMI was injected", 30)
    client.done(*NODE, "set", name, "--no-automated-clean", "--protected")
    assert "is protected" in client.refused(*NODE, "undeploy", name)
    client.done(*NODE, "unset", name, "--protected")
    client.done(*NODE, "set", name, "--retired", "--retired-reason", "old")
    client.done(*NODE, "undeploy", name)
    until(lambda: client.node(name)["provision_state"] == "manageable", "it was retired", 60)
    assert "is retired" in client.refused(*NODE, "provide", name)
    client.done(*NODE, "delete", name)


def test_an_allocation_finds_a_node_and_gives_it_back(client: Client, fake: str):
    for verb in ("manage", "provide"):
        move(client, verb, fake)
    create = [BAREMETAL, "allocation", "create", "--name", "cli-a", "--wait", "60"]
    made = client.json(*create, "--resource-class", "cli-gold")
    assert made["state"] == "active"
    node = client.node(fake)
    assert node["allocation_uuid"] == node["instance_uuid"] == made["uuid"]
    client.done(BAREMETAL, "allocation", "set", "cli-a", "--extra", "a=1")
    assert client.json(BAREMETAL, "allocation", "show", "cli-a")["extra"] == {"a": 1}
    listed = client.json(BAREMETAL, "allocation", "list", "--node", fake)
    assert ids(listed) == {made["uuid"]}
    client.done(BAREMETAL, "allocation", "delete", "cli-a")
    assert client.node(fake)["instance_uuid"] is None
    assert "no available nodes match" in client.refused(*create, "--resource-class", "cli-none")
    client.done(BAREMETAL, "allocation", "delete", "cli-a")


def test_chassis_come_and_go(client: Client, fake: str):
    chassis = client.json(BAREMETAL, "chassis", "create", "--description", "row 7")["uuid"]
    client.done(*NODE, "set", fake, "--chassis-uuid", chassis)
    assert "has nodes" in client.refused(BAREMETAL, "chassis", "delete", chassis)
    assert ids(client.json(*NODE, "list", "--chassis", chassis)) == {client.node(fake)["uuid"]}
    client.done(*NODE, "unset", fake, "--chassis-uuid")
    client.done(BAREMETAL, "chassis", "set", chassis, "--description", "row 8", "--extra", "a=1")
    assert client.json(BAREMETAL, "chassis", "show", chassis)["description"] == "row 8"
    assert chassis in ids(client.json(BAREMETAL, "chassis", "list"))
    client.done(BAREMETAL, "chassis", "delete", chassis)


def test_port_groups_hold_ports_and_vifs(client: Client, fake: str):
    node = client.node(fake)["uuid"]
    create = [BAREMETAL, "port", "group", "create", "--node", node, "--name", "cli-bond"]
    group = client.json(*create, "--mode", "802.3ad", "--property", "miimon=100")
    assert (group["mode"], group["properties"]) == ("802.3ad", {"miimon": 100})
    mac = "02:aa:00:00:00:01"
    port = [BAREMETAL, "port", "create", mac, "--node", node]
    client.done(*port, "--port-group", group["uuid"])
    in_group = client.json(BAREMETAL, "port", "list", "--port-group", "cli-bond")
    assert mac in in_group[0].values()
    assert ids(client.json(BAREMETAL, "port", "group", "list", "--node", fake)) == {group["uuid"]}
    vif = str(uuid4())
    client.done(*NODE, "vif", "attach", fake, vif)
    assert vif in str(client.json(*NODE, "vif", "list", fake))
    assert "attached to node" in client.refused(*NODE, "vif", "attach", fake, vif)
    client.done(*NODE, "vif", "detach", fake, vif)
    assert "has ports" in client.refused(BAREMETAL, "port", "group", "delete", "cli-bond")
    client.done(BAREMETAL, "port", "delete", *ids(in_group))
    client.done(BAREMETAL, "port", "group", "delete", "cli-bond")


STEPS = [{"interface": "deploy", "step": "erase_devices", "args": {}}]


def test_deploy_templates_and_runbooks_come_and_go(client: Client, fake: str):
    named: tuple[tuple[str, str, list[str]], ...] = (
        ("deploy template", "priority", ["CUSTOM_WIPE"]),
        ("runbook", "order", ["--name", "CUSTOM_WIPE"]),
    )
    for thing, order, name in named:
        words = [BAREMETAL, *thing.split()]
        steps = json.dumps([step | {order: 10} for step in STEPS])
        made = client.json(*words, "create", *name, "--steps", steps)
        assert made["steps"] == json.loads(steps)
        client.done(*words, "set", "CUSTOM_WIPE", "--extra", "a=1")
        assert client.json(*words, "show", "CUSTOM_WIPE")["extra"] == {"a": 1}
        assert made["uuid"] in ids(client.json(*words, "list"))
        taken = client.refused(*words, "create", *name, "--steps", steps)
        assert "already exists" in taken
        client.done(*words, "delete", "CUSTOM_WIPE")


def test_what_is_set_up_around_a_node(client: Client, fake: str):
    client.done(*NODE, "console", "enable", fake)
    assert client.json(*NODE, "console", "show", fake)["console_enabled"] is True
    client.done(*NODE, "console", "disable", fake)
    raid = json.dumps({"logical_disks": [{"size_gb": 50, "raid_level": "1"}]})
    client.done(*NODE, "set", fake, "--target-raid-config", raid)
    assert client.node(fake)["target_raid_config"] == json.loads(raid)
    assert client.json(*NODE, "bios", "setting", "list", fake) == []
    client.done(*NODE, "set", fake, "--shard", "cli-shard")
    assert "cli-shard" in str(client.json(BAREMETAL, "shard", "list"))
    device = client.json(*NODE, "boot", "device", "show", fake, "--supported")
    assert device["supported_boot_devices"] == "pxe, disk, cdrom"
    assert client.refused(*NODE, "rescue", fake, "--rescue-password", "sesame") != ""


def test_drivers_and_conductors_are_listed(client: Client):
    drivers = client.json(BAREMETAL, "driver", "list")
    assert {"redfish", "fake-hardware"} <= {v for row in drivers for v in row.values() if v}
    shown = client.json(BAREMETAL, "driver", "show", "redfish")
    assert shown["default_inspect_interface"] == "redfish"
    properties = client.json(BAREMETAL, "driver", "property", "list", "redfish")
    assert "redfish_address" in str(properties)
    conductors = client.json(BAREMETAL, "conductor", "list")
    hostname = next(v for k, v in conductors[0].items() if k.lower() == "hostname")
    conductor = client.json(BAREMETAL, "conductor", "show", hostname)
    assert conductor["alive"] is True
    assert UUID(client.json(*NODE, "create", "--driver", "redfish", "--name", "cli-x")["uuid"])
    client.done(*NODE, "delete", "cli-x")
