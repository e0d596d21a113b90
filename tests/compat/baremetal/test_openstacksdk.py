"""The same life with the unmodified openstacksdk."""

from __future__ import annotations

from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.compat.clients import Client
from tests.compat.machines import Fleet, Machine, Sushy
from tests.compat.system import System

pytestmark = pytest.mark.compat
CLIENT = "openstacksdk"

HERE = Path(__file__).parent
STATES = ["manageable", "available", "active", "available"]


@pytest.fixture(scope="module")
def client(system: System) -> Client:
    return Client(system.clouds)


def life(client: Client, name: str, machine: Machine, *, whole: bool) -> dict[str, Any]:
    told = {"name": name, "whole": whole, **msgspec.structs.asdict(machine)}
    return client.script(HERE / "sdk_life.py", told)


@pytest.fixture(scope="module", autouse=True)
def on_sushy(client: Client, sushy: Sushy) -> Generator[Future[dict[str, Any]]]:
    """A life on sushy-tools, which takes its time, beside the other tests."""
    machine = list(sushy.machines())[1]
    with ThreadPoolExecutor() as pool:
        yield pool.submit(life, client, "sdk-sushy", machine, whole=False)


def test_a_node_lives_from_enrolment_to_removal_on_the_fleet(client: Client, fleet: Fleet):
    machine = list(fleet.machines())[1]
    seen = life(client, "sdk-fleet", machine, whole=True)
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
    assert (seen["drivers"], seen["driver"]) == (["redfish"], "redfish")
    assert seen["conductors"] == [True, True]
    assert seen["gone"]


def test_what_is_absent_is_refused_by_name(client: Client):
    """Every collection and part of a node that clients may ask for, and this release lacks."""
    refusals = client.script(HERE / "sdk_absent.py", {})
    assert {what: said for what, said in refusals.items() if "not supported yet" not in said} == {}


def test_a_node_lives_from_enrolment_to_removal_on_sushy_tools(
    on_sushy: Future[dict[str, Any]],
):
    seen = on_sushy.result()
    assert seen["states"] == STATES
    assert (seen["active"], seen["deleted"]) == ("power on", "power off")
    assert seen["gone"]
