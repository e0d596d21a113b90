"""The commands of ``openstack baremetal`` that no life of a node needs (issue 3, "Done when").

What changes something is seen to; what this release lacks is refused in a sentence. Whether
any command was forgotten, ``coverage`` says when all tests have run.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest
from tests.compat.clients import Client, whole_suite

pytestmark = [pytest.mark.compat, whole_suite]
BAREMETAL = "baremetal"
NODE = (BAREMETAL, "node")
NAME = "cli-all"
SOMETHING = str(uuid4())
STEPS = json.dumps([{"interface": "deploy", "step": "erase_devices", "args": {}}])


@pytest.fixture(scope="module")
def fake(client: Client) -> Iterator[str]:
    """A node of fake-hardware; its UUID."""
    create = [*NODE, "create", "--driver", "fake-hardware", "--name", NAME]
    node = client.json(*create)["uuid"]
    yield node
    client.done(*NODE, "delete", node)


def test_traits_are_added_and_removed(client: Client, fake: str):
    client.done(*NODE, "trait", "add", NAME, "CUSTOM_A", "CUSTOM_B", "CUSTOM_C")
    client.done(*NODE, "remove", "trait", NAME, "CUSTOM_A")
    client.done(*NODE, "trait", "remove", NAME, "CUSTOM_B")
    assert client.node(NAME)["traits"] == ["CUSTOM_C"]
    client.done(*NODE, "trait", "remove", "--all", NAME)
    assert client.node(NAME)["traits"] == []


def test_ports_and_their_groups_are_changed_and_shown(client: Client, fake: str):
    group = [BAREMETAL, "port", "group"]
    made = client.json(*group, "create", "--node", fake, "--name", "cli-all-bond")["uuid"]
    client.done(*group, "set", made, "--extra", "a=1", "--mode", "802.3ad")
    client.done(*group, "unset", made, "--extra", "a")
    shown = client.json(*group, "show", made)
    assert (shown["mode"], shown["extra"]) == ("802.3ad", {})
    port = [BAREMETAL, "port"]
    mac = "02:aa:00:00:01:01"
    uuid = client.json(*port, "create", mac, "--node", fake)["uuid"]
    client.done(*port, "set", uuid, "--extra", "a=1", "--port-group", made, "--pxe-disabled")
    client.done(*port, "unset", uuid, "--extra", "a", "--port-group")
    shown = client.json(*port, "show", "--address", mac)
    assert (shown["extra"], shown["portgroup_uuid"], shown["pxe_enabled"]) == ({}, None, False)
    client.done(*port, "delete", uuid)
    client.done(*group, "delete", made)


def test_what_was_set_is_unset(client: Client, fake: str):
    made = {
        "chassis": client.json(BAREMETAL, "chassis", "create", "--extra", "a=1")["uuid"],
        "deploy template": client.json(
            *(BAREMETAL, "deploy", "template", "create", "CUSTOM_ALL", "--extra", "a=1"),
            *("--steps", json.dumps([step | {"priority": 1} for step in json.loads(STEPS)])),
        )["uuid"],
        "runbook": client.json(
            *(BAREMETAL, "runbook", "create", "--name", "CUSTOM_ALL", "--extra", "a=1"),
            *("--steps", json.dumps([step | {"order": 1} for step in json.loads(STEPS)])),
        )["uuid"],
        "allocation": client.json(
            *(BAREMETAL, "allocation", "create", "--name", "cli-all", "--extra", "a=1"),
            *("--resource-class", "cli-nothing-has-it"),
        )["uuid"],
    }
    for thing, uuid in made.items():
        words = [BAREMETAL, *thing.split()]
        client.done(*words, "unset", uuid, "--extra", "a")
        assert client.json(*words, "show", uuid)["extra"] == {}
        client.done(*words, "delete", uuid)


def test_a_file_of_resources_is_created(client: Client, tmp_path: Path):
    file = tmp_path / "resources.json"
    node = {"driver": "fake-hardware", "name": "cli-from-file"}
    node |= {"ports": [{"address": "02:aa:00:00:01:02"}]}
    file.write_text(json.dumps({"chassis": [{"description": "a file's", "nodes": [node]}]}))
    client.done(BAREMETAL, "create", str(file))
    (port,) = client.json(BAREMETAL, "port", "list", "--node", "cli-from-file")
    assert "02:aa:00:00:01:02" in port.values()
    chassis = client.node("cli-from-file")["chassis_uuid"]
    client.done(*NODE, "delete", "cli-from-file")
    client.done(BAREMETAL, "chassis", "delete", chassis)


def test_what_is_known_of_a_node_and_its_driver_is_listed(client: Client, fake: str):
    child = client.json(*NODE, "create", "--driver", "fake-hardware", "--parent-node", fake)
    assert child["uuid"] in str(client.json(*NODE, "children", "list", fake))
    client.done(*NODE, "delete", child["uuid"])
    for empty in ("firmware", "history", "passthru"):
        assert client.json(*NODE, empty, "list", fake) == []
    assert client.json(BAREMETAL, "driver", "passthru", "list", "fake-hardware") == []


NOT_YET = "not supported yet"
TOO_NEW = "There is nothing at"  # it came with 1.112
REFUSED: dict[tuple[str, ...], str] = {
    (*NODE, "boot", "mode", "set", NAME, "uefi"): NOT_YET,
    (*NODE, "secure", "boot", "on", NAME): NOT_YET,
    (*NODE, "secure", "boot", "off", NAME): NOT_YET,
    (*NODE, "bios", "setting", "show", NAME, "Turbo"): "doesn't have a BIOS setting 'Turbo'",
    (*NODE, "history", "get", NAME, SOMETHING): "history record",
    (*NODE, "passthru", "call", NAME, "fly"): NOT_YET,
    (*NODE, "service", NAME, "--service-steps", STEPS): NOT_YET,
    (*NODE, "rescue", NAME, "--rescue-password", "sesame"): NOT_YET,
    (*NODE, "unrescue", NAME): NOT_YET,
    (*NODE, "unhold", NAME): NOT_YET,
    (*NODE, "abort", NAME): "allowed there: manage",
    (BAREMETAL, "driver", "passthru", "call", "redfish", "fly"): NOT_YET,
    (BAREMETAL, "driver", "raid", "property", "list", "redfish"): "does not support",
    (BAREMETAL, "runbook", "trait", "add", SOMETHING, "CUSTOM_A"): TOO_NEW,
    (BAREMETAL, "runbook", "trait", "list", SOMETHING): TOO_NEW,
    (BAREMETAL, "runbook", "trait", "remove", SOMETHING, "CUSTOM_A"): TOO_NEW,
}
CREATED_WITH = {
    "volume connector": ("--type", "iqn", "--connector-id", "iqn.2026-11.example:a"),
    "volume target": ("--type", "iscsi", "--boot-index", "0", "--volume-id", "v"),
    "inspection rule": ("--actions", '[{"op": "fail", "args": {"msg": "no"}}]'),
}
for _thing, _with in CREATED_WITH.items():
    _words = (BAREMETAL, *_thing.split())
    _volume = _thing.startswith("volume")
    REFUSED |= {
        (*_words, "create", *(("--node", SOMETHING) if _volume else ()), *_with): NOT_YET,
        (*_words, "list"): NOT_YET,
        (*_words, "show", SOMETHING): NOT_YET,
        (
            *_words,
            "set",
            SOMETHING,
            *(("--extra", "a=1") if _volume else ("--phase", "x")),
        ): NOT_YET,
        (*_words, "unset", SOMETHING, *(("--extra", "a") if _volume else ("--phase",))): NOT_YET,
        (*_words, "delete", SOMETHING): NOT_YET,
    }


def test_what_this_release_lacks_is_refused_in_a_sentence(client: Client, fake: str):
    with ThreadPoolExecutor(2) as pool:
        told = dict(
            zip(REFUSED, pool.map(lambda words: client.refused(*words), REFUSED), strict=True)
        )
    wrong = {" ".join(words): said for words, said in told.items() if REFUSED[words] not in said}
    assert wrong == {}
