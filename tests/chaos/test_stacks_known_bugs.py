"""The verdict over stacks is checked: engines with known bugs in them must turn it red."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections import Counter

import pytest
from tests.chaos.client import Client, History
from tests.chaos.processes import say, until
from tests.chaos.run import background
from tests.chaos.stacks_cluster import Engines, StackCluster
from tests.chaos.stacks_provider import Call, Provider, judge
from tests.chaos.stacks_user import User, template_of

pytestmark = pytest.mark.chaos

VICTIM = "engine-h1"
COUNT = 60
BEGUN = 5  # things that the victim has in hand when it is stopped
WITHIN_S = 60.0
FEW = {"HOLDFAST_ENGINE__JOBS_MAX": "12"}  # so that no engine takes all there is

LONG = bool(os.environ.get("HOLDFAST_TEST_CHAOS_S"))
long_only = pytest.mark.skipif(not LONG, reason="set HOLDFAST_TEST_CHAOS_S (make chaos does)")


@long_only
async def test_an_engine_without_trust_window_that_wakes_up_is_caught():
    engines = Engines(supervised=1, unsupervised=1, bug="trusting", settings=FEW)
    async with (
        Provider(random.Random(1), slow_s=(0.4, 0.8)) as provider,
        StackCluster(engines, provider) as cluster,
        Client(cluster.cloud(), History()) as client,
    ):
        user, pid = User(client), await cluster.pid(VICTIM)
        await user.log_in()
        one = await cluster.up(VICTIM)
        work = template_of({f"r{n}": {"value": "x"} for n in range(COUNT)})
        async with background(user.create("work", work)):
            await until(lambda: _waits_for(provider, pid), "the victim is at work", WITHIN_S, 0.01)
            os.kill(pid, signal.SIGSTOP)
            try:
                await until(lambda: _taken(cluster, one), "it is taken over", WITHIN_S)
                await until(lambda: _begun_again(provider, pid), "others go on", WITHIN_S)
            finally:
                os.kill(pid, signal.SIGCONT)
            await asyncio.sleep(2)
        verdict = judge(provider.calls)
    say(f"{len(verdict.stale)} calls by an engine whose work others had taken over")
    assert verdict.stale, "the verdict shows nothing of a bug that is certainly there"


@long_only
async def test_an_engine_that_takes_what_others_run_is_caught():
    engines = Engines(supervised=1, unsupervised=1, bug="greedy", settings=FEW)
    async with (
        Provider(random.Random(1), slow_s=(0.4, 0.8)) as provider,
        StackCluster(engines, provider) as cluster,
        Client(cluster.cloud(), History()) as client,
    ):
        user = User(client)
        await user.log_in()
        await user.create("work", template_of({f"r{n}": {"value": "x"} for n in range(COUNT)}))

        async def caught() -> bool:
            return bool(judge(provider.calls).stale)

        await until(caught, "the verdict shows a bug that is certainly there", WITHIN_S)


async def _waits_for(provider: Provider, pid: int) -> bool:
    """Whether an engine has begun on some things, and finished none of them."""
    waiting = Counter(call.pid for call in provider.calls if call.answered_at is None)
    return waiting[pid] >= BEGUN


async def _taken(cluster: StackCluster, one: object) -> bool:
    return await cluster.incarnation(VICTIM) != one


async def _begun_again(provider: Provider, pid: int) -> bool:
    """Whether others have gone on with some of what an engine had in hand."""
    mine = {call.key for call in provider.calls if call.pid == pid}
    return len({call.key for call in provider.calls if call.pid != pid} & mine) >= BEGUN


def call(
    run: str, t: float, action: str, *, guarded_at: float | None = None, key: str = "k"
) -> Call:
    """A call that took effect."""
    return Call(
        t=t,
        key=key,
        action=action,
        stack="s",
        name="n",
        pid=ord(run),
        run=run,
        guarded_at=t if guarded_at is None else guarded_at,
        effect=True,
    )


def test_a_clean_history_is_clean():
    calls = [call("a", 1, "reserve"), call("a", 2, "create"), call("b", 3, "delete")]
    verdict = judge(calls)
    assert (verdict.broken, verdict.late) == ([], 0)
    assert dict(verdict.created) == dict(verdict.deleted) == {("s", "n"): 1}


def test_what_goes_on_after_another_has_begun_is_stale_unless_it_was_on_its_way():
    calls = [call("a", 1, "reserve"), call("b", 2, "reserve")]
    assert len(judge([*calls, call("a", 3, "create")]).stale) == 1
    late = judge([*calls, call("a", 3, "create", guarded_at=1.5)])
    assert (late.broken, late.late) == ([], 1)


def test_what_was_on_its_way_makes_nobody_stale_who_began_after_it():
    on_its_way = call("a", 3, "reserve", guarded_at=1)
    verdict = judge([call("b", 2, "reserve"), on_its_way, call("b", 4, "create")])
    assert (verdict.broken, verdict.late) == ([], 1)


def test_what_is_made_again_after_it_was_gone_is_found():
    calls = [call("a", 1, "create"), call("b", 2, "delete"), call("c", 3, "create")]
    assert len(judge(calls).again) == 1


def test_what_is_created_twice_is_found_under_one_key_and_under_two():
    same = judge([call("a", 1, "create"), call("b", 2, "create")])
    assert len(same.twice) == 1
    other = judge([call("a", 1, "create"), call("b", 2, "create", key="l")])
    assert other.created[("s", "n")] == 2
