"""``store.port.JobStore`` from outside the steps: submit, acquire, signal, cancel, read."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest
from tests.store.stores import LEASE_S, Scene, fence_of

from holdfast.errors import ConflictError, InvalidInputError, NotFoundError
from holdfast.store.model import Job, JobState, NewJob, ObjectRef, StepEnd, StepSleep, Submission


def deploy(node: ObjectRef, **submission: object) -> Submission:
    job = NewJob(id=uuid4(), kind="node.deploy", object=node, requested_by="alice")
    return Submission(**{"job": job, **submission})


# Submitting


async def test_a_submission_writes_the_intent_and_its_job(scene: Scene):
    await scene.store.ensure_shards("", 4)
    node = await scene.bench.add_node(provision_state="available")
    new = NewJob(
        id=uuid4(),
        kind="node.deploy",
        object=node,
        args={"image": {"url": "http://x"}},
        deadline_s=60.0,
        requested_by="alice in p1",
    )
    job = await scene.store.submit(
        Submission(
            job=new,
            expect={"provision_state": ("available", "error"), "target_provision_state": (None,)},
            patch={"target_provision_state": "active", "last_error": None},
        )
    )
    assert (job.id, job.kind, job.object, job.args) == (new.id, new.kind, node, new.args)
    assert (job.state, job.step, job.attempt, job.step_open) == (JobState.QUEUED, None, 0, False)
    assert (job.group, job.shard) == ("", await scene.field(node, "shard"))
    assert (job.memo, job.inbox, job.attempts, job.run_epoch) == ({}, {}, 0, None)
    assert job.requested_by == "alice in p1"
    assert job.deadline == pytest.approx(job.created_at + 60, abs=1)
    assert await scene.field(node, "target_provision_state") == "active"
    assert await scene.store.job(job.id) == job
    assert await scene.store.active_job(node) == job


async def test_a_repeated_submission_returns_the_job_it_made(scene: Scene):
    await scene.store.ensure_shards("", 4)
    node = await scene.bench.add_node(provision_state="available")
    submission = deploy(
        node, expect={"provision_state": ("available",)}, patch={"provision_state": "deploying"}
    )
    first = await scene.store.submit(submission)
    assert await scene.store.submit(submission) == first
    assert len(await scene.store.jobs()) == 1


async def test_a_repeated_submission_returns_its_job_even_once_that_has_ended(scene: Scene):
    owner = await scene.owner()
    node = await scene.bench.add_node()
    submission = deploy(node)
    await scene.store.submit(submission)
    [owned] = await scene.acquire(owner)
    await scene.store.begin_step(owned.fence, owned.job.id, "one")
    end = StepEnd(step="one", attempt=1, state=JobState.SUCCEEDED)
    ended = await scene.store.end_step(owned.fence, owned.job.id, end)
    assert await scene.store.submit(submission) == ended


async def test_an_object_in_another_state_than_expected_is_a_conflict(scene: Scene):
    await scene.store.ensure_shards("", 4)
    node = await scene.bench.add_node(provision_state="enroll")
    submission = deploy(
        node,
        expect={"provision_state": ("available", "active")},
        patch={"target_provision_state": "active"},
    )
    with pytest.raises(ConflictError) as refused:
        await scene.store.submit(submission)
    assert refused.value.details == {
        "kind": "state",
        "field": "provision_state",
        "actual": "enroll",
        "allowed": ("available", "active"),
    }
    assert await scene.store.jobs() == []
    assert await scene.field(node, "target_provision_state") is None


async def test_a_busy_object_is_a_conflict_that_names_the_job(scene: Scene):
    await scene.store.ensure_shards("", 4)
    node = await scene.bench.add_node()
    first = await scene.submit(node, "node.verify")
    with pytest.raises(ConflictError) as refused:
        await scene.store.submit(deploy(node, patch={"last_error": "never"}))
    assert refused.value.details == {"kind": "busy", "job": first.id, "job_kind": "node.verify"}
    assert await scene.field(node, "last_error") is None


async def test_the_state_is_judged_before_the_reservation(scene: Scene):
    await scene.store.ensure_shards("", 4)
    node = await scene.bench.add_node(provision_state="enroll")
    await scene.submit(node)
    with pytest.raises(ConflictError) as refused:
        await scene.store.submit(deploy(node, expect={"provision_state": ("available",)}))
    assert refused.value.details["kind"] == "state"


async def test_an_object_is_free_again_once_its_job_has_ended(scene: Scene):
    owner = await scene.owner()
    owned = await scene.begun(owner)
    end = StepEnd(step="first", attempt=1, state=JobState.FAILED)
    await scene.store.end_step(owned.fence, owned.job.id, end)
    assert await scene.store.active_job(owned.job.object) is None
    second = await scene.submit(owned.job.object)
    assert await scene.store.active_job(owned.job.object) == second


async def test_a_job_for_what_does_not_exist_is_refused(scene: Scene):
    await scene.store.ensure_shards("", 4)
    with pytest.raises(NotFoundError):
        await scene.store.submit(deploy(ObjectRef("node", uuid4())))
    with pytest.raises(InvalidInputError):
        await scene.store.submit(deploy(ObjectRef("teapot", uuid4())))
    node = await scene.bench.add_node()
    for wrong in ({"expect": {"nothing": (1,)}}, {"patch": {"nothing": 1}}):
        with pytest.raises(InvalidInputError):
            await scene.store.submit(deploy(node, **wrong))
    assert await scene.store.jobs() == []


async def test_the_id_of_another_job_is_refused(scene: Scene):
    await scene.store.ensure_shards("", 4)
    first = await scene.submit(await scene.bench.add_node())
    with pytest.raises(ConflictError) as refused:
        await scene.submit(await scene.bench.add_node(), id=first.id)
    assert refused.value.details["kind"] == "job_id"


# Acquiring


async def three_jobs(scene: Scene) -> list[Job]:
    """Jobs of three nodes, submitted one after the other."""
    jobs: list[Job] = []
    for _ in range(3):
        await scene.bench.pass_time(0.001)
        jobs.append(await scene.submit(await scene.bench.add_node()))
    return jobs


async def test_the_owner_acquires_its_queued_jobs_oldest_first(scene: Scene):
    owner = await scene.owner()
    jobs = await three_jobs(scene)
    claims = await scene.store.claims("")
    owned = await scene.acquire(owner)
    assert [one.job.id for one in owned] == [job.id for job in jobs]
    for one in owned:
        assert one.fence == fence_of(claims[one.job.shard])
        assert (one.job.state, one.job.run_epoch) == (JobState.RUNNING, one.fence.epoch)
        assert one.job.attempts == 1
        assert one.now == pytest.approx(one.job.created_at, abs=5)
        assert await scene.store.job(one.job.id) == one.job


async def test_no_more_are_acquired_than_asked_for(scene: Scene):
    owner = await scene.owner()
    jobs = await three_jobs(scene)
    first = await scene.store.acquire(owner.id, owner.epoch, [], 2)
    busy = [one.job.id for one in first]
    rest = await scene.store.acquire(owner.id, owner.epoch, busy, 2)
    assert [one.job.id for one in first + rest] == [job.id for job in jobs]


async def test_nobody_but_the_living_owner_acquires(scene: Scene):
    owner = await scene.owner()
    await scene.submit(await scene.bench.add_node())
    other = await scene.member("conductor-2")
    assert await scene.acquire(other) == []
    assert await scene.store.acquire(owner.id, owner.epoch + 1, [], 9) == []
    await scene.store.end_lease(owner.id, owner.epoch, "killed")
    assert await scene.acquire(owner) == []


async def test_a_draining_or_expired_owner_still_acquires(scene: Scene):
    owner = await scene.owner()
    await scene.submit(await scene.bench.add_node())
    await scene.store.mark_draining(owner.id, owner.epoch)
    await scene.bench.pass_time(LEASE_S * 5)
    assert len(await scene.acquire(owner)) == 1


async def test_what_runs_here_already_is_not_acquired_again(scene: Scene):
    owner = await scene.owner()
    owned = await scene.running(owner)
    assert await scene.acquire(owner, owned.job.id) == []


async def test_what_was_acquired_by_an_answer_that_got_lost_is_acquired_again(scene: Scene):
    owner = await scene.owner()
    owned = await scene.running(owner)
    [again] = await scene.acquire(owner)
    assert again.job.id == owned.job.id
    assert again.job.attempts == 1  # the same claim


async def test_a_new_owner_acquires_what_ran_under_the_old_claim(scene: Scene):
    owner = await scene.owner()
    owned = await scene.begun(owner)
    other = await scene.pass_on(owner)
    [taken] = await scene.acquire(other)
    assert taken.job.id == owned.job.id
    assert taken.job.step_open  # begun, end unknown
    assert (taken.job.step, taken.job.attempt) == ("first", 1)
    assert taken.job.attempts == 2
    assert taken.job.run_epoch == taken.fence.epoch > owned.fence.epoch


async def test_a_waiting_job_is_acquired_when_its_time_has_come(scene: Scene):
    owner = await scene.owner()
    owned = await scene.begun(owner)
    sleep = StepSleep(step="first", attempt=1, seen_seq=0, wake_in_s=30.0)
    await scene.store.sleep_step(owned.fence, owned.job.id, sleep)
    await scene.bench.pass_time(29)
    assert await scene.acquire(owner) == []
    await scene.bench.pass_time(2)
    [woken] = await scene.acquire(owner)
    assert (woken.job.state, woken.job.wake_at) == (JobState.RUNNING, None)
    assert woken.job.attempts == 1


async def test_a_waiting_job_waits_on_under_a_new_owner(scene: Scene):
    owner = await scene.owner()
    owned = await scene.begun(owner)
    sleep = StepSleep(step="first", attempt=1, seen_seq=0, wake_in_s=30.0)
    await scene.store.sleep_step(owned.fence, owned.job.id, sleep)
    other = await scene.pass_on(owner)
    assert await scene.acquire(other) == []
    await scene.bench.pass_time(31)
    [woken] = await scene.acquire(other)
    assert woken.job.attempts == 2


# Signals and cancellation


async def test_a_signal_is_kept_by_key_and_wakes_a_waiting_job(scene: Scene):
    owner = await scene.owner()
    owned = await scene.begun(owner)
    sleep = StepSleep(step="first", attempt=1, seen_seq=0, wake_in_s=3600.0)
    await scene.store.sleep_step(owned.fence, owned.job.id, sleep)
    assert await scene.store.signal(owned.job.id, "heartbeat", {"n": 1})
    assert await scene.store.signal(owned.job.id, "heartbeat", {"n": 2, "odd": "a\0b"})
    assert await scene.store.signal(owned.job.id, "lookup", None)
    [woken] = await scene.acquire(owner)
    assert woken.job.inbox == {"heartbeat": {"n": 2, "odd": "a\ufffdb"}, "lookup": None}
    assert woken.job.signal_seq == 3


async def test_a_signal_leaves_a_running_or_queued_job_as_it_is(scene: Scene):
    owner = await scene.owner()
    queued = await scene.submit(await scene.bench.add_node())
    await scene.store.signal(queued.id, "k", 1)
    assert await scene.state(queued.id) is JobState.QUEUED
    await scene.acquire(owner)
    await scene.store.signal(queued.id, "k", 2)
    assert await scene.state(queued.id) is JobState.RUNNING


async def test_cancelling_wakes_the_job_and_is_seen_by_its_owner(scene: Scene):
    owner = await scene.owner()
    owned = await scene.begun(owner)
    sleep = StepSleep(step="first", attempt=1, seen_seq=0, wake_in_s=3600.0)
    await scene.store.sleep_step(owned.fence, owned.job.id, sleep)
    assert await scene.store.cancel(owned.job.id)
    [woken] = await scene.acquire(owner)
    assert woken.job.cancel_requested


async def test_the_clean_up_of_a_cancelled_job_can_sleep(scene: Scene):
    owner = await scene.owner()
    owned = await scene.begun(owner)
    await scene.store.cancel(owned.job.id)
    job = await scene.store.begin_step(owned.fence, owned.job.id, "first")
    sleep = StepSleep(step="first", attempt=2, seen_seq=job.signal_seq, wake_in_s=30.0)
    asleep = await scene.store.sleep_step(owned.fence, owned.job.id, sleep)
    assert asleep.state is JobState.WAITING
    assert await scene.acquire(owner) == []


async def test_an_ended_or_unknown_job_takes_no_signal(scene: Scene):
    owner = await scene.owner()
    owned = await scene.begun(owner)
    end = StepEnd(step="first", attempt=1, state=JobState.SUCCEEDED)
    ended = await scene.store.end_step(owned.fence, owned.job.id, end)
    assert not await scene.store.signal(ended.id, "heartbeat", {})
    assert not await scene.store.cancel(ended.id)
    assert await scene.store.job(ended.id) == ended
    assert not await scene.store.signal(uuid4(), "heartbeat", {})
    assert not await scene.store.cancel(uuid4())
    assert await scene.acquire(owner) == []


# Reading


async def test_jobs_come_newest_first(scene: Scene):
    owner = await scene.owner()
    ended = await scene.begun(owner)
    end = StepEnd(step="first", attempt=1, state=JobState.SUCCEEDED)
    await scene.store.end_step(ended.fence, ended.job.id, end)
    await scene.bench.pass_time(1)
    node = await scene.bench.add_node()
    middle = await scene.submit(node)
    await scene.bench.pass_time(1)
    last = await scene.submit(ended.job.object)

    async def ids(**which: Any) -> list[UUID]:
        return [job.id for job in await scene.store.jobs(**which)]

    assert await ids() == [last.id, middle.id, ended.job.id]
    assert await ids(limit=1) == [last.id]
    assert await ids(active=True) == [last.id, middle.id]
    assert await ids(obj=node) == [middle.id]
    assert await ids(obj=ended.job.object) == [last.id, ended.job.id]
    assert await ids(obj=ended.job.object, active=True) == [last.id]
    assert await scene.store.job(uuid4()) is None
    assert await scene.store.active_job(ObjectRef("node", uuid4())) is None
