"""The table "Stacks": templates by size and shape, through the API, on the embedded PostgreSQL.

One API process, two engines and then four, everything else as shipped but for the limits on the
size of a stack. A request carries a token. The client asks for the status after 20 and 50 ms and
then every 100 ms: what a stack took ends with the look that saw it complete. How work spreads
over engines is measured with a resource type that takes an engine's place while it waits
(``stacks_held``), for what waits as shipped types do takes none.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Awaitable, Callable

import uvloop

from benchmarks.stacks_held import NAME as HELD
from benchmarks.stacks_losses import HELD_S, JOBS_MAX, Loss, loss
from benchmarks.stacks_shapes import (
    Template,
    chain,
    fan,
    independent,
    layers,
    nested,
    of_type,
    waiting,
)
from benchmarks.stacks_system import Holdfast, Sample, Side

TITLE = "Stacks"
ROUNDS = 3
INNER, EACH = 1_000, 21  # 1,000 nested stacks and 21,000 resources in them
WAITING, WAIT_S, PLACES = 400, 0.5, 10
AIM_LOSS = "≤ 6 s (lease + 1 s)"

Row = tuple[str, str, str]

# What, how it is made, the aim in seconds, how often.
SHAPES: tuple[tuple[str, Callable[[], Template], str, int], ...] = (
    ("100 independent", lambda: independent(100), "0.5 s", ROUNDS),
    ("300 independent", lambda: independent(300), "1 s", ROUNDS),
    ("1,000 independent", lambda: independent(1_000), "3 s", ROUNDS),
    ("10,000 independent", lambda: independent(10_000), "30 s", 1),
    ("chain of 1,000", lambda: chain(1_000), "10 s", ROUNDS),
    ("fan 1 → 1,000", lambda: fan(1_000), "4 s", ROUNDS),
    ("10 layers × 30, all to all", lambda: layers(10, 30), "2 s", ROUNDS),
)
GROWTH = (
    ("100 independent", 100),
    ("1,000 independent", 1_000),
    ("10,000 independent", 10_000),
    ("nested", INNER * (EACH + 1)),
)


def measure() -> list[Row]:
    """Rows of (what, aim, measured)."""
    return uvloop.run(_measure())


async def _measure() -> list[Row]:
    load = os.getloadavg()[0]
    rows = await _with(Holdfast(2), _all_of_it)
    rows += await _with(Holdfast(4), _shapes)
    rows += await _spread()
    rows += await _with(Holdfast(2, {"HOLDFAST_ENGINE__JOBS_MAX": str(JOBS_MAX)}), _losses)
    after = os.getloadavg()[0]
    machine = f"{load:.1f} and {after:.1f} on {os.cpu_count()} cores"
    return [*rows, ("load average before and after, with all of this in it", "", machine)]


async def _with(system: Holdfast, work: Callable[[Holdfast], Awaitable[list[Row]]]) -> list[Row]:
    try:
        await system.start()
        return await work(system)
    finally:
        await system.close()


async def _all_of_it(system: Holdfast) -> list[Row]:
    side = system.side
    await side.create("warm", "warm", independent(10))
    rows = await _commits(side)
    rows += await _shapes(system)
    await side.update("no change", "s5", independent(1_000))
    await side.update("all changed", "s5", independent(1_000, "y"))
    await side.delete("deleted 1,000", "s5")
    await side.delete("deleted 10,000", "s9")
    outer, files = nested(INNER, EACH)
    await side.create("nested", "outer", outer, files)
    await side.delete("deleted nested", "outer")
    total = f"{INNER * (EACH + 1):,}"
    return [
        *rows,
        _took(side, "no change", "update of 1,000 that changes nothing", ""),
        _took(side, "all changed", "update of 1,000 that changes all", ""),
        _took(side, "deleted 1,000", "delete of 1,000", ""),
        _took(side, "deleted 10,000", "delete of 10,000", ""),
        _took(side, "nested", f"{total} over {INNER:,} nested stacks", "linear"),
        _took(side, "deleted nested", "… deleted", ""),
        ("growth: each resource by the clock; CPU of all processes", "linear", _growth(side)),
    ]


async def _commits(side: Side) -> list[Row]:
    """The first thousand of a fresh system: its transactions, and the memory it leaves."""

    async def work() -> None:
        await side.create("first 1,000", "first", independent(1_000))

    every, writing = await side.commits_of(work)
    memory = [f"{now:.0f} MB (at most {most:.0f})" for now, most in side.memory_mb("engine")]
    looks = "the client's looks are in the first"
    return [
        ("commits per resource, at 1,000", "≤ 3", f"{every / 1000:.2f}; {looks}"),
        ("… that write something", "", f"{writing / 1000:.2f}"),
        ("memory of each of two engines after 1,000", "≤ 120 MB", ", ".join(memory)),
    ]


async def _shapes(system: Holdfast) -> list[Row]:
    side, engines = system.side, len(system.side.roots()["engine"])
    number = len(side.ids)
    await side.create("warm", f"warm-{number}", independent(50))
    numbers = iter(range(10_000))
    for what, make, _, rounds in SHAPES:
        for _ in range(rounds):
            name = next(numbers)
            await side.create(what, f"s{name}", make())
    rows = [
        _took(side, what, f"{what}, {engines} engines", f"≤ {aim}") for what, _, aim, _ in SHAPES
    ]
    thousand = side.samples["1,000 independent"]
    accepted = max(sample.accepted_s for sample in thousand)
    cpu = ", ".join(
        f"{part} {side.median('1,000 independent', lambda s, part=part: s.cpu_s[part]):.2f}"
        for part in thousand[0].cpu_s
    )
    return [
        *rows,
        (f"POST answered, 1,000 resources, {engines} engines", "≤ 0.3 s", f"{accepted:.3f} s"),
        (f"CPU seconds per 1,000, {engines} engines", "", cpu),
    ]


async def _spread() -> list[Row]:
    """The same waiting work on one engine and on four."""
    held: dict[int, float] = {}
    free: dict[int, float] = {}
    for engines in (1, 4):
        system = Holdfast(engines, {"HOLDFAST_ENGINE__JOBS_MAX": str(PLACES)})
        try:
            side = await system.start()
            await side.create("warm", "warm", independent(50))
            for number in range(ROUNDS):
                template = of_type(WAITING, HELD, seconds=WAIT_S)
                await side.create("held", f"h{number}", template)
                await side.create("free", f"f{number}", waiting(WAITING, WAIT_S))
            held[engines] = side.median("held", lambda s: s.wall_s)
            free[engines] = side.median("free", lambda s: s.wall_s)
        finally:
            await system.close()
    what = f"{WAITING} resources of {WAIT_S:g} s"
    places = f"{PLACES} places an engine"
    return [
        (
            f"{what} that keep their places, {places}: 1 engine, 4 engines",
            "",
            f"{held[1]:.2f} s, {held[4]:.2f} s: {held[1] / held[4]:.2f} ×",
        ),
        (
            f"{what} that only wait (TestResource), {places}: 1 engine, 4 engines",
            "≥ 3.5 ×",
            f"{free[1]:.2f} s, {free[4]:.2f} s: {free[1] / free[4]:.2f} ×",
        ),
    ]


async def _losses(system: Holdfast) -> list[Row]:
    await system.side.create("warm", "warm", independent(50))
    rows: list[Row] = []
    for supervised in (True, False):
        found = [await loss(system, n, supervised=supervised) for n in range(ROUNDS)]
        how = "a living supervisor" if supervised else "no supervisor"
        in_hand = ", ".join(str(one.in_hand) for one in found)
        rows += [
            (
                f"kill -9 of one of two engines, {how}: its operations ({in_hand}) are free for "
                "others",
                "",
                _times([one.free_s for one in found]),
            ),
            ("… the first goes on elsewhere", AIM_LOSS, _times([one.first_s for one in found])),
            (
                "… the last (the other engine's places are taken)",
                AIM_LOSS,
                _times([one.last_s for one in found]),
            ),
            (
                f"… the stack of 300 ({HELD_S:g} s each)",
                "complete, no orphan",
                ", ".join(map(_whole, found)),
            ),
        ]
    return rows


def _times(times: list[float]) -> str:
    return f"{statistics.median(times):.2f} s ({', '.join(f'{t:.2f}' for t in times)})"


def _whole(one: Loss) -> str:
    return f"{one.status}: {one.resources} made, {one.orphans} orphans"


def _took(side: Side, what: str, shown: str, aim: str) -> Row:
    walls = [sample.wall_s for sample in side.samples[what]]
    each = f" ({', '.join(f'{wall:.2f}' for wall in walls)})" if len(walls) > 1 else ""
    cpu = side.median(what, _cpu)
    return (shown, aim, f"{side.median(what, _wall):.2f} s{each}; {cpu:.2f} CPU-s")


def _growth(side: Side) -> str:
    return "; ".join(
        f"{count:,}: {side.median(what, _wall) * 1000 / count:.2f} ms, "
        f"{side.median(what, _cpu) * 1000 / count:.2f} ms CPU"
        for what, count in GROWTH
    )


def _wall(sample: Sample) -> float:
    return sample.wall_s


def _cpu(sample: Sample) -> float:
    return sample.all_cpu_s
