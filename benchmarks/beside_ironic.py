"""The table "Bare metal": Ironic beside ours, in one run on one machine, in interleaved rounds.

Both systems run at once, each with one API process, two conductors and a PostgreSQL of its own
with the same settings, as their packages start them. The load comes from one lean client. Ours
asks for a token on every request and checks its policy; Ironic runs with ``noauth``. Deployments
are of the fake hardware of each, which does nothing; then, ours alone, over Redfish to simulated
BMCs whose machines boot in no time and whose agents write images in no time. Automated cleaning
is off in both.
"""

from __future__ import annotations

import asyncio
import os
import platform
import time
from collections.abc import Callable
from operator import attrgetter
from statistics import median

import uvloop

from benchmarks.baremetal_api import AT_ONCE, POLL_S, Sample, Side, switch_on
from benchmarks.baremetal_losses import Loss, loss
from benchmarks.baremetal_systems import Holdfast, Peer, System
from benchmarks.peers import ironic
from benchmarks.wire import Wire, each

TITLE = "Beside Ironic"
NODES = 1000
ROUNDS = 4
DEPLOYS = 50
DEPLOY_ROUNDS = 3
IN_HAND = 7  # deployments of the killed conductor
IDLE = AT_ONCE - 1  # its nodes that are commanded
LIMIT_S = 180.0

TEXTS = {
    "detail": ("GET /v1/nodes/detail?limit=1000", " pages/s"),
    "two fields": ("GET /v1/nodes?fields=uuid,name&limit=1000", " pages/s"),
    "node": ("GET /v1/nodes/NAME", "/s"),
    "create": ("POST /v1/nodes", "/s"),
    "deploy": (
        f"{DEPLOYS} nodes manage, provide, active, {AT_ONCE} at a time, fake hardware",
        " s",
    ),
}

RATE = attrgetter("rate")
WALL = attrgetter("wall_s")

Row = tuple[str, str, str]


def measure() -> list[Row]:
    """Rows of (what, aim, measured)."""
    if not ironic.installed():
        raise SystemExit("Ironic is not installed: `make bench ARGS=beside_ironic` does that first")
    return uvloop.run(_measure())


async def _measure() -> list[Row]:
    ours, theirs = Holdfast(DEPLOYS, IN_HAND * 6), Peer()
    try:
        sides = await asyncio.gather(ours.start(), theirs.start())
        load = [os.getloadavg()[0]]
        await _work(*sides)
        load.append(os.getloadavg()[0])
        rows = _work_rows(*sides)
        _say("\n".join(" | ".join(row) for row in rows))
        losses = {
            (system.side.name, supervised): await _loss(system, supervised=supervised)
            for supervised in (True, False)
            for system in (ours, theirs)
        }
        return [*rows, *_loss_rows(losses, *sides), _about(load)]
    finally:
        await asyncio.gather(ours.close(), theirs.close())


async def _work(ours: Side, theirs: Side) -> None:
    """Every kind of work, in rounds that take turns."""
    for number in range(ROUNDS):
        for side in (theirs, ours):
            part = NODES // ROUNDS
            await side.creations([f"n{n:04d}" for n in range(number * part, (number + 1) * part)])
    _say("created")
    for _ in range(ROUNDS):
        for side, scale in ((theirs, 1), (ours, 8)):
            await side.gets("detail", ["/nodes/detail?limit=1000"] * 4 * scale, 4)
            await side.gets("two fields", ["/nodes?fields=uuid,name&limit=1000"] * 8 * scale, 4)
            names = [f"/nodes/n{n * 7 % NODES:04d}" for n in range(250 * scale)]
            await side.gets("node", names, AT_ONCE)
    _say("read")
    for number in range(DEPLOY_ROUNDS):
        for side in (theirs, ours):
            made = await _made_fake(side, number)
            await side.deployments("deploy", made)
    await ours.deployments("redfish", await _made(ours, "d", range(DEPLOYS)))
    _say("deployed")


async def _made(side: Side, letter: str, numbers: range) -> list[str]:
    made: list[str] = []

    async def one(wire: Wire, number: int) -> None:
        made.append(await side.create(wire, f"{letter}{number:04d}", number))

    await each(numbers, side.wires, one)
    return made


async def _made_fake(side: Side, number: int) -> list[str]:
    made: list[str] = []

    async def one(wire: Wire, name: str) -> None:
        made.append(await side.create_fake(wire, name))

    await each([f"f{number}-{n:02d}" for n in range(DEPLOYS)], side.wires, one)
    return made


async def _loss(system: System, *, supervised: bool) -> Loss:
    """One conductor is killed, with deployments in hand."""
    side = system.side
    await system.before_losses()
    victim = await system.victim()
    query = f"conductor={victim}&driver={side.driver}&fields=uuid&provision_state="
    idle: list[str] = []
    async with asyncio.timeout(LIMIT_S):
        while len(idle) < IDLE:  # it may have just begun, and own nothing yet
            idle = [node["uuid"] for node in await side.nodes(f"{query}active")][:IDLE]
            await asyncio.sleep(POLL_S)
    await switch_on(side, idle)
    first = DEPLOYS + (0 if supervised else IN_HAND * 3)
    made = await _made(side, "k", range(first, first + IN_HAND * 3))
    await each(made, side.wires, lambda wire, node: side.lead(wire, node, "available"))
    owned = {node["uuid"] for node in await side.nodes(f"{query}available")}
    deploying = [node for node in made if node in owned][:IN_HAND]
    await each(deploying, side.wires, lambda wire, node: side.provision(wire, node, "active"))
    await asyncio.sleep(2.5)
    found = await loss(side, lambda: system.kill(supervised=supervised), idle, deploying, LIMIT_S)
    system.after_loss()
    _say(f"{side.name}, {'a' if supervised else 'no'} supervisor: {found}")
    return found


def _say(what: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {what}", flush=True)


def _pair(ours: float, theirs: float, unit: str, *, less: bool = False) -> str:
    """Both figures, and by what factor ours is better (``less``: because it is smaller)."""
    factor = theirs / ours if less else ours / theirs
    shown = [f"{x:,.0f}" if x >= 1000 else f"{x:.3g}" for x in (ours, theirs)]
    return f"{shown[0]}{unit}, Ironic {shown[1]}{unit}: {factor:.1f} ×"


def _work_rows(ours: Side, theirs: Side) -> list[Row]:
    rows: list[Row] = []
    for what, (text, unit) in TEXTS.items():

        def add(
            text: str, aim: str, of: Callable[[Sample], float], unit: str = " ms", what: str = what
        ) -> None:
            figures = [side.median(what, of) for side in (ours, theirs)]
            less = unit in (" ms", " s")
            rows.append((text, aim, _pair(figures[0], figures[1], unit, less=less)))

        sizes = [side.answer_bytes.get(what, 0) / 1e6 for side in (ours, theirs)]
        size = f" ({sizes[0]:.3g} MB, Ironic {sizes[1]:.3g} MB)" if all(sizes) else ""
        add(text + size, "10 ×", WALL if unit == " s" else RATE, unit)
        if what != "deploy":
            add("… CPU of the API process", "10 ×", lambda s: s.each_ms("api"))
        add("… CPU of all its processes", "", lambda s: s.each_ms())
        add("… of them PostgreSQL", "", lambda s: s.each_ms("database"))
    [redfish] = ours.samples["redfish"]
    real = f"{redfish.wall_s:.3g} s, {redfish.each_ms():.3g} ms of CPU each"
    rows.append(("… ours over Redfish, with a ramdisk agent that boots at once", "", real))
    return rows


def _loss_rows(losses: dict[tuple[str, bool], Loss], ours: Side, theirs: Side) -> list[Row]:
    rows: list[Row] = []
    for supervised, aim in ((True, "< 1 s, no 500"), (False, "≤ 6 s, no 500")):
        found = [losses[side.name, supervised] for side in (ours, theirs)]
        what = f"kill -9 of a conductor, {'started again' if supervised else 'for good'}: "
        times = [median(one.commanded_s) for one in found]
        rows += [
            (what + "a node is commanded again", aim, _pair(times[0], times[1], " s", less=True)),
            ("… answers refused before", "0", ", Ironic ".join(map(_refused, found))),
            (
                "… its deployments in hand",
                "none failed",
                ", Ironic ".join(
                    f"{o.resumed} finished, {o.failed} failed, {o.open} open, "
                    f"last after {o.settled_s:.1f} s"
                    for o in found
                ),
            ),
        ]
    return rows


def _refused(found: Loss) -> str:
    listed = [f"{count:,} × {status}" for status, count in sorted(found.refused.items())]
    return ", ".join(listed) or "none"


def _about(load: list[float]) -> Row:
    return (
        "under what load (one-minute average before and after the work; both systems and the "
        "client included)",
        "",
        f"{load[0]:.1f} and {load[1]:.1f} on {os.cpu_count()} cores, {platform.machine()}",
    )
