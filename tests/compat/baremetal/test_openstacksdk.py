"""The same life with the unmodified openstacksdk."""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from tests.compat.baremetal.lives import sdk_life
from tests.compat.baremetal.routes import bare_metal
from tests.compat.clients import Client
from tests.compat.coverage import Coverage
from tests.compat.machines import Fleet

pytestmark = pytest.mark.compat

HERE = Path(__file__).parent
STATES = ["manageable", "available", "active", "available"]


def test_the_sdk_on_the_fleet(client: Client, fleet: Fleet):
    machine = list(fleet.machines())[1]
    seen = sdk_life(client, "sdk-fleet", machine, whole=True)
    assert seen["created"] == "enroll"
    assert seen["port"] == machine.mac
    assert seen["states"] == STATES
    assert (seen["active"], seen["deleted"]) == ("power on", "power off")
    assert seen["maintenance"] == [True, "dust"]
    assert seen["traits"] == ["CUSTOM_QUIET"]
    assert seen["valid"] is True
    assert seen["boot_device"] == "pxe"
    assert "pxe" in seen["devices"]
    assert seen["power"] == ["power on", "power off"]
    assert "sdk-fleet" in seen["listed"]
    assert seen["ports"] == [machine.mac]
    assert (seen["drivers"], seen["driver"]) == (["redfish", "fake-hardware"], "redfish")
    assert seen["conductors"] == [True, True]
    assert (seen["pxe"], seen["traits_left"]) == (False, ["CUSTOM_B"])
    assert (seen["traits_removed"], seen["conductor"], seen["faults"]) == (204, True, {})
    assert seen["gone"]


# Of the proxy's methods those that are refused, and with what.
REFUSED = {
    "boot_mode": "Changing the boot mode is not supported yet",
    "secure_boot": "Changing secure boot is not supported yet",
    "inventory": "has no inventory",  # fake-hardware finds nothing to tell of
    "runbook_trait": "Requested microversion is not supported",  # 1.112
    "volume": "not supported yet",
    "inspection_rule": "not supported yet",
    "call_": "Vendor passthru: not supported yet",
}


def test_every_method_of_the_sdks_proxy_works_or_is_refused_by_name(
    client: Client, request: pytest.FixtureRequest
):
    told = {"name": "sdk-proxy", "mac": "52:54:02:00:00:02"}
    answer = client.script(HERE / "sdk_proxy.py", told)
    assert answer["missed"] == []
    seen: dict[str, str] = answer["seen"]
    refused = {method: said for method, said in seen.items() if said != "works"}
    for method, said in refused.items():
        (expected,) = [phrase for part, phrase in REFUSED.items() if part in method]
        assert expected in said, f"{method}: {said}"
    plugin = request.config.pluginmanager.get_plugin("holdfast-coverage")
    assert isinstance(plugin, Coverage)
    plugin.chapters.append(chapter(len(seen), sorted(refused)))


def chapter(called: int, refused: list[str]) -> str:
    """What docs/compatibility.md says of the SDK's proxy."""
    return (
        "\n## openstacksdk's bare-metal proxy\n\n"
        f"Every method was called: {called - len(refused)} of {called} work, "
        f"{len(refused)} are refused in a sentence: "
        + ", ".join(f"`{method}`" for method in refused)
        + "."
    )


def test_people_come_and_go(client: Client):
    seen = client.script(HERE / "sdk_people.py", {})
    assert (seen["granted"], seen["taken"]) == (True, False)
    assert seen["assignments"] == 1
    assert (seen["project"], seen["changed"]) == ("made by the SDK", "changed")
    assert {"admin", "sdk-people"} <= set(seen["projects"])
    assert {"admin", "sue"} <= set(seen["users"])
    assert {"admin", "member", "reader"} <= set(seen["roles"])
    assert (seen["role"], seen["user"], seen["disabled"]) == ("member", True, True)
    assert (seen["domains"], seen["domain"]) == (["default"], "default")
    assert {"baremetal", "identity"} <= set(seen["services"])
    assert (seen["endpoints"], seen["regions"]) == (True, 1)
    assert seen["of_baremetal"] == [True, True, True]
    assert seen["scopes"] == [200, 200, 200, 200]
    assert (seen["password"], seen["her_projects"]) == (204, ["sdk-people"])
    assert seen["her_nodes"] == 0
    assert (seen["token"], seen["revoked"], seen["token_after"]) == (200, 204, 404)
    assert (seen["system"], seen["roles_of"]) == ([True, False], [["member"], []])
    assert seen["application"] == "works"
    assert seen["gone"]


def test_what_is_absent_is_refused_by_name(client: Client):
    """Every route that the API has and this release lacks: never a 500, never silence."""
    _, absent = bare_metal()
    asked = [(route.method, route.path) for route in absent]
    answers = client.script(HERE / "sdk_routes.py", {"routes": asked})
    assert len(answers) >= len(asked)
    assert {w: a for w, a in answers.items() if "not supported" not in a[1]} == {}


def test_every_list_answers(client: Client):
    """Whatever may be read without naming one thing, or of any node or driver."""
    present, _ = bare_metal()
    parts = {"{node}", "{driver}"}
    asked = [
        (route.method, route.path)
        for route in present
        if route.method == "GET" and parts >= {p for p in route.path.split("/") if p[:1] == "{"}
    ]
    answers = client.script(HERE / "sdk_routes.py", {"routes": asked})
    wrong = {what: a for what, a in answers.items() if a[0] >= 500 or a[0] in (0, 405, 406)}
    assert wrong == {}
    lists = {what: a for what, a in answers.items() if "{" not in what and "lookup" not in what}
    assert {what: a for what, a in lists.items() if a[0] != 200} == {}


def test_the_sdk_on_sushy_tools(life: Future[dict[str, Any]]):
    seen = life.result()
    assert seen["states"] == STATES
    assert (seen["active"], seen["deleted"]) == ("power on", "power off")
    assert seen["gone"]
