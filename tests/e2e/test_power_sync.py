"""A rack loses power under a running system: what was on comes back, at the pace, by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from holdfast.cli.demo.cloud import Api
from holdfast.cli.demo.stage import Fleet, Stage
from holdfast.sim.fleet.journal import read_lines

pytestmark = pytest.mark.e2e

MACHINES = 24
PACE = 4  # switched on per second, and at once at first
LIMIT_S = 60.0
SETTINGS = {
    "HOLDFAST_POWER_SYNC__INTERVAL_S": "2",
    "HOLDFAST_POWER_SYNC__FORCE_POWER_STATE": "true",
    "HOLDFAST_BMC__POWER_ON_PER_S": str(PACE),
    "HOLDFAST_BMC__POWER_ON_BURST": str(PACE),
    "HOLDFAST_API__PROCESSES": "1",
}


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not await condition():
            await asyncio.sleep(0.2)


async def all_are(api: Api, **wanted: Any) -> bool:
    nodes = await api.nodes()
    return all(node[name] == value for node in nodes for name, value in wanted.items())


async def enrol(api: Api, fleet: Fleet) -> None:
    for machine in fleet.machines:
        info = {
            "redfish_address": machine["address"],
            "redfish_username": "admin",
            "redfish_password": "password",
        }
        node = await api.create(f"n{machine['index']}", info, machine["mac"])
        await api.provision(node, "manage")
    await until(lambda: all_are(api, provision_state="manageable"))


async def power_cut(fleet: Fleet) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{fleet.control_url}/control/power-cut", json={"machines": "all"}) as answer,
    ):
        assert answer.status == 200


def switched_on(fleet: Fleet) -> list[float]:
    """When each command to switch a machine on arrived, since the power cut."""
    with fleet.journal.open("rb") as lines:
        known = [line for line in read_lines(lines) if line is not None]
    cut = max(n for n, line in enumerate(known) if line.action == "power-cut")
    return [
        line.t - line.took_s
        for line in known[cut:]
        if (line.kind, line.action, line.step) == ("command", "power", "restore_power")
    ]


async def test_a_rack_that_lost_power_comes_back_by_itself_at_the_pace():
    stage = Stage(conductors=2, settings=SETTINGS)
    try:
        async with Api(await stage.start_system()) as api:
            fleet = await stage.start_fleet(MACHINES, api.baremetal_url)
            await enrol(api, fleet)
            for node in await api.nodes():
                path = f"/baremetal/v1/nodes/{node['uuid']}/states/power"
                await api.call("PUT", path, {"target": "power on"})
            await until(lambda: all_are(api, power_state="power on"))
            await power_cut(fleet)

            async def back() -> bool:
                return len(switched_on(fleet)) >= MACHINES

            await until(back)
            await until(lambda: all_are(api, power_state="power on", last_error=None))
            times = sorted(switched_on(fleet))
            for start in times:
                # A burst and two seconds' worth; commands may take a little to arrive.
                assert sum(start <= at < start + 2 for at in times) <= 3 * PACE + 2
    finally:
        await stage.close(keep=False)
