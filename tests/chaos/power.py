"""A power cut, and how the machines come back: paced, fair to operators, nothing twice."""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import aiohttp
import msgspec
from tests.chaos.cluster import Cluster
from tests.chaos.failover import AWAY_LEASES
from tests.chaos.faults import Done
from tests.chaos.load import ASK_AGAIN_S, IN_HAND, OPEN, LostError
from tests.chaos.processes import say, until
from tests.chaos.run import Run, background

from holdfast.sim.fleet.journal import Line, read_lines

ON: Final = "power on"
SWITCHING_S: Final = 300.0  # within so long all machines are switched on the first time
RECOVERY_S: Final = 300.0
LOOK_S: Final = 0.3
BUSY_S: Final = 4.0  # how long the deployments that are cut off have gone on
NODES: Final = "/baremetal/v1/nodes?fields=uuid,power_state,maintenance,fault&limit=1000"
BLUR_S: Final = 1.0  # between leaving the gateway and taking effect, at most


class PowerCut(msgspec.Struct, kw_only=True):
    """What one power cut has shown. Times in seconds since the cut (``dark_s``: its length)."""

    machines: int = 0
    dark_s: float = 0.0  # so long their BMCs did not answer
    noticed_s: float = 0.0  # until the first was switched on again
    all_on_s: float = 0.0
    peak_per_s: int = 0  # machines switched on in any one second
    too_fast: str = ""  # the first stretch in which more were switched on than is allowed
    commands: dict[int, int] = {}  # machines by how often they were told to switch on
    unexcused: list[str] = []  # machines told twice without a lost answer in between
    operators_s: list[float] = []  # how long an operator's machine took meanwhile, each
    by_member: dict[str, int] = {}
    unwell: list[str] = []  # nodes not recorded as on, or still in maintenance, in the end
    interrupted: dict[str, str] = {}  # what became of a deployment that was cut off: its reason

    def __str__(self) -> str:
        return (
            f"{self.machines} machines dark for {self.dark_s:.0f} s: first on after "
            f"{self.noticed_s:.1f} s, all on after {self.all_on_s:.1f} s, at most "
            f"{self.peak_per_s} per second; told to switch on (times: machines) "
            f"{self.commands}; an operator's own meanwhile within "
            f"{max(self.operators_s, default=0):.1f} s; by member {list(self.by_member.values())}; "
            f"of {len(self.interrupted)} deployments cut off "
            f"{sum(map(bool, self.interrupted.values()))} had to be asked for again"
        )


class Rack:
    """The machines of a run, as their power is seen through the API and in truth.

    Three parts: those that are simply on, ``busy`` ones that are being deployed, and
    ``spare`` ones. The first two lose their power.
    """

    def __init__(self, run: Run, busy: int, spare: int) -> None:
        self._run = run
        count = len(run.machines.nodes)
        self.victims = range(count - busy - spare)
        self.busy = range(count - busy - spare, count - spare)
        self.spare = range(count - spare, count)  # stay off until an operator wants them on

    async def switch_on(self, numbers: Sequence[int]) -> None:
        """As operators do, and wait until the API shows it."""
        async with asyncio.TaskGroup() as tasks:
            for number in numbers:
                tasks.create_task(self._switch_on(self._run.machines.nodes[number]))

    async def _switch_on(self, node: str) -> None:
        path, client = f"/baremetal/v1/nodes/{node}", self._run.client
        async with self._run.machines.room:
            while True:
                body = {"target": ON}
                status, said = await client.ask(
                    "PUT", f"{path}/states/power", body, what=ON, node=node
                )
                if status == 202:
                    break
                if status not in (*OPEN, IN_HAND):
                    raise LostError(f"{ON} of {node}: {status} {said}")
                await asyncio.sleep(ASK_AGAIN_S)
        while (await client.read(f"{path}?fields=power_state"))["power_state"] != ON:
            await asyncio.sleep(LOOK_S)

    async def deploy(self, seen: PowerCut) -> None:
        """Begin the busy ones' deployments, note what becomes of them, and repeat what failed."""
        async with asyncio.TaskGroup() as tasks:
            for number in self.busy:
                tasks.create_task(self._deploy(self._run.machines.nodes[number], seen))

    async def _deploy(self, node: str, seen: PowerCut) -> None:
        machines = self._run.machines
        try:
            await machines.deploy(node)
            seen.interrupted[node] = ""
        except LostError:
            seen.interrupted[node] = machines.errors[node]
            await machines.lead(node, "active", "deploy failed", "active")

    async def operators(self, seen: PowerCut) -> None:
        """One after the other, operators want machines of theirs on."""
        for number in self.spare:
            began = time.monotonic()
            await self._switch_on(self._run.machines.nodes[number])
            seen.operators_s.append(time.monotonic() - began)

    async def unwell(self) -> list[str]:
        """Victims that are not recorded as on and free of faults."""
        document = await self._run.client.read(NODES)
        nodes = {node["uuid"]: node for node in document["nodes"]}
        wanted = {"power_state": ON, "maintenance": False, "fault": None}
        return [
            f"{uuid}: {node}"
            for uuid in (self._run.machines.nodes[number] for number in self.victims)
            if any((node := nodes[uuid])[name] != value for name, value in wanted.items())
        ]

    async def all_on(self) -> bool:
        """In truth: as the machines' own control port tells."""
        listed = await self._run.cluster.fetch(f"{self._control}/machines?power=On")
        return {machine["index"] for machine in listed["machines"]} >= set(self.victims)

    async def go_dark(self, dark_s: float) -> None:
        """Power off at once, BMCs with it; the BMCs are back after a while, without sessions."""
        usual = self._run.cluster.layout.machines
        await self._tell("POST", "power-cut")
        await self._tell("PUT", "faults", msgspec.structs.replace(usual, dead="hang"))
        await asyncio.sleep(dark_s)
        await self._tell("POST", "bmc-reset")
        await self._tell("PUT", "faults", usual)

    @property
    def _control(self) -> str:
        return f"{self._run.cluster.fleet.control_url}/control"

    async def _tell(self, method: str, what: str, faults: object = None) -> None:
        body: dict[str, Any] = {"machines": f"0-{self.spare[0] - 1}"}
        if faults is not None:
            body["faults"] = msgspec.to_builtins(faults)
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, f"{self._control}/{what}", json=body) as response,
        ):
            assert response.status == 200, await response.text()


async def power_cut(run: Run, seen: PowerCut, *, busy: int, spare: int, dark_s: float) -> None:
    """Switch all machines on but a few, cut their power, and watch them come back.

    Where the database is a pair it fails over while they do.
    """
    rack = Rack(run, busy, spare)
    for number in (*rack.victims, *rack.spare):
        run.machines.wanted[run.machines.nodes[number]] = "available"
    await asyncio.wait_for(rack.switch_on(rack.victims), SWITCHING_S)
    say(f"{len(rack.victims)} machines are on after {run.history.now():.1f} s")
    seen.machines, seen.dark_s = len(rack.victims), dark_s
    at, deployments = run.history.now(), asyncio.ensure_future(rack.deploy(seen))
    await asyncio.sleep(BUSY_S if busy else 0)
    cut = time.monotonic()
    try:
        await rack.go_dark(dark_s)
        async with background(rack.operators(seen)):
            if run.cluster.layout.pair is not None:
                await _lose_the_database(run)
            await until(rack.all_on, "all machines are on", RECOVERY_S, LOOK_S)
        seen.all_on_s = time.monotonic() - cut
        await until(lambda: _recorded(rack, seen), "all are recorded as on", RECOVERY_S, LOOK_S)
        await asyncio.wait_for(asyncio.shield(deployments), RECOVERY_S)
    finally:
        deployments.cancel()
        await asyncio.gather(deployments, return_exceptions=True)
    settings = run.cluster.layout.settings
    per_s = float(settings["HOLDFAST_BMC__POWER_ON_PER_S"])
    _judge(run.cluster, seen, cut, per_s, int(settings["HOLDFAST_BMC__POWER_ON_BURST"]))
    run.done.append(Done(kind="power cut", victim="machines", at=at, note=str(seen)))
    say(run.done[-1])


async def _lose_the_database(run: Run) -> None:
    """In the middle of it the database fails over, too."""
    await asyncio.sleep(run.cluster.layout.lease_s)
    at = run.history.now()
    await run.cluster.pair.kill()
    await asyncio.sleep(AWAY_LEASES * run.cluster.layout.lease_s)
    await run.cluster.pair.promote()
    run.done.append(
        Done(kind="failover", victim="database", at=at, lasted_s=run.history.now() - at)
    )
    say(run.done[-1])


async def _recorded(rack: Rack, seen: PowerCut) -> bool:
    seen.unwell = await rack.unwell()
    return not seen.unwell


def _judge(cluster: Cluster, seen: PowerCut, cut: float, per_s: float, burst: int) -> None:
    """What the machines saw since the cut."""
    with cluster.fleet.journal.open("rb") as lines:
        told = [line for line in read_lines(lines) if line is not None and _is_on(line, cut)]
    times = [line.t for line in told]
    seen.peak_per_s = max(bisect_right(times, t + 1) - n for n, t in enumerate(times))
    seen.too_fast = _too_fast(times, per_s, burst)
    names = {machine["name"] for machine in cluster.fleet.machines[: seen.machines]}
    seen.noticed_s = next(line.t for line in told if line.machine in names) - cut
    counts = Counter(line.machine for line in told if line.machine in names)
    seen.commands = dict(sorted(Counter(counts.values()).items()))
    seen.by_member = dict(Counter(line.member for line in told))
    answered: set[str] = set()
    for line in told:
        if line.machine in answered & names:
            seen.unexcused.append(f"{line.machine} at {line.t - cut:.1f} s")
        if not line.fault:
            answered.add(line.machine)


def _is_on(line: Line, since: float) -> bool:
    return line.effect and line.action == "power" and line.value == "On" and line.t > since


def _too_fast(times: list[float], per_s: float, burst: int) -> str:
    """Whether in any stretch more were switched on than burst and rate allow."""
    for first, began in enumerate(times):
        for last in range(first + burst, len(times)):
            allowed = burst + per_s * (times[last] - began + BLUR_S)
            if last - first + 1 > allowed:
                return f"{last - first + 1} in {times[last] - began:.2f} s, allowed {allowed:.0f}"
    return ""
