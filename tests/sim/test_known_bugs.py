"""The checker is checked: each known bug, put back, is caught by the simulator.

Each switch meets the faults under which its bug shows; if the referee stays silent
over all its seeds, the simulator has become blind to that bug, and this suite fails.
"""

from __future__ import annotations

import pytest
from tests.sim import bugs

from holdfast.sim.world import SCENARIOS, Bugs, Scenario, play

SEEDS_MAX = 40

CASES: dict[type[Bugs], tuple[tuple[str, ...], str]] = {
    # switch -> (faults, what the referee says)
    bugs.NoFence: (("last_words", "freeze"), "under a lost claim"),
    bugs.TakesOverEarly: (("pause", "partition"), "still trusts"),
    bugs.HintsAreTruth: (("no_hints",), "not ended"),
    bugs.ReleasesAndRetakes: (("crash",), "let go by a living owner"),
    bugs.GatewayWithoutEpochs: (("freeze", "last_words"), "stale effect"),
    bugs.GatewayWithoutFloor: (("memory_gap",), "stale effect"),
    bugs.SleepsThroughSignals: (("gateway_pause",), "slept through a signal"),
    bugs.TrustsFromTheReply: (("slow_renewal",), "still trusts"),
    bugs.ReapsAtOnceAfterOutage: (("outage",), "after the database's start"),
    bugs.BeginsAnyStep: (("slow_boat",), ""),
    bugs.JudgesByTheDatabaseAlone: (("leap",), "still trusts"),
    bugs.HandsOverWhatRuns: (("drain", "crash"), "handed over in mid-step"),
}


def scenario_for(bug: type[Bugs]) -> Scenario:
    kinds, _ = CASES[bug]
    return Scenario(name=bug.__name__, kinds=kinds, faults=(12, 20), settle_s=90.0)


def test_every_switch_is_tried():
    known = {one for one in vars(bugs).values() if isinstance(one, type) and issubclass(one, Bugs)}
    assert known - {Bugs} == set(CASES)


@pytest.mark.parametrize("bug", CASES, ids=lambda bug: bug.__name__)
def test_it_is_caught(bug: type[Bugs]):
    _, said = CASES[bug]
    scenario = scenario_for(bug)
    for seed in range(SEEDS_MAX):
        breaches = play(seed, scenario, bug()).breaches
        if any(said in breach for breach in breaches):
            break
    else:
        pytest.fail(f"{bug.__name__} was not caught by {SEEDS_MAX} seeds")
    # It is the switch that was caught: without it, the same seed is fine.
    assert play(seed, scenario).breaches == []


def test_the_scenarios_of_the_campaign_know_every_fault():
    """No kind of fault is left out of the seeds that run in CI."""
    used = {kind for scenario in SCENARIOS.values() for kind in scenario.kinds}
    for kinds, _ in CASES.values():
        assert used.issuperset(kinds)
