"""One run of stacks under faults, and what came of it: by what the provider has counted."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter

import msgspec
from tests.chaos.client import Client, History
from tests.chaos.processes import until
from tests.chaos.run import background
from tests.chaos.stacks_cluster import Engines, StackCluster
from tests.chaos.stacks_faults import EngineFaults, Loss
from tests.chaos.stacks_provider import Provider, Verdict, judge, takeovers
from tests.chaos.stacks_user import Template, User, random_graph, wanted_of

DONE_S = 120.0
BUSY_S = 20.0
IN_HAND = 4  # things an engine is working on when it is killed


class Outcome(msgspec.Struct, kw_only=True):
    """What one run has shown."""

    lease_s: float
    status: str = ""
    took_s: float = 0.0
    left: list[str] = []  # what the provider had otherwise once the stack was complete
    behind: list[str] = []  # what it had left once all stacks were deleted
    names: set[tuple[str, str]] = set()
    verdict: Verdict | None = None
    losses: list[Loss] = []
    others: list[str] = []
    waits: dict[str, list[float]] = {}  # by kind: how long things waited for another engine
    calm: dict[str, list[float]] = {}  # the same where only one engine was lost at a time
    errors: list[str] = []

    def card(self, seed: int) -> str:
        """For people."""
        assert self.verdict is not None
        rows = [
            f"seed             {seed}",
            f"stack            {self.status} after {self.took_s:.1f} s, lease {self.lease_s:g} s",
            f"engines          {dict(Counter(loss.kind for loss in self.losses))}",
            *(f"                 {other}" for other in self.others),
            f"calls            {self.verdict.calls}, {self.verdict.late} late",
        ]
        rows += [f"taken over       {line}" for line in shares(self.waits)]
        rows += [f"one at a time    {line}" for line in shares(self.calm)]
        return "\n".join(rows)


def shares(waits: dict[str, list[float]]) -> list[str]:
    """p50, p99 and the longest wait, by kind."""
    return [
        f"{kind}: p50 {share(found, 0.5):.2f} s, p99 {share(found, 0.99):.2f} s, "
        f"longest {max(found):.2f} s of {len(found)}"
        for kind, found in sorted(waits.items())
        if found
    ]


def share(found: list[float], part: float) -> float:
    return sorted(found)[min(len(found) - 1, int(len(found) * part))]


async def three_hundred(seed: int, engines: Engines, count: int) -> Outcome:
    """A stack so large under a fault a second; then two engines lost, one at a time."""
    chance = random.Random(seed)
    history = History()
    found = Outcome(lease_s=engines.lease_s)
    async with (
        Provider(chance, slow_s=(0.02, 0.2), lossy=0.02) as provider,
        StackCluster(engines, provider) as cluster,
        Client(cluster.cloud(), history) as client,
    ):
        user, faults = User(client), EngineFaults(cluster, chance)
        await user.log_in()
        await _storm(found, user, faults, provider, random_graph(chance, count, width=48))
        storm = list(faults.losses)
        for supervised in (True, False):
            provider.slow_s = (0.3, 0.8)
            await _one_alone(user, faults, provider, cluster, chance, supervised=supervised)
        found.behind = provider.left({})
        found.verdict = judge(provider.calls)
        found.losses, found.others = faults.losses, faults.others
        found.waits = waits_of(provider, storm)
        found.calm = waits_of(provider, faults.losses[len(storm) :])
        found.errors = [f"{r.what}: {r.status} {r.said}" for r in history.internal_errors()]
    return found


async def _storm(
    found: Outcome, user: User, faults: EngineFaults, provider: Provider, template: Template
) -> None:
    """Faults every second until the stack was made and deleted; the others once."""
    wanted = wanted_of("big", template)
    found.names |= set(wanted)
    began = time.monotonic()
    async with background(faults.every_second()):
        await user.create("big", template)
        await _there(provider, len(wanted) // 4)
        await faults.restart_database()
        broker = asyncio.create_task(faults.restart_broker())
        shown = await user.settled("big", DONE_S)
        found.took_s = time.monotonic() - began
        found.status = f"{shown.status}: {shown.reason}" if shown else "gone"
        found.left = provider.left(wanted)
        await user.delete("big")
        await user.settled("big", DONE_S)
        await broker


async def _there(provider: Provider, count: int) -> None:
    async def enough() -> bool:
        return len(provider.there()) >= count

    await until(enough, f"{count} things are there", DONE_S)


async def _one_alone(
    user: User,
    faults: EngineFaults,
    provider: Provider,
    cluster: StackCluster,
    chance: random.Random,
    *,
    supervised: bool,
) -> None:
    """kill -9 of one engine in the middle of a stack, while all others are well."""
    name = f"calm-{'supervised' if supervised else 'alone'}"
    for slot in cluster.slots():
        await cluster.up(slot)
    pids = [(slot, await cluster.pid(slot)) for slot in cluster.slots(supervised=supervised)]
    await user.create(name, random_graph(chance, 100, width=40))
    await faults.kill(*await _busy(provider, pids))
    shown = await user.settled(name, DONE_S)
    assert shown is not None
    assert shown.status == "CREATE_COMPLETE", shown
    provider.slow_s = (0.02, 0.2)
    await user.delete(name)
    await user.settled(name, DONE_S)


async def _busy(provider: Provider, pids: list[tuple[str, int]]) -> tuple[str, int]:
    """An engine that is waiting for the provider's answers."""
    found: list[tuple[str, int]] = []

    async def busy() -> bool:
        waiting = Counter(call.pid for call in provider.calls if call.answered_at is None)
        found.extend((slot, pid) for slot, pid in pids if waiting[pid] >= IN_HAND)
        return bool(found)

    await until(busy, "an engine has work in hand", BUSY_S, 0.005)
    return found[0]


def waits_of(provider: Provider, losses: list[Loss]) -> dict[str, list[float]]:
    """By kind of loss, how long what an engine had in hand waited for another one."""
    found: dict[str, list[float]] = {}
    for loss in losses:
        kind = f"{loss.kind}, {'' if loss.supervised else 'un'}supervised"
        found.setdefault(kind, []).extend(takeovers(provider.calls, loss.pid, loss.at))
    return found
