"""Many seeds over several processes."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor

import msgspec

from holdfast.sim.world import SCENARIOS, Outcome, play

CHUNK = 8  # seeds a process takes at a time


class Share(msgspec.Struct, frozen=True):
    """Some seeds of one scenario."""

    scenario: str
    seeds: tuple[int, ...]


def shares(scenarios: Sequence[str], seeds: Sequence[int]) -> list[Share]:
    """Deal the seeds out among the scenarios, in turn, in small shares."""
    dealt: list[Share] = []
    for place, name in enumerate(scenarios):
        own = list(seeds[place :: len(scenarios)])
        dealt += [Share(name, tuple(own[at : at + CHUNK])) for at in range(0, len(own), CHUNK)]
    return dealt


def run_share(share: Share) -> list[Outcome]:
    """Run one share in this process."""
    return [play(seed, SCENARIOS[share.scenario]) for seed in share.seeds]


def run(work: Sequence[Share], processes: int) -> Iterator[Outcome]:
    """Every outcome, as it comes."""
    if processes == 1:
        for share in work:
            yield from run_share(share)
        return
    # Not forked: a test runner's threads and event loops are none of the children's business.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        for outcomes in pool.map(run_share, work):
            yield from outcomes


def replay_command(outcome: Outcome) -> str:
    """How to see that very run again."""
    return f"python -m holdfast.sim {outcome.seed} --scenario {outcome.scenario} --trace"
