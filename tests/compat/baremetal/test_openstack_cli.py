"""A node's whole life with the unmodified ``openstack baremetal`` CLI; and faults.

Each fault is answered in a sentence that says what to do.
"""

from __future__ import annotations

import json
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.compat.baremetal.lives import node_create
from tests.compat.clients import Client, whole_suite
from tests.compat.machines import Fleet

pytestmark = pytest.mark.compat


def test_an_unknown_driver_is_refused_with_those_there_are(client: Client):
    complaint = client.refused("baremetal", "node", "create", "--driver", "abacus")
    assert "no driver 'abacus'" in complaint
    assert "redfish" in complaint


def test_a_known_driver_that_is_not_there_yet_is_refused_by_name(client: Client):
    complaint = client.refused("baremetal", "node", "create", "--driver", "ipmi")
    assert "'ipmi' is not supported yet" in complaint


@pytest.fixture(scope="module")
def bare(client: Client) -> str:
    """A node of which nothing is known yet."""
    client.done(*node_create("cli-bare", {"redfish_username": "admin"}))
    return "cli-bare"


def test_missing_driver_info_is_named(client: Client, bare: str):
    complaint = client.refused("baremetal", "node", "manage", bare)
    assert "redfish_address" in complaint


@pytest.fixture(scope="module")
def conflicts(client: Client, bare: str) -> Generator[dict[str, Future[str]]]:
    """What answers 409. The CLI asks ten times more before it believes it: both at once."""
    with ThreadPoolExecutor() as pool:
        yield {
            "transition": pool.submit(client.refused, "baremetal", "node", "deploy", bare),
            "name": pool.submit(client.refused, *node_create(bare, {})),
        }


def test_an_impossible_transition_is_refused_with_the_allowed_ones(
    conflicts: dict[str, Future[str]],
):
    complaint = conflicts["transition"].result()
    assert "can not be performed" in complaint
    assert "'enroll'" in complaint
    assert "allowed there: manage" in complaint


def test_a_name_that_is_taken_is_refused(conflicts: dict[str, Future[str]], bare: str):
    assert f"name {bare} already exists" in conflicts["name"].result()


def test_a_bmc_that_refuses_the_login_leaves_its_error_on_the_node(client: Client, fleet: Fleet):
    *_, machine = fleet.machines()
    name = "cli-wrong-password"
    client.done(*node_create(name, machine.driver_info | {"redfish_password": "wr0ng"}))
    complaint = client.refused("baremetal", "node", "manage", name, "--wait", "200")
    assert "enroll" in complaint
    error = client.node(name)["last_error"]
    assert "verify failed" in error
    assert "wr0ng" not in error
    (told,) = client.json("baremetal", "node", "history", "list", name)
    uuid = next(value for key, value in told.items() if key.lower() == "uuid")
    shown = client.json("baremetal", "node", "history", "get", name, uuid)
    assert (shown["severity"], shown["event"]) == ("ERROR", error)


@whole_suite
def test_another_projects_node_is_not_found(client: Client, bare: str, folder: Path):
    client.done("project", "create", "tenants")
    client.done("user", "create", "tess", "--password", "tess's password", "--project", "tenants")
    client.done("role", "add", "--user", "tess", "--project", "tenants", "member")
    clouds = folder / "tess.yaml"
    clouds.write_text(as_user(client.clouds.read_text(), "tess", "tess's password", "tenants"))
    tess = Client(clouds)
    assert "could not be found" in tess.refused("baremetal", "node", "show", bare)
    assert tess.json("baremetal", "node", "list") == []
    assert "403" in tess.refused("baremetal", "node", "create", "--driver", "redfish")


@pytest.fixture(scope="module")
def leased(client: Client, folder: Path) -> dict[str, Client]:
    """People of the project that a node of fake-hardware is leased to, by their role."""
    client.done("project", "create", "lessees")
    people: dict[str, Client] = {}
    for role in ("reader", "member", "admin"):
        who, password = f"lessee-{role}", f"the {role}'s password"
        client.done("user", "create", who, "--password", password)
        client.done("role", "add", "--user", who, "--project", "lessees", role)
        clouds = folder / f"{who}.yaml"
        clouds.write_text(as_user(client.clouds.read_text(), who, password, "lessees"))
        people[role] = Client(clouds)
    project = client.json("project", "show", "lessees")["id"]
    create = ["baremetal", "node", "create", "--driver", "fake-hardware", "--name", "cli-leased"]
    client.done(*create, "--lessee", project, "--driver-info", "secret_place=rack7")
    for verb in ("manage", "provide"):
        client.done("baremetal", "node", verb, "cli-leased", "--wait", "60")
    return people


@whole_suite
def test_a_lessee_reads_the_node_without_its_driver_info(leased: dict[str, Client]):
    """Issue 3, "`owner`/`lessee` visibility"."""
    for person in leased.values():
        shown = person.node("cli-leased")
        assert shown["name"] == "cli-leased"
        assert "rack7" not in json.dumps(shown)


@whole_suite
def test_a_lessee_uses_the_node_by_its_role_and_does_not_run_it(leased: dict[str, Client]):
    node = ("baremetal", "node")
    reader, member, admin = leased["reader"], leased["member"], leased["admin"]
    name = "cli-leased"
    assert "needs the role member" in reader.refused(*node, "power", "on", name)
    member.done(*node, "set", name, "--extra", "job=7")
    member.done(*node, "power", "on", name)
    assert "needs the role admin" in member.refused(*node, "deploy", name)
    admin.done(*node, "set", name, "--instance-info", "image_source=http://images/a")
    admin.done(*node, "deploy", name, "--wait", "60")
    admin.done(*node, "undeploy", name, "--wait", "60")
    for words in (
        ("set", name, "--driver-info", "secret_place=here"),
        ("set", name, "--property", "cpus=8"),
        ("set", name, "--owner", "me"),
        ("boot", "device", "set", name, "pxe"),
        ("delete", name),
    ):
        assert "leased" in admin.refused(*node, *words)


def as_user(clouds: str, user: str, password: str, project: str) -> str:
    """The same clouds.yaml for somebody else."""
    new = {"username": user, "password": password, "project_name": project}
    return "\n".join(
        f'      {key}: "{new[key]}"' if (key := line.strip().partition(":")[0]) in new else line
        for line in clouds.split("\n")
    )


def test_the_cli_on_the_fleet(life: Future[None]):
    life.result()


def test_the_cli_on_sushy_tools(life: Future[None]):
    life.result()
