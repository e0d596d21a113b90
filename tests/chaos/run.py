"""One chaos run: a cluster, its load, its faults, and what came of it.

The verdict is computed from three things only: the journal of the simulated machines, the
history of the clients, and the states the API shows in the end.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
from tests.chaos.client import Client, History, Request
from tests.chaos.cluster import Cluster, Layout
from tests.chaos.faults import Done, Fault, Faults, endless, schedule
from tests.chaos.load import Machines, Registers
from tests.chaos.network import Network
from tests.chaos.processes import say

from holdfast.sim.fleet.referee import Verdict, judge, summary

SETTLE_S: Final = 120.0  # within so long after the last fault all work must have ended
PAUSE_S: Final = 0.5  # between two faults

CARDS: list[str] = []  # shown at the end of the test run (conftest)


class Outcome(msgspec.Struct, kw_only=True):
    """What one run has shown."""

    seed: int
    layout: Layout
    took_s: float
    faults: list[Done]
    deployments: int
    states: dict[str, str]  # of the machines, at the end
    failures: list[str]  # failures, whenever they were seen, and who is not active in the end
    never_created: list[str]  # nodes whose creation was acknowledged and that are not there
    lost_writes: list[str]
    writes: int
    internal_errors: list[Request]
    statuses: dict[int, int]
    verdict: Verdict

    def broken(self) -> list[str]:
        """Which promises were broken; empty: none."""
        found = list(self.failures)
        found += [f"lost: node {node}" for node in self.never_created]
        found += [f"lost: write {write}" for write in self.lost_writes]
        found += [f"{v.kind} on {v.machine}: {v.text}" for v in self.verdict.violations]
        found += [f"{r.what}: {r.status} {r.said}" for r in self.internal_errors]
        return found

    def card(self) -> str:
        """The scorecard, as plain text."""
        counts = self.verdict.counts
        kinds = Counter(f"{d.kind} of {_sort(d.victim)}" for d in self.faults)
        rows = [
            f"seed             {self.seed}",
            f"time             {self.took_s:.0f} s, lease {self.layout.lease_s:g} s",
            f"faults           {len(self.faults)}",
            *(f"  {kind:<34} {count}" for kind, count in sorted(kinds.items())),
            *(f"  {done.kind}: {done.note}" for done in self.faults if done.note),
            f"deployments      {self.deployments} on {len(self.states)} machines",
            f"failed           {len(self.failures)}",
            f"double owners    {counts.get('stale', 0) + counts.get('two_owners', 0)}",
            "duplicated       "
            f"{counts.get('repeated_step', 0) + counts.get('repeated_reset', 0)} effects",
            f"unsigned         {counts.get('unsigned', 0)}",
            f"lost writes      {len(self.lost_writes) + len(self.never_created)} of {self.writes}",
            f"answers          {self.statuses} (0: none came)",
            *(f"takeover         {line}" for line in takeovers(self.faults)),
            *(f"  {line}" for line in summary(self.verdict).splitlines()),
        ]
        return "\n".join(rows)


def _sort(victim: str) -> str:
    """conductor-h1 -> conductor."""
    return victim.partition("-")[0]


def takeovers(faults: list[Done]) -> list[str]:
    """p50, p99 and the longest takeover, by the kind of fault."""
    by_kind: dict[str, list[float]] = {}
    for done in faults:
        if done.takeover_s is not None and not done.together:
            kind = done.kind.partition(" (")[0]
            by_kind.setdefault(kind, []).append(done.takeover_s)
    return [
        f"{kind}: p50 {_share(times, 0.5):.2f} s, p99 {_share(times, 0.99):.2f} s, "
        f"longest {max(times):.2f} s of {len(times)}"
        for kind, times in sorted(by_kind.items())
    ]


def _share(times: list[float], share: float) -> float:
    return sorted(times)[min(len(times) - 1, int(len(times) * share))]


Script = Callable[["Run"], Awaitable[None]]


class Run:
    """Everything a script may use: the cluster under load, and the faults."""

    def __init__(
        self, cluster: Cluster, client: Client, machines: Machines, faults: Faults, seed: int
    ) -> None:
        self.cluster = cluster
        self.client = client
        self.machines = machines
        self.faults = faults
        self.history = client.history
        self.seed = seed
        self.chance = random.Random(seed + 1)
        self.done: list[Done] = []
        self.network = any(host is not None for host in cluster.hosts.values())
        self.clock = cluster.postgres.movable

    async def do(self, *faults: Fault) -> None:
        """Do faults, all at once, and note them."""
        at = self.history.now()
        for done in await asyncio.gather(*(fault() for fault in faults)):
            done.at = at
            done.together = len(faults) > 1
            self.done.append(done)
            say(done)


async def play(layout: Layout, script: Script, *, seed: int, network: Network | None) -> Outcome:
    """Set everything up, play the script, wait for the work to end, and judge."""
    began = time.monotonic()
    history = History()
    async with (
        Cluster(layout, network) as cluster,
        Client(cluster.cloud(), history) as client,
    ):
        machines = Machines(client, cluster.fleet.machines, cluster.fleet.control_url)
        registers = Registers(client, machines)
        faults = Faults(cluster, random.Random(seed))
        run = Run(cluster, client, machines, faults, seed)
        say(f"up after {time.monotonic() - began:.1f} s; seed {seed}")
        async with background(machines.watch(), registers.write()):
            await machines.enrol_all()
            say(f"enrolled after {time.monotonic() - began:.1f} s")
            await script(run)
        await machines.look()
        stuck = await machines.explained()
        with cluster.fleet.journal.open("rb") as lines:
            verdict = judge(lines, require_origin=True)
        there = set(machines.states)
        outcome = Outcome(
            seed=seed,
            layout=layout,
            took_s=time.monotonic() - began,
            faults=run.done,
            deployments=machines.deployments,
            states={node: machines.states.get(node, "missing") for node in machines.nodes},
            failures=[*machines.failures, *stuck],
            never_created=[r.node for r in history.acknowledged("create") if r.node not in there],
            lost_writes=await registers.lost(),
            writes=sum(len(keys) for keys in registers.acknowledged.values()),
            internal_errors=history.internal_errors(),
            statuses=history.counts(),
            verdict=verdict,
        )
    CARDS.append(outcome.card())
    return outcome


@contextlib.asynccontextmanager
async def background(*works: Awaitable[None]):
    """Run some work beside the block; whatever breaks it breaks the block."""
    block = asyncio.current_task()
    assert block is not None
    broken: list[BaseException] = []

    def ended(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (fault := task.exception()) is not None:
            broken.append(fault)
            block.cancel()

    tasks = [asyncio.ensure_future(work) for work in works]
    for task in tasks:
        task.add_done_callback(ended)
    try:
        yield
    except asyncio.CancelledError:
        if broken:
            raise broken[0] from None
        raise
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def fifty_deployments(run: Run) -> None:
    """Every kind of fault once, while all machines deploy."""
    faults = schedule(run.faults, network=run.network, clock=run.clock)
    # The last deployment is asked for when some three quarters of the faults have been done.
    over_s = len(faults) * 1.7 * run.cluster.layout.lease_s
    async with background(run.machines.deploy_all(over_s)):
        for fault in faults:
            await run.do(fault)
            await asyncio.sleep(PAUSE_S)
        await run.machines.all_deployed(SETTLE_S)


def for_seconds(duration_s: float) -> Script:
    """Faults by chance for so long, while machines deploy and undeploy all the time."""

    async def script(run: Run) -> None:
        draw = endless(run.faults, run.chance, network=run.network, clock=run.clock)
        end = time.monotonic() + duration_s
        cycles = [asyncio.ensure_future(run.machines.cycle(n, end)) for n in run.machines.nodes]
        try:
            while time.monotonic() < end:
                await run.do(*draw())
                await asyncio.sleep(run.chance.uniform(0, 2 * PAUSE_S))
                for cycle in cycles:
                    if cycle.done():
                        cycle.result()
            ended, _ = await asyncio.wait(cycles, timeout=SETTLE_S)
            for cycle in ended:
                cycle.result()
        finally:
            for cycle in cycles:
                cycle.cancel()
            await asyncio.gather(*cycles, return_exceptions=True)

    return script


def seed_of_today() -> int:
    """HOLDFAST_TEST_CHAOS_SEED, or one by chance."""
    return int(os.environ.get("HOLDFAST_TEST_CHAOS_SEED") or random.randrange(1 << 31))
