"""How fast the simulator runs the real core under faults, and how many seeds a minute has."""

from __future__ import annotations

import time

from holdfast.sim.campaign import run, shares
from holdfast.sim.world import SCENARIOS

TITLE = "Simulator"
SEEDS = 120
FIRST = 500_000


def measure() -> list[tuple[str, str, str]]:
    """Rows of (what, aim, measured); one process, CPU time."""
    began = time.process_time()
    outcomes = list(run(shares(sorted(SCENARIOS), range(FIRST, FIRST + SEEDS)), 1))
    spent_s = time.process_time() - began
    simulated_s = sum(outcome.simulated_s for outcome in outcomes)
    breached = sum(1 for outcome in outcomes if outcome.breaches)
    jobs = sum(outcome.jobs for outcome in outcomes)
    takeovers = sum(outcome.takeovers for outcome in outcomes)
    return [
        ("simulated seconds per CPU second", "≥ 500", f"{simulated_s / spent_s:,.0f}"),
        ("seeds per CPU second", "-", f"{SEEDS / spent_s:.1f}"),
        ("1,000 seeds on two cores", "within 3 min", f"{1000 * spent_s / SEEDS / 2:.0f} s"),
        (
            f"{SEEDS} seeds: jobs, takeovers, breaches",
            "0 breaches",
            f"{jobs}, {takeovers}, {breached}",
        ),
    ]
