"""Three hundred resources, four engines, and a fault every second (issue 4, X1, X14).

The verdict is made from what the provider of the resources has counted, never from Holdfast's
own logs: each created exactly once, each deleted exactly once, no orphan, nothing done by an
engine whose work another one had taken over.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter

import msgspec
import pytest
from tests.chaos.client import Client, History
from tests.chaos.processes import say
from tests.chaos.run import CARDS, background, seed_of_today
from tests.chaos.stacks_cluster import Engines, StackCluster
from tests.chaos.stacks_faults import EngineFaults, Loss
from tests.chaos.stacks_provider import Provider, Verdict, judge, takeovers
from tests.chaos.stacks_user import User, random_graph, wanted_of

pytestmark = pytest.mark.chaos

COUNT = 300
DONE_S = 120.0


class Outcome(msgspec.Struct, kw_only=True):
    """What one run has shown."""

    status: str
    took_s: float
    left: list[str]  # what the provider had otherwise once the stack was complete
    behind: list[str]  # what it had left once the stack was deleted
    names: set[tuple[str, str]]
    verdict: Verdict
    losses: list[Loss]
    waits: dict[str, list[float]]  # by kind of loss: how long things waited for another engine
    errors: list[str]


async def three_hundred(seed: int) -> Outcome:
    chance = random.Random(seed)
    history = History()
    template = random_graph(chance, COUNT)
    async with (
        Provider(chance, lossy=0.02) as provider,
        StackCluster(Engines(), provider) as cluster,
        Client(cluster.cloud(), history) as client,
    ):
        user, faults = User(client), EngineFaults(cluster, chance)
        await user.log_in()
        began = time.monotonic()
        async with background(faults.every_second()):
            await user.create("big", template)
            while len(provider.there()) < COUNT // 3:
                await asyncio.sleep(0.1)
            await faults.restart_database()
            shown = await user.settled("big", DONE_S)
            took_s = time.monotonic() - began
            left = provider.left(wanted_of("big", template))
            await user.delete("big")
            await user.settled("big", DONE_S)
        return Outcome(
            status=shown.status if shown else "gone",
            took_s=took_s,
            left=left,
            behind=provider.left({}),
            names=set(wanted_of("big", template)),
            verdict=judge(provider.calls),
            losses=faults.losses,
            waits=waits_of(provider, faults.losses),
            errors=[f"{r.what}: {r.status} {r.said}" for r in history.internal_errors()],
        )


def waits_of(provider: Provider, losses: list[Loss]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for loss in losses:
        kind = f"{loss.kind}, {'' if loss.supervised else 'un'}supervised"
        found.setdefault(kind, []).extend(takeovers(provider.calls, loss.pid, loss.at))
    return found


@pytest.fixture(scope="module")
def outcome() -> Outcome:
    seed = seed_of_today()
    found = asyncio.run(three_hundred(seed))
    card = card_of(found, seed)
    say(card)
    CARDS.append(card)
    return found


def card_of(found: Outcome, seed: int) -> str:
    kinds = Counter(loss.kind for loss in found.losses)
    rows = [
        f"seed             {seed}",
        f"stack            {found.status} after {found.took_s:.1f} s",
        f"faults           {dict(kinds)}",
        f"calls            {found.verdict.calls}, {found.verdict.late} late",
    ]
    for kind, waits in sorted(found.waits.items()):
        if waits:
            waits.sort()
            p99 = waits[min(len(waits) - 1, int(len(waits) * 0.99))]
            rows.append(
                f"taken over       {kind}: p50 {waits[len(waits) // 2]:.2f} s, p99 {p99:.2f} s, "
                f"longest {waits[-1]:.2f} s of {len(waits)}"
            )
    return "\n".join(rows)


def test_the_stack_completes(outcome: Outcome):
    assert outcome.status == "CREATE_COMPLETE"
    assert outcome.errors == []


def test_each_resource_is_created_exactly_once(outcome: Outcome):
    assert outcome.left == []
    assert outcome.verdict.created == Counter(dict.fromkeys(outcome.names, 1))


def test_each_is_deleted_exactly_once_and_nothing_is_left(outcome: Outcome):
    assert outcome.behind == []
    assert outcome.verdict.deleted == Counter(dict.fromkeys(outcome.names, 1))


def test_nobody_acts_on_what_another_has_taken_over(outcome: Outcome):
    assert outcome.verdict.broken == []


def test_engines_were_lost_with_work_in_hand(outcome: Outcome):
    assert {loss.kind for loss in outcome.losses} == {"kill", "pause"}
    assert any(outcome.waits.values()), "no fault has met any work"
