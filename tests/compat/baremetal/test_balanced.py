"""Through HAProxy before two API processes, each killed with ``kill -9`` in the middle (I1).

A CLI life and an SDK life, and all the while a client that lists without a pause: no command of
theirs may fail, and none may reach a BMC twice. Each kill falls into a deployment that a client
waits for. (A write that is being answered in the very moment of the kill is lost to its client,
as a balancer never repeats it: reliability.md, promise 2.)
"""

from __future__ import annotations

from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.compat.baremetal.lives import assert_active, enrol, move, sdk_life
from tests.compat.clients import Client
from tests.compat.machines import Fleet, Machine
from tests.compat.programs import until
from tests.compat.system import ApiProcess, Balancer

pytestmark = pytest.mark.compat
HERE = Path(__file__).parent
# Machines of their own, which boot slowly enough for a kill to fall into it.
OPTIONS = ("--mac-prefix", "52:54:03", "--boot", "2", "3")


@pytest.fixture
def machines(folder: Path, balancer: Balancer) -> Generator[Fleet]:
    """A fleet whose agents, too, call through the balancer."""
    fleet = Fleet(folder, balancer.baremetal_url, *OPTIONS, count=2, name="balanced")
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


def cli_life(client: Client, name: str, machine: Machine) -> None:
    """Without cleaning, and waiting where the kill is to fall."""
    enrol(client, name, machine, "--no-automated-clean")
    move(client, "manage", name)
    client.done("baremetal", "node", "provide", name)
    client.until_provision(name, "available")
    move(client, "deploy", name)
    assert_active(client, name)
    client.done("baremetal", "node", "undeploy", name)
    client.until_provision(name, "available")
    client.done("baremetal", "node", "delete", name)


def kill_in_deployment(
    api: ApiProcess, fleet: Fleet, machine: int, *, boot: int, life: Future[Any]
) -> None:
    """Kill the process while the machine boots its ramdisk to be deployed.

    What the client asked for has been answered by then, and it waits.
    """

    def deploying() -> bool:
        seen = fleet.control(f"machines/{machine}")
        return (seen["boots"] == boot and seen["power"] == "On") or life.done()

    until(deploying, "the machine booted for its deployment", 120)
    assert not life.done(), life.result()
    api.program.kill()


def test_no_command_fails_while_api_processes_are_killed(
    balancer: Balancer, machines: Fleet, lister: Future[dict[str, Any]], folder: Path
):
    client, (first, second) = Client(balancer.clouds), balancer.apis
    one, other = machines.machines()
    with ThreadPoolExecutor() as pool:
        cli = pool.submit(cli_life, client, "balanced-cli", one)
        kill_in_deployment(first, machines, 0, boot=1, life=cli)
        cli.result()
        first.program.start()
        first.wait_ready()
        sdk = pool.submit(sdk_life, client, "balanced-sdk", other, whole=False)
        # Its first boot is for cleaning.
        kill_in_deployment(second, machines, 1, boot=2, life=sdk)
        assert sdk.result()["states"][-2:] == ["active", "available"]
    (folder / "over").touch()
    listed = lister.result()
    assert listed["failures"] == []
    assert listed["answers"] > 100
    assert machines.assert_no_double_command() > 20
