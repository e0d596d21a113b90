"""Queue workers that are killed, paused and drained at random while they run a graph."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.core.queues import SETTINGS, House, Kind

from holdfast.core.jobs import Done, Outcome, StepContext
from holdfast.errors import StoreUnavailableError
from holdfast.sim.loop import Life
from holdfast.sim.memstore import MemStore
from holdfast.store.model import JobState, QueuedJob

JOBS = 60
FAULTS = 8
NAMES = ("a", "b", "c")


class Ran:
    """From when to when each job was run by somebody who could trust that it was his."""

    def __init__(self) -> None:
        self.spans: list[tuple[StepContext, float, float]] = []

    async def step(self, ctx: StepContext) -> Outcome:
        began = asyncio.get_running_loop().time()
        await asyncio.sleep(0.2 + ctx.args["s"])
        ctx.guard()
        self.spans.append((ctx, began, asyncio.get_running_loop().time()))
        return Done()


def unreliable(house: list[House]) -> Any:
    """A store that at times does its work and does not answer."""

    class Unreliable:
        def __init__(self, store: MemStore) -> None:
            self._store = store

        def __getattr__(self, name: str) -> Any:
            method = getattr(self._store, name)

            async def call(*args: Any, **more: Any) -> Any:
                chance = house[0].loop.random
                await asyncio.sleep(chance.uniform(0, 0.02))
                answer = await method(*args, **more)
                if chance.random() < 0.03:
                    raise StoreUnavailableError("no answer")
                return answer

            return call

    return Unreliable


async def break_things(house: House) -> None:
    chance = house.loop.random
    for n in range(FAULTS):
        await asyncio.sleep(chance.uniform(0.2, 2.5))
        living = [s for s, p in house.processes.items() if p.life is Life.RUNNING]
        slot = chance.choice(sorted(living))
        what = chance.choice(("kill", "pause", "drain"))
        house.start(f"again-{n}")
        if what == "kill":
            house.loop.crash(house.processes[slot])
        elif what == "drain":
            house.workers[slot].membership.request_drain()
        else:
            house.loop.pause(house.processes[slot])
            pause_s = chance.uniform(0.5, 3 * SETTINGS.lease_s)
            house.loop.call_outside(pause_s, house.loop.resume, house.processes[slot])


@pytest.mark.parametrize("seed", range(12))
def test_in_spite_of_faults_everything_runs_in_its_turn_and_ends(seed: int):
    ran, houses = Ran(), list[House]()
    house = House(Kind("work", ran.step), seed=seed, room=6, store_of=unreliable(houses))
    houses.append(house)

    async def main() -> None:
        chance, jobs = house.loop.random, list[QueuedJob]()
        for n in range(JOBS):
            before = [job.id for job in chance.sample(jobs, k=min(n, chance.randrange(3)))]
            name = chance.choice(NAMES)
            wants: dict[str, Any] = chance.choice([{}, {"shared": (name,)}, {"exclusive": (name,)}])
            args = {"s": chance.uniform(0, 1)}
            jobs.append(
                QueuedJob(
                    id=house.loop.uuid(),
                    kind="work",
                    queue="work",
                    args=args,
                    after=tuple(before),
                    **wants,
                )
            )
        for slot in ("one", "two", "three"):
            house.start(slot)
        await house.store.enqueue(jobs)
        faults = asyncio.create_task(break_things(house))
        async with asyncio.timeout(600):
            await house.ended()
        await faults
        await asyncio.sleep(1)
        assert await house.store.tend() == 0
        check(house, ran, {job.id: job for job in jobs})

    house.play(main())


def check(house: House, ran: Ran, jobs: dict[Any, QueuedJob]) -> None:
    assert house.states(list(jobs)) == {JobState.SUCCEEDED}
    assert {ctx.job.id for ctx, _, _ in ran.spans} == jobs.keys()
    first = {ctx.job.id: began for ctx, began, _ in reversed(ran.spans)}
    last = {ctx.job.id: ended for ctx, _, ended in ran.spans}
    for job in jobs.values():
        assert all(last[pred] <= first[job.id] for pred in job.after), "out of order"
    for ctx, began, ended in ran.spans:
        one = jobs[ctx.job.id]
        for other_ctx, other_began, other_ended in ran.spans:
            other = jobs[other_ctx.job.id]
            taken = {*other.exclusive, *other.shared} & set(one.exclusive)
            if other is not one and taken:
                assert other_ended <= began or ended <= other_began, f"both had {taken}"
