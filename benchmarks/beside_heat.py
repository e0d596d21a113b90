"""The table "Stacks": Heat beside ours, in one run on one machine, in turns.

Both systems run at once, each with one API process, four engines and a PostgreSQL of its own with
the same settings; Heat has RabbitMQ, too. One is asked while the other has nothing to do. Ours
asks for a token on every request; Heat runs with ``noauth``. The client looks after 20 and 50 ms
and then every 100 ms, by a list of one stack.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from functools import partial

import uvloop

from benchmarks.peers import heat
from benchmarks.stacks_shapes import Template, chain, independent
from benchmarks.stacks_system import Holdfast, Sample, Side

TITLE = "Beside Heat"
ENGINES = heat.WORKERS
COUNTED = "100 independent"
LARGE = 1_000

Row = tuple[str, str, str]

SHAPES: tuple[tuple[str, Callable[[], Template]], ...] = (
    (COUNTED, lambda: independent(100)),
    ("chain of 100", lambda: chain(100)),
    ("300 independent", lambda: independent(300)),
)


def measure() -> list[Row]:
    """Rows of (what, aim, measured)."""
    if (why := heat.missing()) is not None:
        raise SystemExit(why)
    return uvloop.run(_measure())


async def _measure() -> list[Row]:
    ours, theirs = Holdfast(ENGINES), heat.Heat()
    try:
        load = os.getloadavg()[0]
        side, _ = await asyncio.gather(ours.start(), theirs.start())
        rows = await _compared(side, _peer(theirs))
        loads = f"{load:.1f} and {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
        return [*rows, ("load average before and after, both systems in it", "", loads)]
    finally:
        await asyncio.gather(ours.close(), theirs.close())


def _peer(system: heat.Heat) -> Side:
    headers = {
        "X-Auth-Token": "none",
        "X-Auth-User": "benchmark",
        "X-Auth-Project": heat.PROJECT,
    }
    prefix = f"/v1/{heat.PROJECT}"
    return Side("Heat", system.port, prefix, headers, system.roots, system.dsn)


async def _compared(ours: Side, theirs: Side) -> list[Row]:
    sides = (theirs, ours)
    for side in sides:
        await side.create("warm", "warm", independent(4))
    commits: dict[str, tuple[float, float]] = {}
    for what, make in SHAPES:
        for side in sides:
            work = partial(side.create, what, _name(what), make())
            if what == COUNTED:
                commits[side.name] = await side.commits_of(work)
            else:
                await work()
    memory = {side.name: max(most for _, most in side.memory_mb("engine")) for side in sides}
    for side in sides:
        await side.delete(f"deleted {COUNTED}", _name(COUNTED))
    accepted = [await _accepted_s(side) for side in (ours, theirs)]
    rows = [_pair(what, ours, theirs, what, _wall, "s") for what, _ in SHAPES]
    rows += [
        _pair(f"… CPU with the client's looks, {what}", ours, theirs, what, _cpu, "CPU-s")
        for what, _ in SHAPES
    ]
    gone = f"deleted {COUNTED}"
    rows.append(_pair(gone, ours, theirs, gone, _wall, "s"))
    every = [commits[side.name] for side in (ours, theirs)]
    return [
        *rows,
        _factor(
            f"commits per resource with the client's looks ({COUNTED})",
            every[0][0] / 100,
            every[1][0] / 100,
            "",
        ),
        _factor("… that write something", every[0][1] / 100, every[1][1] / 100, ""),
        _factor(f"POST answered, {LARGE:,} resources", accepted[0], accepted[1], "s"),
        _factor("memory of an engine, at most", memory[ours.name], memory[theirs.name], "MB"),
    ]


async def _accepted_s(side: Side) -> float:
    """How long a large stack's POST takes; nobody waits for the stack."""
    began = time.perf_counter()
    await side.ask(
        "POST",
        "/stacks",
        {
            "stack_name": "large",
            "template": independent(LARGE),
            "disable_rollback": True,
            "timeout_mins": 60,
        },
    )
    return time.perf_counter() - began


def _pair(
    shown: str, ours: Side, theirs: Side, what: str, of: Callable[[Sample], float], unit: str
) -> Row:
    return _factor(shown, ours.median(what, of), theirs.median(what, of), unit)


def _factor(shown: str, ours: float, theirs: float, unit: str) -> Row:
    both = f"{ours:.3g} {unit}".strip(), f"{theirs:.3g} {unit}".strip()
    return (shown, "", f"{both[0]}, Heat {both[1]}: {theirs / ours:.0f} ×")


def _wall(sample: Sample) -> float:
    return sample.wall_s


def _cpu(sample: Sample) -> float:
    return sample.all_cpu_s


def _name(what: str) -> str:
    """A stack's name, which begins with a letter."""
    return f"s-{what.replace(' ', '-')}"
