"""``python -m holdfast.sim SEED``: replay one world, or run many.

python -m holdfast.sim 17 --scenario network --trace    one seed, line by line
python -m holdfast.sim 1000 --count 500 --processes 2   seeds 1000 to 1499
"""

from __future__ import annotations

import sys
import time

import click

from holdfast.sim.campaign import replay_command, run, shares
from holdfast.sim.world import SCENARIOS, Outcome, play

SHOWN_MAX = 20  # breaches, or seeds with breaches


def _show(outcome: Outcome) -> None:
    for line in outcome.trace:
        click.echo(line)
    for breach in outcome.breaches[:SHOWN_MAX]:
        click.echo(f"BREACH {breach}", err=True)
    click.echo(
        f"seed {outcome.seed} of {outcome.scenario}: {len(outcome.breaches)} breaches, "
        f"{outcome.jobs} jobs, {outcome.effects} commands, {outcome.takeovers} takeovers, "
        f"{outcome.simulated_s:.0f} s simulated, history {outcome.digest}"
    )


def _campaign(scenarios: list[str], seeds: list[int], processes: int) -> bool:
    began = time.perf_counter()
    good, bad, simulated_s, cpu_s, jobs, takeovers = 0, 0, 0.0, 0.0, 0, 0
    for outcome in run(shares(scenarios, seeds), processes):
        simulated_s += outcome.simulated_s
        cpu_s += outcome.cpu_s
        jobs += outcome.jobs
        takeovers += outcome.takeovers
        if not outcome.breaches:
            good += 1
            continue
        bad += 1
        if bad <= SHOWN_MAX:
            click.echo(f"seed {outcome.seed} of {outcome.scenario}: {outcome.breaches[0].strip()}")
            click.echo(f"    {replay_command(outcome)}")
    took_s = time.perf_counter() - began
    click.echo(
        f"{good} of {len(seeds)} seeds without a breach; {jobs} jobs, {takeovers} takeovers; "
        f"{took_s:.1f} s, {len(seeds) / took_s:.1f} seeds/s, "
        f"{simulated_s / cpu_s:.0f} simulated seconds per CPU second"
    )
    return good == len(seeds)


@click.command()
@click.argument("seed", type=int)
@click.option(
    "--scenario", type=click.Choice(sorted(SCENARIOS)), help="Default: dealt out in turn."
)
@click.option("--count", type=click.IntRange(1), default=1, help="So many seeds, from SEED on.")
@click.option("--processes", type=click.IntRange(1), default=1)
@click.option("--trace", is_flag=True, help="Show the history (of one seed).")
def main(seed: int, scenario: str | None, count: int, processes: int, trace: bool) -> None:
    """Run simulated worlds; exit 1 if the referee saw a promise broken."""
    if count > 1:
        names = [scenario] if scenario else sorted(SCENARIOS)
        sys.exit(0 if _campaign(names, list(range(seed, seed + count)), processes) else 1)
    outcome = play(seed, SCENARIOS[scenario] if scenario else None, trace=trace)
    _show(outcome)
    sys.exit(1 if outcome.breaches else 0)


if __name__ == "__main__":
    main()
