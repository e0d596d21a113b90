"""Limits that queue: ``store.port.JobStore.acquire`` with ``limits``, on both stores."""

from __future__ import annotations

from math import inf
from typing import Any
from uuid import UUID

import pytest
from tests.store.stores import Scene

from holdfast.store.model import Job, JobLimit, JobState, Member, OwnedJob, StepEnd, StepSleep

DEPLOY = JobLimit(what="deployment", kinds=("node.deploy",), running_max=2)
CLEAN = JobLimit(what="cleaning", kinds=("node.provide", "node.undeploy"), running_max=1)
LIMITS = (DEPLOY, CLEAN)


async def submit(scene: Scene, count: int, kind: str = "node.deploy", **job: Any) -> list[Job]:
    jobs: list[Job] = []
    for _ in range(count):
        jobs.append(await scene.submit(await scene.bench.add_node(), kind, **job))
        await scene.bench.pass_time(0.001)
    return jobs


async def acquire(scene: Scene, owner: Member, *busy: UUID, limit: int = 100) -> list[OwnedJob]:
    return await scene.store.acquire(owner.id, owner.epoch, busy, limit, LIMITS)


async def end(scene: Scene, owned: OwnedJob) -> None:
    begun = await scene.store.begin_step(owned.fence, owned.job.id, "only")
    done = StepEnd(step="only", attempt=begun.attempt, state=JobState.SUCCEEDED)
    await scene.store.end_step(owned.fence, owned.job.id, done)


def ids(jobs: list[Job]) -> list[UUID]:
    return [job.id for job in jobs]


async def test_jobs_beyond_a_limit_wait_in_their_order_and_none_fails(scene: Scene):
    owner = await scene.owner()
    jobs = await submit(scene, 5)
    started: list[UUID] = []
    running: list[OwnedJob] = []
    while len(started) < 5:
        running += (new := await acquire(scene, owner, *(one.job.id for one in running)))
        started += [one.job.id for one in new]
        assert len(running) <= 2
        await end(scene, running.pop(0))
    assert started == ids(jobs)


async def test_a_job_that_is_kept_back_says_why(scene: Scene):
    owner = await scene.owner()
    jobs = await submit(scene, 3)
    assert [one.job.id for one in await acquire(scene, owner)] == ids(jobs)[:2]
    waiting = await scene.store.job(jobs[2].id)
    assert waiting is not None
    assert (waiting.state, waiting.kept_back, waiting.wake_at) == (JobState.QUEUED, True, inf)
    assert "2 deployments" in waiting.progress_message
    first = await scene.store.job(jobs[0].id)
    assert first is not None
    assert not first.kept_back


async def test_a_limit_counts_sleeping_jobs_and_holds_up_no_other_kind(scene: Scene):
    owner = await scene.owner()
    await submit(scene, 2)
    for owned in await acquire(scene, owner):
        begun = await scene.store.begin_step(owned.fence, owned.job.id, "wait")
        sleep = StepSleep(step="wait", attempt=begun.attempt, seen_seq=0, wake_in_s=60.0)
        await scene.store.sleep_step(owned.fence, owned.job.id, sleep)
    await submit(scene, 1)
    power = await submit(scene, 1, "node.power")
    assert [one.job.id for one in await acquire(scene, owner)] == ids(power)


async def test_several_kinds_share_one_limit(scene: Scene):
    owner = await scene.owner()
    first = await submit(scene, 1, "node.undeploy")
    second = await submit(scene, 1, "node.provide")
    [owned] = await acquire(scene, owner)
    assert owned.job.id == first[0].id
    await end(scene, owned)
    assert [one.job.id for one in await acquire(scene, owner)] == ids(second)


async def test_a_job_that_finds_no_room_is_asked_for_again(scene: Scene):
    owner = await scene.owner()
    jobs = await submit(scene, 3)
    [first] = await acquire(scene, owner, limit=1)
    [second] = await acquire(scene, owner, first.job.id, limit=1)
    assert [first.job.id, second.job.id] == ids(jobs)[:2]
    assert await acquire(scene, owner, first.job.id, second.job.id) == []


async def test_a_cancelled_job_waits_for_no_place(scene: Scene):
    owner = await scene.owner()
    jobs = await submit(scene, 3)
    running = [one.job.id for one in await acquire(scene, owner)]
    await scene.store.cancel(jobs[2].id)
    [cancelled] = await acquire(scene, owner, *running)
    assert (cancelled.job.id, cancelled.job.cancel_requested) == (jobs[2].id, True)


async def test_a_signal_does_not_help_a_job_past_its_limit(scene: Scene):
    owner = await scene.owner()
    jobs = await submit(scene, 3)
    running = [one.job.id for one in await acquire(scene, owner)]
    await scene.store.signal(jobs[2].id, "heartbeat", {})
    assert await acquire(scene, owner, *running) == []
    waiting = await scene.store.job(jobs[2].id)
    assert waiting is not None
    assert waiting.kept_back


async def test_the_deadline_of_a_limited_job_begins_with_its_start(scene: Scene):
    owner = await scene.owner()
    await submit(scene, 3, deadline_s=60.0)
    first, second = await acquire(scene, owner)
    await scene.bench.pass_time(1000.0)
    await end(scene, first)
    [third] = await acquire(scene, owner, second.job.id)
    assert third.job.deadline == pytest.approx(third.now + 60, abs=2)


async def test_a_new_owner_goes_on_with_all_that_was_started(scene: Scene):
    owner = await scene.owner()
    jobs = await submit(scene, 4)
    assert len(await acquire(scene, owner)) == 2
    other = await scene.pass_on(owner)
    assert [one.job.id for one in await acquire(scene, other)] == ids(jobs)[:2]


async def test_a_limit_that_was_raised_lets_more_go_on(scene: Scene):
    owner = await scene.owner()
    jobs = await submit(scene, 4)
    busy = [one.job.id for one in await acquire(scene, owner)]
    more = JobLimit(what="deployment", kinds=("node.deploy",), running_max=3)
    found = await scene.store.acquire(owner.id, owner.epoch, busy, 100, [more])
    assert [one.job.id for one in found] == [jobs[2].id]
