"""The checker is checked: a system with known bugs in it must turn the referee red."""

from __future__ import annotations

import asyncio
import os
import signal

import msgspec
import pytest
from tests.chaos.client import Client, History
from tests.chaos.cluster import Cluster, Incarnation, Layout
from tests.chaos.failover import Failover, fail_over
from tests.chaos.load import Machines
from tests.chaos.processes import say, until
from tests.chaos.run import Run, background, play

from holdfast.sim.fleet.faults import Faults, Latency
from holdfast.sim.fleet.referee import Verdict, judge, summary

pytestmark = pytest.mark.chaos

LONG = bool(os.environ.get("HOLDFAST_TEST_CHAOS_S"))
VICTIM = "conductor-h1"
BEGUN = 3  # machines that have a ramdisk inserted when the victim is stopped
TAKEN = 5  # machines that another goes on with before the victim wakes up
TRIES = 2

# Each command takes its time, so that a conductor that is stopped stops between two of them.
LAYOUT = Layout(
    nodes=40,
    supervised=1,
    unsupervised=1,
    apis=1,
    lease_s=3.0,
    buggy={"rack": "blind", "conductor": "trusting"},
    machines=Faults(latency=Latency(median_s=0.4, sigma=0.5, max_s=2.0)),
)


async def test_a_paused_conductor_without_trust_window_behind_a_gateway_without_tokens_is_caught():
    history = History()
    async with Cluster(LAYOUT) as cluster, Client(cluster.cloud(), history) as client:
        machines = Machines(client, cluster.fleet.machines, cluster.fleet.control_url)
        async with background(machines.watch()):
            await machines.enrol_all()
            verdict = Verdict()
            for wave in range(TRIES):
                nodes = machines.nodes[wave::TRIES]
                async with background(*(machines.deploy(node) for node in nodes)):
                    await pause_in_the_middle(cluster)
                verdict = verdict_of(cluster)
                if verdict.counts.get("stale"):
                    break
    say(summary(verdict))
    assert verdict.counts.get("stale"), "the referee saw nothing of a bug that is certainly there"


async def pause_in_the_middle(cluster: Cluster) -> None:
    """Stop the buggy conductor in the middle of its work until it was taken over; wake it."""
    one = await cluster.incarnation(VICTIM)
    assert one is not None
    member = str(one.member)
    before = inserted_by(cluster, member)

    async def busy() -> bool:
        return inserted_by(cluster, member) >= before + BEGUN

    await until(busy, "the victim boots ramdisks", 30)
    pid = await cluster.pid(VICTIM)
    os.kill(pid, signal.SIGSTOP)
    try:
        await until(lambda: gone(cluster, one), "the victim's lease is over", 30)
        passed = taken_from(cluster, member)

        async def taken_over() -> bool:
            return taken_from(cluster, member) >= passed + TAKEN

        await until(taken_over, "the other conductor goes on with the same machines", 30)
    finally:
        os.kill(pid, signal.SIGCONT)
    await asyncio.sleep(2)
    os.kill(pid, signal.SIGKILL)  # it would not notice by itself that it is over
    await until(lambda: back(cluster, one), "the victim is started again", 30)


async def back(cluster: Cluster, before: Incarnation) -> bool:
    one = await cluster.incarnation(VICTIM)
    return one is not None and one != before and await cluster.shards_of(one) > 0


async def gone(cluster: Cluster, one: Incarnation) -> bool:
    return await cluster.shards_of(one) == 0


def taken_from(cluster: Cluster, member: str) -> int:
    """How many machines have passed from this member to another."""
    return sum(takeover.before == member for takeover in verdict_of(cluster).takeovers)


def inserted_by(cluster: Cluster, member: str) -> int:
    """How often this member has put a ramdisk into a machine."""
    needles = (b'"action":"media"', member.encode())
    with cluster.fleet.journal.open("rb") as lines:
        return sum(all(needle in line for needle in needles) for line in lines)


def verdict_of(cluster: Cluster) -> Verdict:
    with cluster.fleet.journal.open("rb") as lines:
        return judge(lines, require_origin=True)


@pytest.mark.skipif(not LONG, reason="set HOLDFAST_TEST_CHAOS_S (make chaos does)")
async def test_a_member_that_judges_by_a_database_just_promoted_is_caught():
    layout = Layout(nodes=3, supervised=1, unsupervised=1, apis=1, lease_s=1.5, pair="hosts")
    layout = msgspec.structs.replace(layout, buggy={"conductor": "hasty"})
    seen = Failover()

    async def script(run: Run) -> None:
        async with background(run.machines.deploy_all(0)):
            await fail_over(run, seen)

    await play(layout, script, seed=0, network=None)
    say(f"{len(seen.reaped)} members lost their leases, and none had died")
    assert seen.reaped, "a failover without the full-lease wait went unnoticed"
