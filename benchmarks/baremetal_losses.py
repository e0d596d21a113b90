"""What the death of a conductor means to its nodes, on any side."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.baremetal_api import RefusedError, Side, power_state
from benchmarks.wire import Wire


@dataclass
class Loss:
    """What the death of a conductor meant to its nodes; seconds from the kill."""

    commanded_s: list[float]  # until a power command to a node of its had its effect
    refused: dict[int, int]  # statuses of such commands before that, and how often
    resumed: int
    failed: int
    open: int  # deployments in neither end state when we stopped looking
    settled_s: float  # until the last that ended did


async def loss(
    side: Side, kill: Callable[[], None], idle: list[str], deploying: list[str], limit_s: float
) -> Loss:
    """Kill a conductor; command its ``idle`` nodes (all on) and watch its ``deploying`` ones."""
    refused: dict[int, int] = {}
    kill()
    began = time.perf_counter()

    async def commanded(wire: Wire, node: str) -> float:
        path = f"{side.prefix}/v1/nodes/{node}/states/power"
        async with asyncio.timeout(limit_s):
            while True:
                with contextlib.suppress(OSError, EOFError, RefusedError):
                    status, _ = await wire.call("PUT", path, {"target": "power off"})
                    if status == 202:
                        while await power_state(side, wire, node) != "power off":
                            await asyncio.sleep(0.02)
                        return time.perf_counter() - began
                    refused[status] = refused.get(status, 0) + 1
                await asyncio.sleep(0.25)

    async def settled(wire: Wire, node: str) -> tuple[str, float]:
        while time.perf_counter() - began < limit_s:
            with contextlib.suppress(OSError, EOFError, RefusedError):
                state = await side.state(wire, node)
                if state in ("active", "deploy failed", "error"):
                    return state, time.perf_counter() - began
            await asyncio.sleep(0.25)
        return "neither", 0.0

    wires = [*side.wires]
    watcher = wires.pop()
    commands = asyncio.gather(*map(commanded, wires, idle))
    # One after the other: the last one's time is what is asked for.
    ends = [await settled(watcher, node) for node in deploying]
    states = [state for state, _ in ends]
    return Loss(
        commanded_s=sorted(await commands),
        refused=refused,
        resumed=states.count("active"),
        failed=len(states) - states.count("active") - states.count("neither"),
        open=states.count("neither"),
        settled_s=max(at for _, at in ends),
    )
