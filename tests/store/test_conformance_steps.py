"""The steps of a job as its owner writes them, on both stores: fenced, all or nothing."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest
from tests.store.stores import Scene, fence_of

from holdfast.errors import (
    ConflictError,
    FenceLostError,
    HoldfastError,
    InvalidInputError,
    NotFoundError,
)
from holdfast.store.model import Fence, JobError, JobState, ObjectRef, StepEnd, StepSleep

SLEEP = StepSleep(step="first", attempt=1, seen_seq=0, wake_in_s=30.0)
NEXT = StepEnd(step="first", attempt=1, next_step="second")
LAST = StepEnd(step="first", attempt=1, state=JobState.SUCCEEDED)


async def refused(scene: Scene, fence: Fence, job: UUID, error: type[HoldfastError]) -> None:
    """Every write of a step is refused with that error, and changes nothing."""
    before = await scene.store.job(job)
    with pytest.raises(error):
        await scene.store.begin_step(fence, job, "first")
    with pytest.raises(error):
        await scene.store.end_step(fence, job, NEXT)
    with pytest.raises(error):
        await scene.store.sleep_step(fence, job, SLEEP)
    with pytest.raises(error):
        await scene.store.progress(fence, job, 1, 2, "never")
    assert await scene.store.job(job) == before


# Beginning


async def test_every_begin_counts(scene: Scene):
    owner = await scene.owner()
    owned = await scene.running(owner)
    for attempt in (1, 2):
        job = await scene.store.begin_step(owned.fence, owned.job.id, "first")
        assert (job.state, job.step, job.attempt) == (JobState.RUNNING, "first", attempt)
        assert job.step_open
        assert job.run_epoch == owned.fence.epoch
        assert job.attempts == 1


async def test_a_step_other_than_the_one_it_is_at_cannot_begin(scene: Scene):
    owner = await scene.owner()
    owned = await scene.begun(owner)
    await scene.store.end_step(owned.fence, owned.job.id, NEXT)
    with pytest.raises(ConflictError):
        await scene.store.begin_step(owned.fence, owned.job.id, "first")
    job = await scene.store.begin_step(owned.fence, owned.job.id, "second")
    assert (job.step, job.attempt) == ("second", 1)


async def test_a_waiting_job_cannot_begin_but_a_woken_one_can(scene: Scene):
    owner = await scene.owner()
    owned = await scene.begun(owner)
    await scene.store.sleep_step(owned.fence, owned.job.id, SLEEP)
    with pytest.raises(ConflictError):
        await scene.store.begin_step(owned.fence, owned.job.id, "first")
    await scene.store.signal(owned.job.id, "k", 1)
    job = await scene.store.begin_step(owned.fence, owned.job.id, "first")
    assert (job.state, job.attempt, job.wake_at) == (JobState.RUNNING, 2, None)


# Ending


async def test_a_completed_step_is_journalled_and_leads_on(scene: Scene):
    owner = await scene.owner()
    owned = await scene.begun(owner)
    end = StepEnd(
        step="first",
        attempt=1,
        output={"found": [1, "two"]},
        patch={"power_state": "power on", "last_error": None},
        memo={"kept": True},
        next_step="second",
        progress=(1, 3, "first done"),
    )
    job = await scene.store.end_step(owned.fence, owned.job.id, end)
    assert (job.state, job.step, job.attempt) == (JobState.RUNNING, "second", 0)
    assert not job.step_open
    assert job.memo == {"kept": True}
    assert (job.progress_done, job.progress_total, job.progress_message) == (1, 3, "first done")
    assert job.finished_at is None
    assert await scene.store.job(job.id) == job
    assert await scene.field(job.object, "power_state") == "power on"
    [record] = await scene.store.journal(job.id)
    assert (record.job, record.ordinal, record.step, record.attempt) == (job.id, 1, "first", 1)
    assert (record.member, record.epoch) == (owner.id, owned.fence.epoch)
    assert record.output == {"found": [1, "two"]}


async def test_the_last_step_ends_the_job(scene: Scene):
    owner = await scene.owner()
    owned = await scene.begun(owner)
    await scene.store.end_step(owned.fence, owned.job.id, NEXT)
    await scene.store.begin_step(owned.fence, owned.job.id, "second")
    end = StepEnd(
        step="second",
        attempt=1,
        state=JobState.FAILED,
        result={"a": 1},
        error=JobError(code="bmc_refused", message="no\0pe"),
        patch={"last_error": "no\0pe"},
    )
    job = await scene.store.end_step(owned.fence, owned.job.id, end)
    assert (job.state, job.step, job.step_open) == (JobState.FAILED, "second", False)
    assert job.result == {"a": 1}
    assert job.error == JobError(code="bmc_refused", message="no\ufffdpe")
    assert job.finished_at is not None
    assert await scene.field(job.object, "last_error") == "no\ufffdpe"
    assert [r.step for r in await scene.store.journal(job.id)] == ["first", "second"]
    assert [r.ordinal for r in await scene.store.journal(job.id)] == [1, 2]
    assert await scene.acquire(owner) == []


async def test_a_repeated_end_changes_nothing_and_returns_the_job(scene: Scene):
    owner = await scene.owner()
    for end in (NEXT, LAST):
        owned = await scene.begun(owner)
        first = await scene.store.end_step(owned.fence, owned.job.id, end)
        assert await scene.store.end_step(owned.fence, owned.job.id, end) == first
        assert len(await scene.store.journal(owned.job.id)) == 1


async def test_only_the_attempt_in_hand_can_end_or_sleep(scene: Scene):
    owner = await scene.owner()
    owned = await scene.begun(owner)
    fence, job = owned.fence, owned.job.id
    await scene.store.begin_step(fence, job, "first")  # attempt 2 is the one in hand
    with pytest.raises(ConflictError):
        await scene.store.end_step(fence, job, NEXT)
    with pytest.raises(ConflictError):
        await scene.store.sleep_step(fence, job, SLEEP)
    wrong = StepEnd(step="second", attempt=2, next_step="third", patch={"last_error": "never"})
    with pytest.raises(ConflictError):
        await scene.store.end_step(fence, job, wrong)
    assert await scene.field(owned.job.object, "last_error") is None
    assert await scene.store.journal(job) == []


async def test_a_step_that_sleeps_cannot_end(scene: Scene):
    owner = await scene.owner()
    owned = await scene.begun(owner)
    await scene.store.sleep_step(owned.fence, owned.job.id, SLEEP)
    with pytest.raises(ConflictError):
        await scene.store.end_step(owned.fence, owned.job.id, NEXT)


async def test_the_end_of_an_earlier_step_cannot_come_back(scene: Scene):
    owner = await scene.owner()
    owned = await scene.begun(owner)
    await scene.store.end_step(owned.fence, owned.job.id, NEXT)
    await scene.store.begin_step(owned.fence, owned.job.id, "second")
    done = StepEnd(step="second", attempt=1, next_step="third")
    await scene.store.end_step(owned.fence, owned.job.id, done)
    with pytest.raises(ConflictError):
        await scene.store.end_step(owned.fence, owned.job.id, NEXT)


async def test_an_end_must_lead_somewhere(scene: Scene):
    owner = await scene.owner()
    owned = await scene.begun(owner)
    for end in (
        StepEnd(step="first", attempt=1),
        StepEnd(step="first", attempt=1, next_step="second", state=JobState.SUCCEEDED),
    ):
        with pytest.raises(InvalidInputError):
            await scene.store.end_step(owned.fence, owned.job.id, end)


async def test_a_patch_that_cannot_be_written_leaves_everything_as_it_was(scene: Scene):
    owner = await scene.owner()
    owned = await scene.begun(owner)
    before = await scene.store.job(owned.job.id)
    end = StepEnd(step="first", attempt=1, next_step="second", patch={"nothing": 1})
    with pytest.raises(InvalidInputError):
        await scene.store.end_step(owned.fence, owned.job.id, end)
    assert await scene.store.job(owned.job.id) == before
    assert await scene.store.journal(owned.job.id) == []


# Sleeping


async def test_a_sleeping_step_waits_and_holds_nothing(scene: Scene):
    owner = await scene.owner()
    owned = await scene.begun(owner)
    sleep = StepSleep(
        step="first",
        attempt=1,
        seen_seq=0,
        wake_in_s=30.0,
        memo={"n": 1},
        patch={"power_state": "rebooting"},
        progress=(0, 2, "waiting"),
    )
    job = await scene.store.sleep_step(owned.fence, owned.job.id, sleep)
    assert (job.state, job.step, job.attempt) == (JobState.WAITING, "first", 1)
    assert not job.step_open
    assert job.wake_at == pytest.approx(owned.now + 30, abs=5)
    assert job.memo == {"n": 1}
    assert job.progress_message == "waiting"
    assert await scene.field(job.object, "power_state") == "rebooting"
    assert await scene.store.journal(job.id) == []


async def test_a_signal_between_reading_and_sleeping_keeps_it_awake(scene: Scene):
    owner = await scene.owner()
    owned = await scene.begun(owner)
    await scene.store.signal(owned.job.id, "heartbeat", {})
    job = await scene.store.sleep_step(owned.fence, owned.job.id, SLEEP)
    assert (job.state, job.wake_at, job.step_open) == (JobState.QUEUED, None, False)
    assert len(await scene.acquire(owner)) == 1


async def test_a_signal_that_was_seen_does_not_keep_it_awake(scene: Scene):
    owner = await scene.owner()
    owned = await scene.begun(owner)
    await scene.store.signal(owned.job.id, "heartbeat", {})
    sleep = StepSleep(step="first", attempt=1, seen_seq=1, wake_in_s=30.0)
    job = await scene.store.sleep_step(owned.fence, owned.job.id, sleep)
    assert job.state is JobState.WAITING


async def test_a_repeated_sleep_changes_nothing_and_returns_the_job(scene: Scene):
    owner = await scene.owner()
    owned = await scene.begun(owner)
    first = await scene.store.sleep_step(owned.fence, owned.job.id, SLEEP)
    assert await scene.store.sleep_step(owned.fence, owned.job.id, SLEEP) == first


async def test_a_sleep_ends_at_the_deadline_but_clean_up_may_sleep_after_it(scene: Scene):
    owner = await scene.owner()
    owned = await scene.running(owner, deadline_s=10.0)
    await scene.store.begin_step(owned.fence, owned.job.id, "first")
    job = await scene.store.sleep_step(owned.fence, owned.job.id, SLEEP)
    assert job.wake_at == job.deadline
    await scene.bench.pass_time(11)
    [woken] = await scene.acquire(owner)
    await scene.store.begin_step(woken.fence, woken.job.id, "first")
    sleep = StepSleep(step="first", attempt=2, seen_seq=0, wake_in_s=30.0)
    job = await scene.store.sleep_step(woken.fence, woken.job.id, sleep)
    assert job.wake_at is not None
    assert job.wake_at == pytest.approx(woken.now + 30, abs=5)
    assert await scene.acquire(owner) == []


# Progress


async def test_progress_is_shown(scene: Scene):
    owner = await scene.owner()
    owned = await scene.begun(owner)
    await scene.store.progress(owned.fence, owned.job.id, 3, 9, "writing\0" + "x" * 5_000)
    job = await scene.store.job(owned.job.id)
    assert job is not None
    assert (job.progress_done, job.progress_total) == (3, 9)
    assert job.progress_message == "writing\ufffd" + "x" * 992
    assert job.step_open


# The fence


async def test_after_a_takeover_the_old_owner_writes_nothing(scene: Scene):
    owner = await scene.owner()
    owned = await scene.begun(owner)
    await scene.pass_on(owner)
    await refused(scene, owned.fence, owned.job.id, FenceLostError)


async def test_after_a_hand_over_the_old_owner_writes_nothing_though_it_lives(scene: Scene):
    owner = await scene.owner()
    owned = await scene.begun(owner)
    other = await scene.member("conductor-2")
    await scene.store.hand_over([owned.fence], other.id, other.epoch)
    await refused(scene, owned.fence, owned.job.id, FenceLostError)


async def test_an_owner_that_was_marked_over_writes_nothing_before_any_takeover(scene: Scene):
    owner = await scene.owner()
    owned = await scene.begun(owner)
    await scene.store.end_lease(owner.id, owner.epoch, "killed")
    await refused(scene, owned.fence, owned.job.id, FenceLostError)
    await scene.member(again=owner.id)  # nor does its next incarnation revive the claim
    await refused(scene, owned.fence, owned.job.id, FenceLostError)


async def test_the_claim_of_another_shard_is_no_fence(scene: Scene):
    owner = await scene.owner()
    owned = await scene.begun(owner)
    claims = await scene.store.claims("")
    other = fence_of(claims[(owned.job.shard + 1) % 4])
    await refused(scene, other, owned.job.id, FenceLostError)


async def test_a_new_owner_must_begin_before_it_can_end(scene: Scene):
    owner = await scene.owner()
    await scene.begun(owner)
    other = await scene.pass_on(owner)
    [taken] = await scene.acquire(other)
    with pytest.raises(ConflictError):
        await scene.store.end_step(taken.fence, taken.job.id, NEXT_OF_ANOTHER)
    job = await scene.store.begin_step(taken.fence, taken.job.id, "first")
    assert job.attempt == 2


NEXT_OF_ANOTHER = StepEnd(step="first", attempt=2, next_step="second")


async def test_an_ended_job_takes_no_step(scene: Scene):
    owner = await scene.owner()
    owned = await scene.begun(owner)
    await scene.store.end_step(owned.fence, owned.job.id, LAST)
    before = await scene.store.job(owned.job.id)
    with pytest.raises(ConflictError):
        await scene.store.begin_step(owned.fence, owned.job.id, "first")
    with pytest.raises(ConflictError):
        await scene.store.sleep_step(owned.fence, owned.job.id, SLEEP)
    with pytest.raises(ConflictError):
        await scene.store.progress(owned.fence, owned.job.id, 1, 2, "never")
    assert await scene.store.job(owned.job.id) == before


async def test_there_is_no_step_of_an_unknown_job(scene: Scene):
    owner = await scene.owner()
    owned = await scene.begun(owner)
    job = uuid4()
    with pytest.raises(NotFoundError):
        await scene.store.begin_step(owned.fence, job, "first")
    with pytest.raises(NotFoundError):
        await scene.store.end_step(owned.fence, job, NEXT)
    with pytest.raises(NotFoundError):
        await scene.store.sleep_step(owned.fence, job, SLEEP)
    assert await scene.store.get_object(ObjectRef("node", job)) is None
