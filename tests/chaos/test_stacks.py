"""Three hundred resources, four engines, and a fault every second (issue 4, X1, X14).

The verdict is made from what the provider of the resources has counted, never from Holdfast's
own logs: each created exactly once, each deleted exactly once, no orphan, nothing done by an
engine whose work another one had taken over.
"""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from tests.chaos.processes import say
from tests.chaos.run import CARDS, seed_of_today
from tests.chaos.stacks_cluster import Engines
from tests.chaos.stacks_provider import Verdict
from tests.chaos.stacks_run import Outcome, share, three_hundred

pytestmark = pytest.mark.chaos

COUNT = 300


@pytest.fixture(scope="module")
def outcome() -> Outcome:
    seed = seed_of_today()
    found = asyncio.run(three_hundred(seed, Engines(broker=True), COUNT))
    card = found.card(seed)
    say(card)
    CARDS.append(card)
    return found


@pytest.fixture(scope="module")
def verdict(outcome: Outcome) -> Verdict:
    assert outcome.verdict is not None
    return outcome.verdict


def test_the_stack_completes(outcome: Outcome):
    assert outcome.status == "CREATE_COMPLETE: Stack CREATE completed successfully"
    assert outcome.errors == []


def test_each_resource_is_created_exactly_once(outcome: Outcome, verdict: Verdict):
    assert outcome.left == []
    assert {name: verdict.created[name] for name in outcome.names} == dict.fromkeys(
        outcome.names, 1
    )
    assert set(verdict.created.values()) == {1}


def test_each_is_deleted_exactly_once_and_nothing_is_left(outcome: Outcome, verdict: Verdict):
    assert outcome.behind == []
    assert verdict.deleted == verdict.created


def test_nobody_acts_on_what_another_has_taken_over(verdict: Verdict):
    assert verdict.broken == []


def test_engines_were_lost_with_work_in_hand(outcome: Outcome):
    kinds = Counter(loss.kind for loss in outcome.losses)
    assert kinds["kill"] >= 3
    assert kinds["pause"] >= 1
    assert any(outcome.waits.values()), "no fault has met any work"


@pytest.mark.parametrize("kind", ["kill, supervised", "kill, unsupervised"])
def test_a_killed_engine_is_taken_over_within_a_lease_and_a_second(outcome: Outcome, kind: str):
    assert outcome.calm[kind], "it had no work in hand"
    assert share(outcome.calm[kind], 0.99) <= outcome.lease_s + 1
