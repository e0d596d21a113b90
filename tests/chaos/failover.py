"""A failover of the database under load, and what it must leave as it was."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import Final

import msgspec
from tests.chaos.cluster import Cluster, Incarnation
from tests.chaos.faults import RECOVERY_S, Done
from tests.chaos.processes import say, until
from tests.chaos.run import SETTLE_S, Run, background

from holdfast.sim.fleet.journal import read_lines
from holdfast.sim.fleet.referee import Verdict, judge

AWAY_LEASES: Final = 1.5  # so long nothing can be written: every lease has run out
DEPLOYS_BEFORE: Final = 0.2  # share of the machines that are active when the primary dies
LATE: Final = "conductor-1"
LATE_LEASES: Final = 0.6
SPREAD_S: Final = 0.5  # between two deployments
BEHIND_S: Final = 1.5  # how long the former primary is there while the work goes on
LAST_EPOCH: Final = "select last_value from epoch_seq"
LIFE: Final = "select timeline from database_life"


class Failover(msgspec.Struct, kw_only=True):
    """What one failover has shown. Times are in seconds."""

    away_s: float = 0.0  # nobody could write
    writes_s: float = 0.0  # from the order to promote to the first acknowledged write
    effects_s: float = 0.0  # from the order to promote to the next effect on a machine
    deployed: int = 0  # before it
    reaped: set[Incarnation] = set()  # lost their leases, though no process has died
    takeovers: int = 0  # machines whose work changed hands, though no process has died
    highest_seen: int = 0  # by the gateway, before it
    epoch_after: int = 0  # the sequence's last, after it
    timeline: str = ""  # as Holdfast has noticed it
    written_behind: int = 0  # transactions that wrote on the former primary after it came back

    def __str__(self) -> str:
        return (
            f"away for {self.away_s:.1f} s with {self.deployed} deployed; after the promotion: "
            f"writes after {self.writes_s:.2f} s, effects after {self.effects_s:.2f} s; "
            f"{len(self.reaped)} leases lost, {self.takeovers} takeovers; "
            f"epoch {self.highest_seen} before, {self.epoch_after} after"
        )


async def failover(run: Run, seen: Failover) -> None:
    """Kill the primary in the middle of deployments, promote the standby, let the old one return.

    In the end a conductor is killed, so that somebody who knows nothing of the past has to
    find the one server of the two primaries that is of the present.
    """
    nodes = run.machines.nodes
    async with background(run.machines.deploy_all(len(nodes) * SPREAD_S)):
        wanted = max(1, int(DEPLOYS_BEFORE * len(nodes)))
        await until(lambda: _deployed(run, wanted), "the first are deployed", RECOVERY_S)
        await fail_over(run, seen)
        await run.cluster.pair.come_back()
        await run.do(run.faults.kill_supervised)
        await asyncio.sleep(BEHIND_S)
        await run.machines.all_deployed(SETTLE_S)
    seen.written_behind = await run.cluster.pair.written_behind()


async def fail_over(run: Run, seen: Failover) -> None:
    """The failover itself, until a lease after it has passed.

    One conductor stands still meanwhile, and comes back late; but not later than a full lease
    after the database did, so nobody may judge it dead.
    """
    cluster, lease_s = run.cluster, run.cluster.layout.lease_s
    seen.deployed = run.machines.deployments
    before, taken = await cluster.members(), _takeovers(cluster)
    seen.highest_seen = await cluster.gateway_highest()
    late = await cluster.pid(LATE)
    at, began = run.history.now(), time.monotonic()
    await cluster.pair.kill()
    await asyncio.sleep(AWAY_LEASES * lease_s)
    os.kill(late, signal.SIGSTOP)
    promoted, promoted_at = time.monotonic(), run.history.now()
    try:
        await cluster.pair.promote()
        await asyncio.sleep(LATE_LEASES * lease_s)
    finally:
        os.kill(late, signal.SIGCONT)
    seen.away_s = promoted - began
    await until(lambda: _written(run, promoted_at), "a write is acknowledged", RECOVERY_S)
    await until(lambda: _acted(cluster, promoted), "work goes on", RECOVERY_S)
    seen.writes_s = min(_acknowledged(run, promoted_at)) - promoted_at
    seen.effects_s = min(_effects(cluster, promoted)) - promoted
    # Whoever judged too early has done so by now, and so has whoever may judge.
    await asyncio.sleep(max(0.0, promoted + 2 * lease_s - time.monotonic()))
    seen.reaped = before - await cluster.members()
    seen.takeovers = _takeovers(cluster) - taken
    seen.epoch_after = await cluster.value(LAST_EPOCH)
    seen.timeline = await cluster.value(LIFE)
    done = Done(kind="failover", victim="database", at=at, lasted_s=seen.away_s, note=str(seen))
    run.done.append(done)
    say(done)


async def _deployed(run: Run, wanted: int) -> bool:
    return run.machines.deployments >= wanted


async def _written(run: Run, since: float) -> bool:
    return bool(_acknowledged(run, since))


def _acknowledged(run: Run, since: float) -> list[float]:
    """When writes that were asked for since then were acknowledged."""
    return [
        r.at + r.took_s
        for r in run.history.requests
        if r.at + r.took_s > since and r.what != "log in" and 200 <= r.status < 300
    ]


async def _acted(cluster: Cluster, since: float) -> bool:
    return bool(_effects(cluster, since))


def _effects(cluster: Cluster, since: float) -> list[float]:
    """When commands took effect on machines, since a moment (monotonic)."""
    with cluster.fleet.journal.open("rb") as lines:
        found = [line for line in read_lines(lines) if line is not None]
    return [line.t for line in found if line.effect and line.t > since]


def _takeovers(cluster: Cluster) -> int:
    """Machines whose work went on under another member, within a job."""
    verdict: Verdict
    with cluster.fleet.journal.open("rb") as lines:
        verdict = judge(lines, require_origin=True)
    return sum(takeover.same_job for takeover in verdict.takeovers)
