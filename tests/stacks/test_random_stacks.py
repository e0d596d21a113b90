"""Random stacks, random updates, random faults: at rest reality equals the template.

``HOLDFAST_TEST_STACK_SEEDS`` says how many seeds (``make sim``: many more than in CI).
"""

from __future__ import annotations

import asyncio
import os
from random import Random
from typing import Any
from uuid import UUID

import pytest
from tests.stacks.house import SETTINGS, House

from holdfast.errors import StoreUnavailableError
from holdfast.sim.loop import Life
from holdfast.stacks.model import Action, Status

SEEDS = int(os.environ.get("HOLDFAST_TEST_STACK_SEEDS", "120"))
CHUNK = 20
NAMES = [f"r{n}" for n in range(9)]


def template(chance: Random) -> dict[str, Any]:
    """A random graph of things and groups."""
    names = chance.sample(NAMES, chance.randint(0, len(NAMES)))
    resources: dict[str, Any] = {}
    for n, name in enumerate(names):
        above = chance.sample(names[:n], min(n, chance.choice((0, 0, 1, 1, 2, 3))))
        value: Any = chance.randint(1, 3)
        if above and resources[above[0]]["type"] == "Test::Thing" and chance.random() < 0.5:
            value = {"get_attr": [above[0], "value"]}
        if chance.random() < 0.15:
            made: dict[str, Any] = {
                "type": "Test::Group",
                "properties": {"count": chance.randint(0, 3), "value": value},
            }
        else:
            made = {
                "type": "Test::Thing",
                "properties": {
                    "value": value,
                    "colour": chance.choice(("red", "blue")),
                    "wait": chance.choice((0, 0, 0, 1, 5)),
                    "hangs": chance.random() < 0.02,
                },
            }
        resources[name] = {**made, "depends_on": above} if above else made
    return resources


class Unreliable:
    """A store that is slow, and at times does its work and does not answer."""

    def __init__(self, chance: Random, inner: Any) -> None:
        self._chance = chance
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)
        if not asyncio.iscoroutinefunction(method):
            return method

        async def call(*args: Any, **more: Any) -> Any:
            await asyncio.sleep(self._chance.uniform(0, 0.02))
            answer = await method(*args, **more)
            if self._chance.random() < 0.01:
                raise StoreUnavailableError("no answer")
            return answer

        return call


async def break_engines(house: House, faults: int) -> None:
    chance = house.loop.random
    for n in range(faults):
        await asyncio.sleep(chance.uniform(0.1, 3.0))
        living = [s for s, p in house.processes.items() if p.life is Life.RUNNING]
        slot = chance.choice(sorted(living))
        house.start(f"again-{n}")
        what = chance.choice(("kill", "kill", "pause", "drain"))
        if what == "kill":
            house.loop.crash(house.processes[slot])
        elif what == "drain":
            house.workers[slot].membership.request_drain()
        else:
            house.loop.pause(house.processes[slot])
            pause_s = chance.uniform(0.5, 3 * SETTINGS.lease_s)
            house.loop.call_outside(pause_s, house.loop.resume, house.processes[slot])


async def change_minds(house: House, stack: UUID) -> None:
    """Updates, cancellations and the like, mostly while something else is under way."""
    chance = house.loop.random
    for _ in range(chance.randint(1, 5)):
        await asyncio.sleep(chance.choice((0.0, 0.3, 2.0, 8.0, 40.0)))
        house.world.fails = set(chance.sample(NAMES, chance.choice((0, 0, 1))))
        now = await house.now(stack)
        what = chance.random()
        if what < 0.65:
            await house.ask(stack, Action.UPDATE, template(chance))
        elif what < 0.75 and now.status is Status.IN_PROGRESS:
            await house.stacks.stop(stack, now.traversal, begun=True)
        elif what < 0.85 and now.status is Status.COMPLETE and now.action is not Action.DELETE:
            await house.ask(stack, chance.choice((Action.CHECK, Action.SUSPEND, Action.RESUME)))
        elif now.status is Status.IN_PROGRESS and now.action is Action.UPDATE:
            await house.roll_back(stack)


def live(seed: int) -> None:
    """One history, from the first engine to the last reckoning."""
    chance = Random(seed)
    house = House(
        seed=seed,
        room=chance.choice((1, 3, 8)),
        store_of=lambda store: Unreliable(chance, store),
        interruptible=chance.random() < 0.6,
    )
    for slot in ("engine-1", "engine-2"):
        house.start(slot)

    async def main() -> None:
        stacks = [
            await house.create(
                template(house.loop.random),
                rollback=chance.random() < 0.4,
                convergence=chance.random() < 0.8,
                timeout_s=chance.choice((30.0, 150.0)),
            )
            for _ in range(2)
        ]
        breaking = asyncio.ensure_future(break_engines(house, chance.randint(0, 8)))
        await asyncio.gather(*(change_minds(house, stack) for stack in stacks))
        await breaking
        await house.settled(*stacks)
        await house.check_reality()
        # However it went: without faults the next update makes everything good ...
        house.world.fails = set()
        for stack in stacks:
            if (await house.now(stack)).action is not Action.DELETE:
                wanted = {
                    name: {**made, "properties": {**made["properties"], "hangs": False}}
                    if made["type"] == "Test::Thing"
                    else made
                    for name, made in template(house.loop.random).items()
                }
                await house.ask(stack, Action.UPDATE, wanted, timeout_s=3600.0)
        done = await house.settled(*stacks)
        assert {one.status for one in done} == {Status.COMPLETE}, [one.reason for one in done]
        await house.check_reality()
        # ... and a deletion leaves nothing behind.
        for stack in stacks:
            await house.ask(stack, Action.DELETE)
        await house.settled(*stacks)
        await house.check_reality()
        assert house.world.things == {}

    house.play(main())


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_at_rest_reality_equals_the_template(first: int):
    for seed in range(first, min(first + CHUNK, SEEDS)):
        try:
            live(seed)
        except Exception as fault:
            raise AssertionError(f"seed {seed}: {fault}") from fault
