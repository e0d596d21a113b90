"""A node's whole life with the unmodified ``openstack baremetal`` CLI; and faults.

The CLI's ``--wait`` looks every ten seconds and sushy-tools takes up to eleven for each change
of power, so the lives go on in the background while the faults are tested in the foreground.
"""

from __future__ import annotations

from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.compat.clients import Client
from tests.compat.machines import Fleet, Machine, Sushy
from tests.compat.system import System

pytestmark = pytest.mark.compat
CLIENT = "openstack CLI"

Lives = dict[str, Future[None]]


@pytest.fixture(scope="module")
def admin(system: System) -> Client:
    return Client(system.clouds)


@pytest.fixture(scope="module", autouse=True)
def lives(admin: Client, fleet: Fleet, sushy: Sushy) -> Generator[Lives]:
    """One life on each kind of machine."""
    machine, emulated = next(fleet.machines()), next(sushy.machines())
    with ThreadPoolExecutor() as pool:
        yield {
            "fleet": pool.submit(whole_life, admin, "cli-fleet", machine),
            "sushy": pool.submit(short_life, admin, "cli-sushy", emulated),
        }


def node_create(name: str, driver_info: dict[str, str]) -> list[str]:
    """The words of ``baremetal node create``."""
    words = ["baremetal", "node", "create", "--driver", "redfish", "--name", name]
    return [*words, *(w for k, v in driver_info.items() for w in ("--driver-info", f"{k}={v}"))]


def enrol(client: Client, name: str, machine: Machine) -> None:
    node = client.json(*node_create(name, machine.driver_info))
    assert node["provision_state"] == "enroll"
    assert node["driver_info"]["redfish_password"] == "******"
    port = client.json("baremetal", "port", "create", machine.mac, "--node", node["uuid"])
    assert (port["address"], port["node_uuid"]) == (machine.mac, node["uuid"])


def move(client: Client, verb: str, name: str) -> None:
    """A provision verb that the CLI waits for."""
    client.done("baremetal", "node", verb, name, "--wait", "200")


def whole_life(client: Client, name: str, machine: Machine) -> None:
    """Every command that a user needs between enrolling a machine and removing it."""
    enrol(client, name, machine)
    move(client, "manage", name)
    try_settings(client, name)
    try_power(client, name)
    move(client, "provide", name)
    listed = client.json("baremetal", "node", "list", "--provision-state", "available")
    assert name in [node["Name"] for node in listed]
    move(client, "deploy", name)
    node = client.node(name)
    assert (node["provision_state"], node["power_state"]) == ("active", "power on")
    assert node["target_provision_state"] is None
    assert node["last_error"] is None
    client.done("baremetal", "node", "reboot", name)
    client.until_power(name, "power on")
    move(client, "undeploy", name)
    assert client.node(name)["provision_state"] == "available"
    client.done("baremetal", "node", "delete", name)
    assert "could not be found" in client.refused("baremetal", "node", "show", name)


def try_settings(client: Client, name: str) -> None:
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
    client.done("baremetal", "node", "boot", "device", "set", name, "disk", "--persistent")
    client.done("baremetal", "node", "power", "on", name)
    client.until_power(name, "power on")
    device = client.json("baremetal", "node", "boot", "device", "show", name)
    assert device == {"boot_device": "disk", "persistent": True}
    client.done("baremetal", "node", "power", "off", name)
    client.until_power(name, "power off")


def short_life(client: Client, name: str, machine: Machine) -> None:
    """The life of the machine alone: what does not reach the BMC is tried on the fleet."""
    enrol(client, name, machine)
    for verb in ("manage", "provide", "deploy"):
        move(client, verb, name)
    node = client.node(name)
    assert (node["provision_state"], node["power_state"]) == ("active", "power on")
    client.done("baremetal", "node", "set", name, "--no-automated-clean")  # cleaned once already
    move(client, "undeploy", name)
    assert client.node(name)["power_state"] == "power off"
    client.done("baremetal", "node", "delete", name)


# -- faults: each in a sentence that says what to do -------------------------------------------


def test_an_unknown_driver_is_refused_with_those_there_are(admin: Client):
    complaint = admin.refused("baremetal", "node", "create", "--driver", "abacus")
    assert "no driver 'abacus'" in complaint
    assert "redfish" in complaint


def test_a_known_driver_that_is_not_there_yet_is_refused_by_name(admin: Client):
    complaint = admin.refused("baremetal", "node", "create", "--driver", "ipmi")
    assert "'ipmi' is not supported yet" in complaint


@pytest.fixture(scope="module")
def bare(admin: Client) -> str:
    """A node of which nothing is known yet."""
    admin.done(*node_create("cli-bare", {"redfish_username": "admin"}))
    return "cli-bare"


def test_missing_driver_info_is_named(admin: Client, bare: str):
    complaint = admin.refused("baremetal", "node", "manage", bare)
    assert "redfish_address" in complaint


def test_an_impossible_transition_is_refused_with_the_allowed_ones(admin: Client, bare: str):
    complaint = admin.refused("baremetal", "node", "deploy", bare)
    assert "can not be performed" in complaint
    assert "'enroll'" in complaint
    assert "allowed there: manage" in complaint


def test_a_name_that_is_taken_is_refused(admin: Client, bare: str):
    assert f"name {bare} already exists" in admin.refused(*node_create(bare, {}))


def test_a_bmc_that_refuses_the_login_leaves_its_error_on_the_node(admin: Client, fleet: Fleet):
    *_, machine = fleet.machines()
    name = "cli-wrong-password"
    admin.done(*node_create(name, machine.driver_info | {"redfish_password": "wrong"}))
    complaint = admin.refused("baremetal", "node", "manage", name, "--wait", "200")
    assert "enroll" in complaint
    error = admin.node(name)["last_error"]
    assert "verify failed" in error
    assert "wrong" not in error


def test_another_projects_node_is_not_found(admin: Client, bare: str, folder: Path):
    admin.done("project", "create", "tenants")
    admin.done("user", "create", "tess", "--password", "tess's password", "--project", "tenants")
    admin.done("role", "add", "--user", "tess", "--project", "tenants", "member")
    clouds = folder / "tess.yaml"
    clouds.write_text(as_user(admin.clouds.read_text(), "tess", "tess's password", "tenants"))
    tess = Client(clouds)
    assert "could not be found" in tess.refused("baremetal", "node", "show", bare)
    assert tess.json("baremetal", "node", "list") == []
    assert "403" in tess.refused("baremetal", "node", "create", "--driver", "redfish")


def as_user(clouds: str, user: str, password: str, project: str) -> str:
    """The same clouds.yaml for somebody else."""
    new = {"username": user, "password": password, "project_name": project}
    return "\n".join(
        f'      {key}: "{new[key]}"' if (key := line.strip().partition(":")[0]) in new else line
        for line in clouds.split("\n")
    )


# -- and the lives -----------------------------------------------------------------------------


def test_a_node_lives_from_enrolment_to_removal_on_the_fleet(lives: Lives):
    lives["fleet"].result()


def test_a_node_lives_from_enrolment_to_removal_on_sushy_tools(lives: Lives):
    lives["sushy"].result()
