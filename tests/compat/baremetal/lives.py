"""The lives of a node, told once: each takes a machine from enrolment to removal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from tests.compat.clients import Client
from tests.compat.machines import Machine

SDK_LIFE = Path(__file__).parent / "sdk_life.py"


def node_create(name: str, driver_info: dict[str, str]) -> list[str]:
    """The words of ``baremetal node create``."""
    words = ["baremetal", "node", "create", "--driver", "redfish", "--name", name]
    return [*words, *(w for k, v in driver_info.items() for w in ("--driver-info", f"{k}={v}"))]


def enrol(client: Client, name: str, machine: Machine, *options: str) -> None:
    """Node and port."""
    node = client.json(*node_create(name, machine.driver_info), *options)
    assert node["provision_state"] == "enroll"
    assert node["driver_info"]["redfish_password"] == "******"
    port = client.json("baremetal", "port", "create", machine.mac, "--node", node["uuid"])
    assert (port["address"], port["node_uuid"]) == (machine.mac, node["uuid"])


def move(client: Client, verb: str, name: str) -> None:
    """A provision verb that the CLI waits for."""
    client.done("baremetal", "node", verb, name, "--wait", "200")


def whole_cli_life(client: Client, name: str, machine: Machine) -> None:
    """Every command that a user needs between enrolling a machine and removing it."""
    enrol(client, name, machine)
    move(client, "manage", name)
    try_settings(client, name)
    try_power(client, name)
    move(client, "provide", name)
    listed = client.json("baremetal", "node", "list", "--provision-state", "available")
    assert name in [node["name"] for node in listed]
    move(client, "deploy", name)
    assert_active(client, name)
    client.done("baremetal", "node", "reboot", name)
    client.until_power(name, "power on")
    move(client, "undeploy", name)
    assert client.node(name)["provision_state"] == "available"
    client.done("baremetal", "node", "delete", name)
    assert "could not be found" in client.refused("baremetal", "node", "show", name)


def assert_active(client: Client, name: str) -> None:
    node = client.node(name)
    assert (node["provision_state"], node["power_state"]) == ("active", "power on")
    assert (node["target_provision_state"], node["last_error"]) == (None, None)


def try_settings(client: Client, name: str) -> None:
    """What changes nothing in the machine."""
    checks = {c["Interface"]: c for c in client.json("baremetal", "node", "validate", name)}
    needed = ("power", "management", "boot", "deploy")
    assert [checks[kind]["Result"] for kind in needed] == [True] * len(needed)
    client.done("baremetal", "node", "maintenance", "set", name, "--reason", "a new fan")
    node = client.node(name)
    assert (node["maintenance"], node["maintenance_reason"]) == (True, "a new fan")
    client.done("baremetal", "node", "maintenance", "unset", name)
    client.done("baremetal", "node", "add", "trait", name, "CUSTOM_FAST", "HW_CPU_X86_VMX")
    traits = client.json("baremetal", "node", "trait", "list", name)
    assert [next(iter(row.values())) for row in traits] == ["CUSTOM_FAST", "HW_CPU_X86_VMX"]
    client.done("baremetal", "node", "set", name, "--property", "cpus=8", "--extra", "rack=7")
    node = client.node(name)
    assert (node["properties"], node["extra"]) == ({"cpus": 8}, {"rack": 7})


def try_power(client: Client, name: str) -> None:
    """What reaches the BMC but moves no provision state."""
    client.done("baremetal", "node", "boot", "device", "set", name, "disk", "--persistent")
    client.done("baremetal", "node", "power", "on", name)
    client.until_power(name, "power on")
    device = client.json("baremetal", "node", "boot", "device", "show", name)
    assert device == {"boot_device": "disk", "persistent": True}
    client.done("baremetal", "node", "power", "off", name)
    client.until_power(name, "power off")


def short_cli_life(client: Client, name: str, machine: Machine) -> None:
    """The life of the machine alone: what does not reach the BMC is tried on the fleet."""
    enrol(client, name, machine)
    for verb in ("manage", "provide", "deploy"):
        move(client, verb, name)
    assert_active(client, name)
    client.done("baremetal", "node", "set", name, "--no-automated-clean")  # cleaned once already
    move(client, "undeploy", name)
    assert client.node(name)["power_state"] == "power off"
    client.done("baremetal", "node", "delete", name)


def sdk_life(client: Client, name: str, machine: Machine, *, whole: bool) -> dict[str, Any]:
    """The same with openstacksdk; returns what it saw."""
    return client.script(
        SDK_LIFE, {"name": name, "whole": whole, **msgspec.structs.asdict(machine)}
    )
