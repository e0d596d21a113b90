"""What must not leave a stack IN_PROGRESS past its deadline, and requests that meet each other."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
from tests.chaos.client import Client, History
from tests.chaos.processes import until
from tests.chaos.stacks_cluster import Engines, StackCluster
from tests.chaos.stacks_counted import HANGS
from tests.chaos.stacks_provider import Provider, judge
from tests.chaos.stacks_user import Template, User, template_of, wanted_of

pytestmark = pytest.mark.chaos

TIMEOUT_S = 6.0
SOON_S = 5.0  # a lease of somebody who was lost, a tick, and a second; the machine is slow
SETTINGS = {
    "HOLDFAST_STACKS__TIMEOUT_S": f"{TIMEOUT_S:g}",
    "HOLDFAST_CORE__STALL_S": "3",
}

LONG = bool(os.environ.get("HOLDFAST_TEST_CHAOS_S"))
long_only = pytest.mark.skipif(not LONG, reason="set HOLDFAST_TEST_CHAOS_S (make chaos does)")


class House:
    """What one test has: APIs, two engines that nobody reports, a provider and a user."""

    def __init__(self, cluster: StackCluster, provider: Provider, user: User) -> None:
        self.cluster = cluster
        self.provider = provider
        self.user = user

    async def ended(self, stack: str, within_s: float) -> str:
        """How a stack ended: status and reason."""
        shown = await self.user.settled(stack, within_s)
        assert shown is not None
        return f"{shown.status}: {shown.reason}"


@asynccontextmanager
async def house(engines: Engines) -> AsyncGenerator[House]:
    async with (
        Provider(random.Random(1), slow_s=(0.1, 0.3)) as provider,
        StackCluster(engines, provider) as cluster,
        Client(cluster.cloud(), History()) as client,
    ):
        user = User(client)
        await user.log_in()
        yield House(cluster, provider, user)


def hanging(how: str) -> Template:
    """One thing that never gets done, one that comes after it, and one beside it."""
    template = template_of({"beside": {"value": "b"}, "behind": {"value": "c"}})
    template["resources"]["stuck"] = {"type": HANGS, "properties": {"how": how}}
    template["resources"]["behind"]["depends_on"] = "stuck"
    return template


@long_only
async def test_no_hanging_handler_and_no_absence_of_engines_keeps_a_stack_past_its_deadline():
    engines = Engines(supervised=0, unsupervised=2, settings=SETTINGS)
    async with house(engines) as at:
        await _a_handler_that_raises(at)
        await _a_handler_that_waits_for_ever(at, "waits")
        await _a_handler_that_waits_for_ever(at, "deaf")
        await _all_engines_gone_past_the_deadline(at)
        await _requests_that_meet(at)
        assert judge(at.provider.calls).broken == []
        assert at.provider.left({}) == []


async def _a_handler_that_raises(at: House) -> None:
    await at.user.create("raises", hanging("raises"))
    said = await at.ended("raises", TIMEOUT_S)
    assert said.startswith("CREATE_FAILED")
    assert "KeyError: resources.stuck: 'a bug of the plug-in'" in said
    await _deleted(at, "raises")


async def _a_handler_that_waits_for_ever(at: House, how: str) -> None:
    began = time.monotonic()
    await at.user.create(how, hanging(how))
    said = await at.ended(how, TIMEOUT_S + SOON_S)
    assert said.startswith("CREATE_FAILED")
    assert "resources.stuck" in said, said
    assert "deadline" in said, said
    assert time.monotonic() - began >= TIMEOUT_S - 1
    assert (await at.user.resources(how))["beside"] == "CREATE_COMPLETE"
    await _deleted(at, how)


async def _all_engines_gone_past_the_deadline(at: House) -> None:
    """Nobody can say so while nobody is there; whoever comes back says it at once."""
    at.provider.slow_s = (1.0, 2.0)
    line = {f"r{n}": {"value": "x", **({"depends_on": f"r{n - 1}"} if n else {})} for n in range(9)}
    await at.user.create("alone", template_of(line))
    await until(lambda: _called(at, "alone"), "it has begun", 30)
    pids = [await at.cluster.pid(slot) for slot in at.cluster.slots()]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    await asyncio.sleep(TIMEOUT_S + 1)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    for slot in at.cluster.slots():
        await at.cluster.up(slot)
    said = await at.ended("alone", SOON_S + 5)
    assert said.startswith("CREATE_FAILED"), said
    assert "deadline" in said, said
    at.provider.slow_s = (0.1, 0.3)
    await _deleted(at, "alone")


async def _called(at: House, stack: str) -> bool:
    return any(call.stack == stack for call in at.provider.calls)


async def _deleted(at: House, stack: str) -> None:
    await at.user.delete(stack)
    assert await at.user.settled(stack, TIMEOUT_S + SOON_S) is None


async def _requests_that_meet(at: House) -> None:
    """One name is taken once; of two updates the later one counts; a deletion is the last word."""
    first = template_of({f"r{n}": {"value": "1"} for n in range(8)})
    met = await asyncio.gather(*(at.user.asked("POST", "twin", first) for _ in range(4)))
    assert sorted(status for status, _ in met) == [201, 409, 409, 409]
    assert await at.ended("twin", 30) == "CREATE_COMPLETE: Stack CREATE completed successfully"

    others = [template_of({f"r{n}": {"value": value} for n in range(8)}) for value in "23"]
    met = await asyncio.gather(*(at.user.asked("PUT", "twin", other) for other in others))
    assert {status for status, _ in met} <= {202, 409}
    assert 202 in {status for status, _ in met}
    assert (await at.ended("twin", 30)).startswith("UPDATE_COMPLETE")
    there = at.provider.there("twin")
    assert there in [wanted_of("twin", other) for other in others]

    at.provider.slow_s = (1.0, 1.5)
    await at.user.delete("twin")
    status, said = await at.user.asked("PUT", "twin", first)
    assert (status, said["error"]["type"]) == (409, "ActionInProgress")
    at.provider.slow_s = (0.1, 0.3)
    assert await at.user.settled("twin", 30) is None


@long_only
async def test_a_handler_that_blocks_its_process_ends_at_the_deadline_too():
    engines = Engines(supervised=0, unsupervised=2, settings=SETTINGS)
    async with house(engines) as at:
        await at.user.create("blocks", hanging("blocks"))
        said = await at.ended("blocks", TIMEOUT_S + 2 * SOON_S)
        assert said.startswith("CREATE_FAILED"), said
        assert "deadline" in said, said
