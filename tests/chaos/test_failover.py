"""A failover to the standby while machines deploy, two API processes and three conductors (I3).

In `make test` by a URL that names both servers; `make chaos` goes through HAProxy, too.
"""

from __future__ import annotations

import asyncio
import os

import pytest
from tests.chaos.cluster import Layout
from tests.chaos.failover import Failover, failover
from tests.chaos.replicas import Way
from tests.chaos.run import Outcome, Run, play, seed_of_today

pytestmark = pytest.mark.chaos

LONG = bool(os.environ.get("HOLDFAST_TEST_CHAOS_S"))
LEASE_S = 2.0 if LONG else 1.5
NODES = 40 if LONG else 12


@pytest.fixture(scope="module", params=["hosts", "proxy"] if LONG else ["hosts"])
def played(request: pytest.FixtureRequest) -> tuple[Outcome, Failover]:
    way: Way = request.param
    layout = Layout(nodes=NODES, supervised=2, unsupervised=1, apis=2, lease_s=LEASE_S, pair=way)
    seen = Failover()

    async def script(run: Run) -> None:
        await failover(run, seen)

    return asyncio.run(play(layout, script, seed=seed_of_today(), network=None)), seen


def test_a_failover_loses_nothing_and_does_nothing_twice(played: tuple[Outcome, Failover]):
    outcome, _ = played
    assert outcome.broken() == []
    assert outcome.deployments == NODES
    assert outcome.verdict.unreadable == 0
    assert outcome.writes > 0


def test_nobody_is_declared_dead_before_a_full_lease_has_passed(played: tuple[Outcome, Failover]):
    _, seen = played
    assert seen.reaped == set()
    assert seen.takeovers == 0
    assert seen.timeline == "00000002"


def test_epochs_stay_above_all_that_the_gateway_has_seen(played: tuple[Outcome, Failover]):
    _, seen = played
    assert seen.epoch_after >= seen.highest_seen > 0


def test_a_primary_of_the_past_is_not_written_to(played: tuple[Outcome, Failover]):
    _, seen = played
    assert seen.written_behind == 0
