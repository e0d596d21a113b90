"""Members that own shards: takeover, hand-over at step boundaries, drain (I4, I6)."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, TypeVar
from uuid import UUID, uuid5

from holdfast.core.jobs import Done, Handler, Outcome, Step, StepContext
from holdfast.core.members import Membership
from holdfast.core.settings import CoreSettings
from holdfast.core.worker import Duty, Tenure, Worker
from holdfast.sim.loop import Process, SimLoop
from holdfast.sim.memstore import MemStore
from holdfast.store.model import (
    Job,
    JobError,
    JobLimit,
    JobState,
    MemberSpec,
    NewJob,
    ObjectRef,
    Submission,
    Write,
)

SETTINGS = CoreSettings(lease_s=3.0, lease_margin_s=0.6, shards=16, drain_s=30.0)
STEP_S = 2.0
STEPS = 6
T = TypeVar("T")


class Waker:
    async def wait(self, timeout_s: float) -> frozenset[str]:
        await asyncio.sleep(timeout_s)
        return frozenset()


class LoopClock:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def now(self) -> float:
        return self._loop.time()


class Counting:
    """A job of six steps of two seconds each, which counts who ran what."""

    kind = "thing.count"
    cleanup: tuple[Step, ...] = ()

    def __init__(self, ran: list[tuple[UUID, str, str]]) -> None:
        self.steps = tuple(Step(name=f"s{i}", run=self._run) for i in range(STEPS))
        self._ran = ran

    async def _run(self, ctx: StepContext) -> Outcome:
        await asyncio.sleep(STEP_S)
        ctx.guard()
        self._ran.append((ctx.job.id, str(ctx.job.step), ctx.member.slot))
        return Done()

    def ended(
        self, obj: Mapping[str, Any], job: Job, state: JobState, error: JobError | None
    ) -> dict[str, Any]:
        return {"state": state.value}

    def closing(self, job: Job, error: JobError, now: float) -> tuple[Write, ...]:
        raise LookupError("a bound job writes its object's fields")

    def trouble(self, error: JobError) -> dict[str, Any]:
        return {}


class House:
    def __init__(self, seed: int = 5) -> None:
        self.loop = SimLoop(seed)
        self.store = MemStore(self.loop.time, {"thing": None})
        self.ran: list[tuple[UUID, str, str]] = []
        self.workers: dict[str, Worker] = {}
        self.processes: dict[str, Process] = {}
        self.verdicts: dict[str, asyncio.Task[str]] = {}

    def start(
        self, slot: str, limits: Sequence[JobLimit] = (), duties: Sequence[Duty] = ()
    ) -> None:
        clock = LoopClock(self.loop)
        spec = MemberSpec(
            id=uuid5(UUID(int=9), f"{slot}/{len(self.workers)}"),
            role="conductor",
            slot=slot,
            host=slot,
        )
        membership = Membership(self.store, spec, SETTINGS, clock)
        made: dict[str, Handler] = {"thing.count": Counting(self.ran)}
        worker = Worker(
            self.store,
            membership,
            lambda: made,
            SETTINGS,
            clock,
            Waker(),
            limits=limits,
            duties=duties,
        )
        process = Process(slot)
        self.workers[slot], self.processes[slot] = worker, process
        self.verdicts[slot] = self.loop.spawn(process, worker.run())

    async def jobs(self, count: int) -> list[UUID]:
        while not await self.store.groups():
            await asyncio.sleep(0.1)
        ids: list[UUID] = []
        for i in range(count):
            key = uuid5(UUID(int=1), str(i))
            self.store.add_object("thing", {"uuid": key})
            job = NewJob(id=self.loop.uuid(), kind="thing.count", object=ObjectRef("thing", key))
            await self.store.submit(Submission(job=job))
            ids.append(job.id)
        return ids

    def play(self, main: Coroutine[Any, Any, T]) -> T:
        try:
            return self.loop.run(main)
        finally:
            self.loop.close()

    async def ended(self) -> None:
        while self.store.tables.active:
            await asyncio.sleep(0.1)

    def owners(self) -> set[UUID | None]:
        return {claim.owner for claim in self.store.tables.shards[""]}

    def id_of(self, slot: str) -> UUID:
        return self.workers[slot].membership.member.id


def executed_once(house: House, jobs: list[UUID]) -> bool:
    return sorted((j, s) for j, s, _ in house.ran) == sorted(
        (j, f"s{i}") for j in jobs for i in range(STEPS)
    )


def test_a_killed_members_work_is_taken_over_within_a_lease_and_a_second_I6() -> None:
    house = House()

    async def main() -> tuple[list[UUID], float]:
        house.start("a")
        house.start("b")
        jobs = await house.jobs(12)
        await asyncio.sleep(5)
        assert len(house.owners()) == 2
        house.loop.crash(house.processes["a"])
        died = house.loop.time()
        while house.owners() != {house.id_of("b")}:
            await asyncio.sleep(0.05)
        took = house.loop.time() - died
        await house.ended()
        return jobs, took

    jobs, took = house.play(main())
    assert took <= SETTINGS.lease_s + 1.0
    states = [house.store.tables.jobs[j].state for j in jobs]
    assert states == [JobState.SUCCEEDED] * 12
    # The steps cut off in the middle were begun again; none was lost.
    assert {(j, s) for j, s, _ in house.ran} == {(j, f"s{i}") for j in jobs for i in range(STEPS)}


def test_an_obituary_hands_over_without_waiting_for_the_lease() -> None:
    house = House()

    async def main() -> float:
        house.start("a")
        house.start("b")
        await house.jobs(1)
        await asyncio.sleep(3)
        dead = house.workers["a"].membership.member
        house.loop.crash(house.processes["a"])
        died = house.loop.time()
        assert await house.store.end_lease(dead.id, dead.epoch, "obituary")
        while house.owners() != {house.id_of("b")}:
            await asyncio.sleep(0.01)
        return house.loop.time() - died

    assert house.play(main()) <= SETTINGS.tick_s + 0.1


def test_a_drained_member_leaves_at_step_boundaries_and_no_step_runs_twice() -> None:
    house = House()

    async def main() -> list[UUID]:
        house.start("a")
        house.start("b")
        jobs = await house.jobs(12)
        await asyncio.sleep(5)
        await house.store.request_drain(house.id_of("a"))
        assert await house.verdicts["a"] == "drained"
        await house.ended()
        return jobs

    jobs = house.play(main())
    assert executed_once(house, jobs)
    assert {slot for _, _, slot in house.ran} == {"a", "b"}
    gone = house.store.tables.members[house.id_of("a")]
    assert gone.gone_reason == "drained"


def test_the_last_member_drains_too_and_its_work_waits_for_the_next() -> None:
    house = House()

    async def main() -> list[UUID]:
        house.start("a")
        jobs = await house.jobs(3)
        await asyncio.sleep(3)
        house.workers["a"].membership.request_drain()
        assert await house.verdicts["a"] == "drained"
        assert house.store.tables.active
        house.start("b")
        await house.ended()
        return jobs

    assert executed_once(house, house.play(main()))


def test_a_joining_member_gets_its_share_without_a_step_running_twice_I5() -> None:
    house = House()

    async def main() -> list[UUID]:
        house.start("a")
        jobs = await house.jobs(16)
        await asyncio.sleep(3)
        house.start("b")
        await house.ended()
        return jobs

    jobs = house.play(main())
    assert executed_once(house, jobs)
    held = [c.owner for c in house.store.tables.shards[""]]
    assert sorted([held.count(house.id_of("a")), held.count(house.id_of("b"))]) == [8, 8]


def test_a_member_whose_lease_was_ended_stops_by_itself() -> None:
    house = House()

    async def main() -> str:
        house.start("a")
        await house.jobs(1)
        me = house.workers["a"].membership.member
        await house.store.end_lease(me.id, me.epoch, "judged dead")
        return await house.verdicts["a"]

    assert house.play(main()) == "lease_lost"


def test_a_limit_holds_per_member_and_nothing_is_lost_when_one_dies() -> None:
    house = House()
    limit = JobLimit(what="count", kinds=("thing.count",), running_max=2)
    most: dict[UUID | None, int] = {}

    async def watch() -> None:
        owner = {c.shard: c.owner for c in house.store.tables.shards[""]}
        under_way = [
            owner[house.store.tables.jobs[key].shard]
            for key in house.store.tables.active.values()
            if house.store.tables.jobs[key].run_epoch is not None
        ]
        for member in set(under_way):
            most[member] = max(most.get(member, 0), under_way.count(member))

    async def main() -> list[UUID]:
        house.start("a", [limit])
        house.start("b", [limit])
        jobs = await house.jobs(16)
        for tenths in range(200):
            await asyncio.sleep(0.1)
            await watch()
            if tenths == 100:
                assert set(most.values()) == {2}
                house.loop.crash(house.processes["a"])
        await house.ended()
        return jobs

    jobs = house.play(main())
    assert max(most.values()) <= 2 + 2  # the heir goes on with what the dead one had begun
    states = {house.store.tables.jobs[j].state for j in jobs}
    assert states == {JobState.SUCCEEDED}


def test_a_duty_lasts_as_long_as_the_tenure_and_hears_of_every_move() -> None:
    house = House()
    seen: list[int] = []
    ended: list[str] = []

    async def duty(tenure: Tenure) -> None:
        try:
            while True:
                if not seen or tenure.moves() != seen[-1]:
                    seen.append(tenure.moves())
                await asyncio.sleep(0.1)
        finally:
            ended.append(tenure.member.slot)

    async def main() -> None:
        house.start("a", duties=[duty])
        await house.jobs(1)
        await asyncio.sleep(3)
        alone = seen[-1]
        house.start("b")
        await asyncio.sleep(10)
        assert seen[-1] > alone
        house.workers["a"].membership.request_drain()
        assert await house.verdicts["a"] == "drained"
        await house.ended()

    house.play(main())
    assert ended == ["a"]


def test_a_duty_that_fails_ends_the_process_and_is_seen() -> None:
    house = House()

    async def duty(tenure: Tenure) -> None:
        await asyncio.sleep(2)
        raise ValueError("a bug")

    async def main() -> None:
        house.start("a", duties=[duty])
        await asyncio.sleep(4)
        assert isinstance(house.verdicts["a"].exception(), ValueError)

    house.play(main())
