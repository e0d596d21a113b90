"""What the stores forget, and what they keep because something still names it."""

from __future__ import annotations

import pytest
from tests.store.lines import Line
from tests.store.stores import Bench, Scene

from holdfast.store.model import Job, JobState, Member, StepEnd

DAY_S = 86_400.0


@pytest.fixture
def line(bench: Bench) -> Line:
    return Line(bench)


async def ended(scene: Scene, owner: Member) -> Job:
    begun = await scene.begun(owner)
    end = StepEnd(step="first", attempt=begun.job.attempt, state=JobState.SUCCEEDED)
    return await scene.store.end_step(begun.fence, begun.job.id, end)


async def test_bound_jobs_that_ended_long_ago_are_deleted_with_their_journal(scene: Scene):
    owner = await scene.owner()
    old = [await ended(scene, owner) for _ in range(3)]
    waiting = await scene.running(owner)
    await scene.bench.pass_time(8 * DAY_S)
    recent = await ended(scene, owner)
    assert await scene.store.purge_bound_jobs(7 * DAY_S, 2) == 2
    assert await scene.store.purge_bound_jobs(7 * DAY_S, 2) == 1
    assert await scene.store.purge_bound_jobs(7 * DAY_S, 2) == 0
    assert {job.id for job in await scene.store.jobs()} == {recent.id, waiting.job.id}
    assert await scene.store.journal(old[0].id) == []
    assert len(await scene.store.journal(recent.id)) == 1


async def test_a_bound_job_is_kept_until_those_that_wait_for_it_know_its_end(line: Line):
    scene = Scene(line.bench)
    owner = await scene.owner()
    begun = await scene.begun(owner)
    follower = await line.put(after=(begun.job.id,))
    end = StepEnd(step="first", attempt=begun.job.attempt, state=JobState.SUCCEEDED)
    await scene.store.end_step(begun.fence, begun.job.id, end)
    await scene.bench.pass_time(100)
    hold = await line.worker()
    assert await scene.store.purge_bound_jobs(50.0, 10) == 0
    await scene.store.tend()
    assert await line.ids(hold) == [follower]
    await scene.store.purge_bound_jobs(50.0, 10)
    assert await scene.store.job(begun.job.id) is None
    assert [job.id for job in await scene.store.jobs()] == [follower]


async def test_unbound_jobs_are_not_among_them(line: Line):
    await line.put()
    await line.end(await line.one(await line.worker()))
    await line.bench.pass_time(100)
    assert await line.store.purge_bound_jobs(50.0, 10) == 0


async def test_members_that_went_long_ago_are_deleted(scene: Scene):
    old = [await scene.member(f"c{n}") for n in range(3)]
    living = await scene.member("living")
    for member in old:
        await scene.store.end_lease(member.id, member.epoch, "stopped")
    await scene.bench.pass_time(2 * DAY_S)
    assert await scene.store.renew(living.id, living.epoch, 10.0) is not None
    recent = await scene.member("recent")
    await scene.store.end_lease(recent.id, recent.epoch, "stopped")
    assert await scene.store.purge_members(DAY_S, 2) == 2
    assert await scene.store.purge_members(DAY_S, 2) == 1
    assert await scene.store.purge_members(DAY_S, 2) == 0
    assert {m.id for m in await scene.store.members(gone=True)} == {living.id, recent.id}
    again = await scene.member("c0", again=old[0].id)
    assert again.epoch > recent.epoch


async def test_a_member_whose_lease_ran_out_but_was_never_judged_is_kept(scene: Scene):
    member = await scene.member()
    await scene.bench.pass_time(2 * DAY_S)
    assert await scene.store.purge_members(DAY_S, 10) == 0
    assert await scene.store.renew(member.id, member.epoch, 10.0) is not None


async def test_a_member_is_kept_for_as_long_as_a_claim_names_it(scene: Scene):
    first = await scene.owner("first")
    await scene.store.end_lease(first.id, first.epoch, "killed")
    await scene.bench.pass_time(2 * DAY_S)
    assert await scene.store.purge_members(DAY_S, 10) == 0  # nobody took its shards
    second = await scene.pass_on(first, "second")
    assert await scene.store.purge_members(DAY_S, 10) == 0  # it is whom they came from
    await scene.pass_on(second, "third")
    assert await scene.store.purge_members(DAY_S, 10) == 1
    assert first.id not in {m.id for m in await scene.store.members(gone=True)}


async def test_a_member_is_kept_for_as_long_as_a_job_is_held_under_it(line: Line):
    hold = await line.worker()
    job = await line.put()
    [held] = await line.claim(hold)
    await line.store.end_lease(hold.owner, hold.epoch, "killed")
    await line.bench.pass_time(2 * DAY_S)
    assert await line.store.purge_members(DAY_S, 10) == 0
    await line.store.tend()
    assert held.job.id == job
    assert await line.store.purge_members(DAY_S, 10) == 1
    assert await line.ids(await line.worker("worker-2")) == [job]
