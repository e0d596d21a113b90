"""Through HAProxy before two API processes, each killed with ``kill -9`` in the middle (I1).

Clients go on all the while: a CLI that takes a node through its life, an SDK life, and one
that lists without a pause. No command of theirs may fail, no command may reach a BMC twice.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.compat.clients import Client
from tests.compat.machines import Fleet
from tests.compat.programs import until
from tests.compat.system import ApiProcess, Balancer, System
from tests.compat.baremetal.test_openstack_cli import enrol, move

pytestmark = pytest.mark.compat
CLIENT = "both, through HAProxy"

HERE = Path(__file__).parent
BETWEEN_KILLS_S = 6.0


@pytest.fixture
def machines(folder: Path, balancer: Balancer) -> Generator[Fleet]:
    """A fleet whose agents, too, call through the balancer."""
    fleet = Fleet(folder, balancer.baremetal_url, count=2, name="balanced")
    yield fleet
    fleet.stop()


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
    told = {"name": "balanced-sdk", "whole": True}
    machine = list(fleet.machines())[1]
    return client.script(HERE / "sdk_life.py", told | msgspec.structs.asdict(machine))


def listing(client: Client, over: Path) -> dict[str, Any]:
    return client.script(HERE / "sdk_listing.py", {"until": str(over)})


def kill_in_turn(apis: list[ApiProcess], over: threading.Event) -> int:
    """Kill one, start it again, kill the next, as long as the lives last. Returns how many."""
    kills = 0
    while not over.wait(BETWEEN_KILLS_S):
        api = apis[kills % len(apis)]
        api.program.kill()
        kills += 1
        if over.wait(BETWEEN_KILLS_S):
            break
        api.program.start()
        api.wait_ready()
    return kills


def test_no_client_command_fails_while_api_processes_are_killed(
    balancer: Balancer, machines: Fleet, folder: Path
):
    client, over, stop_file = Client(balancer.clouds), threading.Event(), folder / "over"
    with ThreadPoolExecutor() as pool:
        lister = pool.submit(listing, client, stop_file)
        killer = pool.submit(kill_in_turn, balancer.apis, over)
        cli = pool.submit(cli_life, client, machines)
        sdk = pool.submit(sdk_life, client, machines)
        for life in (cli, sdk):
            life.exception()  # waits
        over.set()
        stop_file.touch()
    assert killer.result() >= 2
    assert cli.result() == "active"
    assert sdk.result()["gone"]
    assert lister.result()["failures"] == []
    assert lister.result()["answers"] > 100
    assert verdict(machines) == 0


def verdict(fleet: Fleet) -> int:
    """The referee's exit status over what the BMCs heard."""
    argv = [sys.executable, "-m", "holdfast.sim.fleet", "referee", str(fleet.journal)]
    return subprocess.run([*argv, "--require-origin"], check=False).returncode
