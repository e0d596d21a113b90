"""Through HAProxy before two API processes, each killed with ``kill -9`` in the middle (I1).

A CLI life and an SDK life, and all the while a client that lists without a pause: no command of
theirs may fail, and none may reach a BMC twice. Each kill falls into a deployment that a client
waits for. (A write that is being answered in the very moment of the kill is lost to its client,
as a balancer never repeats it: reliability.md, promise 2.)
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.compat.baremetal.test_openstack_cli import enrol, move
from tests.compat.clients import Client
from tests.compat.machines import Fleet
from tests.compat.programs import until
from tests.compat.system import ApiProcess, Balancer

pytestmark = pytest.mark.compat
CLIENT = "both through HAProxy"

HERE = Path(__file__).parent
SLOW_BOOT = ("--boot", "2", "3")  # long enough for a kill to fall into it


@pytest.fixture
def machines(folder: Path, balancer: Balancer) -> Generator[Fleet]:
    """A fleet whose agents, too, call through the balancer."""
    fleet = Fleet(folder, balancer.baremetal_url, *SLOW_BOOT, count=2, name="balanced")
    yield fleet
    fleet.stop()


@pytest.fixture
def lister(balancer: Balancer, folder: Path) -> Generator[Future[dict[str, Any]]]:
    """A client that lists nodes without a pause, until ``folder/over`` is there."""
    over = folder / "over"
    with ThreadPoolExecutor() as pool:
        script, client = HERE / "sdk_listing.py", Client(balancer.clouds)
        yield pool.submit(client.script, script, {"until": str(over)})
        over.touch()


def cli_life(client: Client, fleet: Fleet) -> str:
    name, machine = "balanced-cli", next(fleet.machines())
    enrol(client, name, machine)
    for verb in ("manage", "provide", "deploy"):
        move(client, verb, name)
    state = client.node(name)["provision_state"]
    move(client, "undeploy", name)
    client.done("baremetal", "node", "delete", name)
    return state


def sdk_life(client: Client, fleet: Fleet) -> dict[str, Any]:
    told = {"name": "balanced-sdk", "whole": False}
    machine = list(fleet.machines())[1]
    return client.script(HERE / "sdk_life.py", told | msgspec.structs.asdict(machine))


def kill_in_deployment(api: ApiProcess, fleet: Fleet, machine: int) -> None:
    """Kill the process while the machine boots its ramdisk for the second time, to be deployed.

    The first time it was cleaned; what the client asked has been answered long since.
    """

    def deploying() -> bool:
        seen = fleet.control(f"machines/{machine}")
        return seen["boots"] == 2 and seen["power"] == "On"

    until(deploying, "the machine booted for its deployment", 120)
    api.program.kill()


def test_no_command_fails_while_api_processes_are_killed(
    balancer: Balancer, machines: Fleet, lister: Future[dict[str, Any]], folder: Path
):
    client, (first, second) = Client(balancer.clouds), balancer.apis
    with ThreadPoolExecutor() as pool:
        cli = pool.submit(cli_life, client, machines)
        kill_in_deployment(first, machines, 0)
        assert cli.result() == "active"
        first.program.start()
        first.wait_ready()
        sdk = pool.submit(sdk_life, client, machines)
        kill_in_deployment(second, machines, 1)
        assert sdk.result()["states"][-2:] == ["active", "available"]
    (folder / "over").touch()
    listed = lister.result()
    assert listed["failures"] == []
    assert listed["answers"] > 100
    assert_no_double_command(machines)


def assert_no_double_command(fleet: Fleet) -> None:
    """The referee's verdict over what the BMCs heard."""
    argv = [sys.executable, "-m", "holdfast.sim.fleet", "referee", str(fleet.journal)]
    judged = subprocess.run(
        [*argv, "--require-origin", "--json"], capture_output=True, text=True, check=False
    )
    verdict = json.loads(judged.stdout)
    assert judged.returncode == 0, verdict
    assert verdict["commands"] > 20
