"""Workers of queues: batches, crashes in the middle of one, cancellation, drain."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID, uuid5

import pytest
from tests.core.queues import SETTINGS, House, Kind

from holdfast.core.jobs import Done, Fail, Outcome, Sleep, StepContext
from holdfast.errors import StoreUnavailableError
from holdfast.sim.memstore import MemStore
from holdfast.store.model import JobState, QueuedJob, StepEnd

GOOD, BAD, OFF = JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED


class Ran:
    """Which step of which job was run to its end, by whom, and from when to when."""

    def __init__(self, step_s: float = 1.0) -> None:
        self.step_s = step_s
        self.begun: list[tuple[UUID, str]] = []
        self.ended: list[tuple[UUID, str, str]] = []
        self.resumed: list[UUID] = []

    async def step(self, ctx: StepContext) -> Outcome:
        self.begun.append((ctx.job.id, str(ctx.job.step)))
        if ctx.resumed:
            self.resumed.append(ctx.job.id)
        await asyncio.sleep(self.step_s)
        ctx.guard()
        self.ended.append((ctx.job.id, str(ctx.job.step), ctx.member.slot))
        return Done(output={"by": ctx.member.slot})


def test_tiny_jobs_are_claimed_and_ended_in_batches():
    calls: list[tuple[str, int]] = []

    class Counted:
        def __init__(self, store: MemStore) -> None:
            self._store = store

        def __getattr__(self, name: str) -> Any:
            return getattr(self._store, name)

        async def claim(self, *args: Any) -> Any:
            found = await self._store.claim(*args)
            calls.append(("claim", len(found)))
            return found

        async def end_many(self, hold: Any, ends: Any) -> Any:
            calls.append(("end", len(ends)))
            await asyncio.sleep(0.01)
            return await self._store.end_many(hold, ends)

    async def nothing(ctx: StepContext) -> Outcome:
        return Done(output=ctx.args["n"])

    house = House(Kind("tiny", nothing), room=50, store_of=Counted)

    async def main() -> list[UUID]:
        jobs = await house.put("tiny", 500, args={"n": 7})
        house.start("a")
        await house.ended()
        return jobs

    jobs = house.play(main())
    assert house.states(jobs) == {GOOD}
    assert house.job(jobs[0]).result == 7
    assert len([size for what, size in calls if what == "end"]) <= 20
    assert len([size for what, size in calls if what == "claim" and size]) <= 12


def test_jobs_of_several_steps_go_through_the_same_runner():
    ran = Ran()

    async def naps(ctx: StepContext) -> Outcome:
        if "napped" not in ctx.memo:
            return Sleep(seconds=5.0, memo={"napped": True}, progress="napping")
        return Done(output="well rested")

    async def fails(_: StepContext) -> Outcome:
        return Fail(code="no_good", message="it is no good")

    house = House(
        Kind("long", ran.step, naps), Kind("bad", ran.step, fails, cleanup=(ran.step,)), room=2
    )

    async def main() -> tuple[list[UUID], list[UUID], float]:
        house.start("a")
        started = house.loop.time()
        long, bad = await house.put("long", 2), await house.put("bad", 2)
        await house.ended()
        return long, bad, house.loop.time() - started

    long, bad, took_s = house.play(main())
    assert house.states(long) == {GOOD}
    assert house.job(long[0]).result == "well rested"
    assert house.states(bad) == {BAD}
    error = house.job(bad[0]).error
    assert error is not None
    assert error.code == "no_good"
    assert (bad[0], "c0", "a") in ran.ended
    assert took_s < 10  # whoever sleeps makes room


def test_a_worker_killed_in_the_middle_of_a_batch_loses_nothing():
    ran = Ran()
    house = House(Kind("tiny", ran.step), room=10)

    async def main() -> tuple[list[UUID], float]:
        house.start("a")
        house.start("b")
        jobs = await house.put("tiny", 60)
        await asyncio.sleep(2.5)
        house.loop.crash(house.processes["a"])
        killed = house.loop.time()
        await house.ended()
        return jobs, house.loop.time() - killed

    jobs, took_s = house.play(main())
    assert house.states(jobs) == {GOOD}
    cut_off = {job for job in jobs if house.job(job).attempts == 2}
    assert 0 < len(cut_off) <= 10
    assert set(ran.resumed) == cut_off
    ended = [job for job, _, _ in ran.ended]
    assert {job for job in jobs if ended.count(job) != 1} <= cut_off
    assert took_s < SETTINGS.lease_s + 1 + 4


def test_an_obituary_moves_a_dead_workers_jobs_within_a_tick():
    ran = Ran()
    house = House(Kind("tiny", ran.step), room=10)

    async def main() -> float:
        house.start("a")
        [job] = await house.put("tiny")
        await asyncio.sleep(1.2)
        house.start("b")
        await asyncio.sleep(0.1)
        house.loop.crash(house.processes["a"])
        dead = house.workers["a"].membership.member
        if not house.job(job).state.ended:
            await house.store.end_lease(dead.id, dead.epoch, "obituary")
        died = house.loop.time()
        while len(ran.begun) < 2 and not house.job(job).state.ended:
            await asyncio.sleep(0.01)
        return house.loop.time() - died

    assert house.play(main()) <= SETTINGS.tick_s + 0.1


def test_a_paused_worker_that_wakes_after_its_lease_writes_nothing():
    ran = Ran(step_s=2.0)
    house = House(Kind("tiny", ran.step), room=10)

    async def main() -> list[UUID]:
        house.start("a")
        jobs = await house.put("tiny", 5)
        await asyncio.sleep(1.0)
        house.start("b")
        house.loop.pause(house.processes["a"])
        await asyncio.sleep(SETTINGS.lease_s * 2)
        house.loop.resume(house.processes["a"])
        assert await house.verdicts["a"] == "lease_lost"
        await house.ended()
        return jobs

    jobs = house.play(main())
    assert house.states(jobs) == {GOOD}
    assert {slot for _, _, slot in ran.ended} == {"b"}
    assert len(ran.ended) == 5


@pytest.mark.parametrize("lost", ["claim", "end_many"])
def test_a_lost_answer_delays_and_loses_nothing(lost: str):
    ran = Ran(step_s=0.1)
    answers = {"lost": 3}

    class Deaf:
        """Every so often an answer does not come, although the work is done."""

        def __init__(self, store: MemStore) -> None:
            self._store = store

        def __getattr__(self, name: str) -> Any:
            method = getattr(self._store, name)
            if name != lost:
                return method

            async def deaf(*args: Any) -> Any:
                found = await method(*args)
                if found and answers["lost"]:
                    answers["lost"] -= 1
                    raise StoreUnavailableError("no answer")
                return found

            return deaf

    house = House(Kind("tiny", ran.step), room=5, store_of=Deaf)

    async def main() -> list[UUID]:
        house.start("a")
        jobs = await house.put("tiny", 30)
        await house.ended()
        return jobs

    jobs = house.play(main())
    assert answers["lost"] == 0
    assert house.states(jobs) == {GOOD}
    if lost == "claim":
        assert ran.resumed  # begun by the claim that nobody heard of
    assert {job for job, _, _ in ran.ended} == set(jobs)


def test_a_running_job_is_cancelled_within_a_second_and_cleans_up():
    seen: list[str] = []

    async def endless(_: StepContext) -> Outcome:
        try:
            await asyncio.sleep(1e6)
        finally:
            seen.append("stopped")
        raise AssertionError

    async def tidy(ctx: StepContext) -> Outcome:
        await asyncio.sleep(2)  # clean-up is not cut short itself
        seen.append("cleaned")
        return Done()

    house = House(Kind("endless", endless, cleanup=(tidy,), timeout_s=1e9))

    async def main() -> tuple[UUID, float]:
        house.start("a")
        [job] = await house.put("endless")
        await asyncio.sleep(3)
        await house.store.cancel(job)
        asked = house.loop.time()
        while not seen:
            await asyncio.sleep(0.01)
        took_s = house.loop.time() - asked
        await house.ended()
        return job, took_s

    job, took_s = house.play(main())
    assert took_s <= 1.0
    assert seen == ["stopped", "cleaned"]
    assert house.job(job).state is OFF


def test_a_deadline_cuts_a_running_job_short():
    async def endless(_: StepContext) -> Outcome:
        await asyncio.sleep(1e6)
        raise AssertionError

    house = House(Kind("endless", endless, timeout_s=1e9))

    async def main() -> tuple[UUID, float]:
        house.start("a")
        [job] = await house.put("endless", deadline_s=5.0)
        await house.ended()
        return job, house.loop.time()

    job, took_s = house.play(main())
    error = house.job(job).error
    assert error is not None
    assert (house.job(job).state, error.code) == (BAD, "deadline")
    assert took_s < 6.5


def test_a_steps_own_time_limit_is_tried_again_and_not_a_deadline():
    ran: list[int] = []

    async def slow_at_first(ctx: StepContext) -> Outcome:
        ran.append(ctx.job.attempt)
        await asyncio.sleep(100.0 if len(ran) == 1 else 0.1)
        return Done()

    house = House(Kind("slow", slow_at_first, timeout_s=1.0))

    async def main() -> list[UUID]:
        house.start("a")
        jobs = await house.put("slow", deadline_s=60.0)
        await house.ended()
        return jobs

    assert house.states(house.play(main())) == {GOOD}
    assert len(ran) == 2


def test_an_end_that_cannot_be_stored_fails_its_job_and_holds_up_no_other():
    async def odd(ctx: StepContext) -> Outcome:
        return Done(output=object() if ctx.args["odd"] else "fine")

    async def patching(_: StepContext) -> Outcome:
        return Done(patch={"power_state": "on"})

    house = House(Kind("odd", odd), Kind("patching", patching), room=20)

    async def main() -> tuple[list[UUID], ...]:
        fine = await house.put("odd", 5, args={"odd": False})
        wrong = await house.put("odd", 2, args={"odd": True})
        wrong += await house.put("patching")
        fine += await house.put("odd", 5, args={"odd": False})
        house.start("a")
        await house.ended()
        return fine, wrong

    fine, wrong = house.play(main())
    assert house.states(fine) == {GOOD}
    assert house.states(wrong) == {BAD}


def test_a_drained_worker_stops_at_a_step_boundary_and_others_go_on_at_once():
    ran = Ran(step_s=1.0)
    house = House(Kind("long", *[ran.step] * 6), room=3)

    async def main() -> list[UUID]:
        house.start("a")
        jobs = await house.put("long", 3)
        await asyncio.sleep(2.5)
        house.start("b")
        house.workers["a"].membership.request_drain()
        asked = house.loop.time()
        assert await house.verdicts["a"] == "drained"
        assert house.loop.time() - asked <= 2.0
        await house.ended()
        return jobs

    jobs = house.play(main())
    assert house.states(jobs) == {GOOD}
    assert ran.resumed == []
    assert sorted((job, step) for job, step, _ in ran.ended) == sorted(
        (job, f"s{i}") for job in jobs for i in range(6)
    )
    assert {slot for _, _, slot in ran.ended} == {"a", "b"}


def test_what_has_stopped_goes_on_while_another_step_still_holds_up_the_drain():
    ran = Ran(step_s=1.0)

    async def slow(_: StepContext) -> Outcome:
        await asyncio.sleep(20)
        return Done()

    house = House(Kind("long", *[ran.step] * 6), Kind("slow", slow), room=3)

    async def main() -> float:
        house.start("a")
        [long] = await house.put("long")
        await house.put("slow")
        await asyncio.sleep(1.5)
        house.start("b")
        house.workers["a"].membership.request_drain()
        while not house.job(long).state.ended:
            await asyncio.sleep(0.1)
        ended = house.loop.time()
        assert not house.verdicts["a"].done()
        assert await house.verdicts["a"] == "drained"
        return ended

    assert house.play(main()) < 12


def test_handlers_enqueue_children_and_a_resource_is_free_after_all_of_them():
    order: list[str] = []

    async def parent(ctx: StepContext) -> Outcome:
        jobs = [
            QueuedJob(
                id=uuid5(ctx.job.id, str(n)), kind="child", queue="work", exclusive=("stack",)
            )
            for n in range(3)
        ]
        await house.store.enqueue(jobs, parent=ctx.job.id)
        order.append("parent")
        return Done()

    async def child(_: StepContext) -> Outcome:
        await asyncio.sleep(1)
        order.append("child")
        return Done()

    async def after(_: StepContext) -> Outcome:
        order.append("after")
        return Done()

    house = House(Kind("parent", parent), Kind("child", child), Kind("after", after))

    async def main() -> None:
        house.start("a")
        await house.put("parent", exclusive=("stack",))
        await house.put("after", exclusive=("stack",))
        await house.ended()

    house.play(main())
    assert order == ["parent", "child", "child", "child", "after"]


def test_the_end_of_a_job_that_was_taken_over_is_abandoned_without_a_word():
    ran = Ran(step_s=1.0)
    house = House(Kind("tiny", ran.step))

    async def main() -> UUID:
        house.start("a")
        [job] = await house.put("tiny")
        await asyncio.sleep(0.8)
        hold = house.workers["a"].runner
        assert hold is not None
        end = StepEnd(step="s0", attempt=1, state=BAD)
        assert await house.store.end_many(hold.hold, [(job, end)]) == {job}
        await asyncio.sleep(3)
        return job

    assert house.job(house.play(main())).state is BAD
