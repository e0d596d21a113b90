"""A power cut: all machines come back by themselves, at the pace the supplies can take.

`make test` does it with forty machines, `make chaos` with five hundred, two API processes, three
conductors, and a failover of the database while the machines come back.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter

import pytest
from tests.chaos.cluster import Layout
from tests.chaos.power import PowerCut, power_cut
from tests.chaos.run import Outcome, Run, play, seed_of_today

from holdfast.sim.fleet.faults import Faults, Latency

pytestmark = pytest.mark.chaos

LONG = bool(os.environ.get("HOLDFAST_TEST_CHAOS_S"))
BUSY, SPARE = (6, 6) if LONG else (0, 3)
MACHINES = 500 if LONG else 40
PER_S, BURST = (25, 50) if LONG else (10, 10)
DARK_S = 20.0 if LONG else 3.0
LAYOUT = Layout(
    nodes=MACHINES + BUSY + SPARE,
    supervised=2,
    unsupervised=1,
    apis=2,
    lease_s=3.0,
    pair="hosts" if LONG else None,
    machines=Faults(latency=Latency(median_s=0.05), lost_answer_rate=0.02),
    settings={
        "HOLDFAST_POWER_SYNC__INTERVAL_S": "20" if LONG else "2",
        "HOLDFAST_POWER_SYNC__FORCE_POWER_STATE": "true",
        "HOLDFAST_PROVISIONING__RETRY_S": f"{DARK_S + 2:g}",
        "HOLDFAST_PROVISIONING__CALLBACK_TIMEOUT_S": f"{DARK_S + 4:g}",
        "HOLDFAST_BMC__POWER_ON_PER_S": str(PER_S),
        "HOLDFAST_BMC__POWER_ON_BURST": str(BURST),
    },
)


@pytest.fixture(scope="module")
def played() -> tuple[Outcome, PowerCut]:
    seen = PowerCut()

    async def script(run: Run) -> None:
        await power_cut(run, seen, busy=BUSY, spare=SPARE, dark_s=DARK_S)

    return asyncio.run(play(LAYOUT, script, seed=seed_of_today(), network=None)), seen


def test_every_machine_comes_back_and_nothing_is_lost(played: tuple[Outcome, PowerCut]):
    outcome, seen = played
    assert seen.machines == MACHINES
    assert seen.unwell == []
    assert outcome.lost_writes == []
    assert outcome.never_created == []
    assert outcome.internal_errors == []
    assert outcome.verdict.violations == []


@pytest.mark.skipif(not BUSY, reason="set HOLDFAST_TEST_CHAOS_S (make chaos does)")
def test_a_deployment_that_was_cut_off_goes_on_or_says_why_not_and_can_be_asked_for_again(
    played: tuple[Outcome, PowerCut],
):
    outcome, seen = played
    assert len(seen.interrupted) == BUSY
    assert outcome.deployments == sum(not reason for reason in seen.interrupted.values())
    states = Counter(outcome.states.values())
    assert states["active"] == BUSY
    assert states["available"] >= MACHINES + SPARE


def test_no_machine_is_told_twice_to_switch_on_unless_an_answer_was_lost(
    played: tuple[Outcome, PowerCut],
):
    _, seen = played
    assert sum(seen.commands.values()) == MACHINES
    assert seen.unexcused == []


def test_machines_are_switched_on_at_the_pace_that_was_set(played: tuple[Outcome, PowerCut]):
    _, seen = played
    assert seen.too_fast == ""
    assert seen.peak_per_s >= PER_S / 2, "so slow that the pace was not what bounded it"


def test_an_operators_machine_does_not_wait_for_all_others(played: tuple[Outcome, PowerCut]):
    _, seen = played
    assert len(seen.operators_s) > 0
    assert max(seen.operators_s) < MACHINES / PER_S
