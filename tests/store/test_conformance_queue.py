"""``store.port.QueueStore``: unbound jobs claimed, run, slept, cancelled, taken over."""

from __future__ import annotations

from uuid import uuid4

import pytest
from tests.store.lines import STEP, Line, ended, tiny
from tests.store.stores import LEASE_S, Bench, Scene

from holdfast.errors import ConflictError, FenceLostError, InvalidInputError, NotFoundError
from holdfast.store.model import Hold, JobState, StepEnd, StepSleep


@pytest.fixture
def line(bench: Bench) -> Line:
    return Line(bench)


# Enqueuing


async def test_an_unbound_job_is_there_as_it_was_enqueued(line: Line):
    new = tiny(args={"n": 1}, deadline_s=60.0, requested_by="alice in p1")
    assert await line.store.enqueue([new]) == 1
    job = await line.job(new.id)
    assert (job.kind, job.queue, job.args, job.requested_by) == (
        "tiny",
        "work",
        {"n": 1},
        "alice in p1",
    )
    assert (job.state, job.binding, job.owner, job.attempts) == (JobState.QUEUED, None, None, 0)
    assert job.deadline == pytest.approx(job.created_at + 60, abs=1)
    assert await line.store.jobs(queue="work", active=True) == [job]
    assert await line.store.jobs(queue="other") == []
    assert await line.store.jobs(bound=True) == []


async def test_to_enqueue_again_changes_nothing(line: Line):
    first, second = tiny(), tiny()
    assert await line.store.enqueue([first]) == 1
    assert await line.store.enqueue([first, second]) == 1
    assert await line.store.enqueue([first, second]) == 0
    assert len(await line.store.jobs()) == 2


async def test_the_id_of_another_job_is_refused(line: Line):
    job = tiny()
    await line.store.enqueue([job])
    with pytest.raises(ConflictError) as refused:
        await line.store.enqueue([tiny(id=job.id, kind="other")])
    assert refused.value.details["kind"] == "job_id"


async def test_what_cannot_be_is_refused_and_nothing_enqueued(line: Line):
    first, second = uuid4(), uuid4()
    circle = [tiny(id=first, after=(second,)), tiny(id=second, after_end=(first,))]
    twice = [tiny(id=first), tiny(id=first)]
    for wrong in (
        circle,
        twice,
        [tiny(queue="No!")],
        [tiny(shared=("",))],
        [tiny(exclusive=("a\0",))],
    ):
        with pytest.raises(InvalidInputError):
            await line.store.enqueue(wrong)
    with pytest.raises(NotFoundError):
        await line.store.enqueue([tiny(), tiny(after=(uuid4(),))])
    assert await line.store.jobs() == []


# Claiming


async def test_claims_come_in_the_order_of_the_line(line: Line):
    hold = await line.worker()
    batch = [tiny() for _ in range(5)]
    await line.store.enqueue(batch)
    await line.bench.pass_time(1)
    last = await line.put()
    assert await line.ids(hold, 2) == [job.id for job in batch[:2]]
    assert await line.ids(hold) == [*(job.id for job in batch[2:]), last]
    assert await line.ids(hold) == []


async def test_a_claim_begins_the_step(line: Line):
    hold = await line.worker()
    await line.put()
    held = await line.one(hold)
    job = held.job
    assert (job.state, job.step, job.attempt, job.step_open) == (JobState.RUNNING, STEP, 1, True)
    assert (job.owner, job.run_epoch, job.attempts) == (hold.owner, hold.epoch, 1)
    assert (held.hold, held.resumed) == (hold, False)
    assert await line.store.job(job.id) == job
    assert await line.store.held(hold) == {job.id: False}


async def test_only_known_kinds_of_the_own_queues_are_claimed(line: Line):
    hold = await line.worker()
    stranger, elsewhere = await line.put(kind="strange"), await line.put(queue="other")
    known = await line.put()
    assert await line.ids(hold) == [known]
    both = await line.store.claim(hold, {"work": 9, "other": 9}, {"tiny": STEP, "strange": "a"})
    assert {held.job.id: held.job.step for held in both} == {stranger: "a", elsewhere: STEP}


async def test_no_queue_gives_more_than_there_is_room_for(line: Line):
    hold = await line.worker()
    await line.store.enqueue([tiny(queue=queue) for queue in ("a", "b") * 4])
    found = await line.store.claim(hold, {"a": 1, "b": 3}, {"tiny": STEP})
    assert sorted(held.job.queue or "" for held in found) == ["a", "b", "b", "b"]


async def test_a_member_that_is_gone_claims_nothing(line: Line):
    hold = await line.worker()
    await line.put()
    await line.store.end_lease(hold.owner, hold.epoch, "killed")
    assert await line.claim(hold) == []


async def test_what_runs_here_is_handed_out_again_only_when_asked_for(line: Line):
    hold, other = await line.worker(), await line.worker("worker-2")
    job = await line.put()
    await line.claim(hold)
    assert await line.claim(hold) == []
    assert await line.claim(other, again=[job]) == []
    [held] = await line.claim(hold, again=[job, uuid4()])
    assert (held.job.id, held.resumed, held.job.attempt, held.job.attempts) == (job, True, 2, 1)


async def test_bound_and_unbound_jobs_do_not_mix(line: Line, bench: Bench):
    scene, hold = Scene(bench), await line.worker()
    owner = await scene.owner()
    bound = await scene.submit(await bench.add_node())
    unbound = await line.put()
    assert await line.ids(hold) == [unbound]
    assert [one.job.id for one in await scene.acquire(owner)] == [bound.id]
    assert [job.id for job in await line.store.jobs(bound=True, active=True)] == [bound.id]
    assert len(await line.store.jobs(active=True)) == 2


# Steps


async def test_many_ends_are_written_at_once(line: Line):
    hold = await line.worker()
    await line.store.enqueue([tiny() for _ in range(3)])
    first, second, third = await line.claim(hold)
    ends = [
        ended(first, result={"n": 1}, output=1, progress=(1, 1, "done")),
        ended(second, JobState.FAILED),
        (third.job.id, StepEnd(step=STEP, attempt=1, next_step="more", memo={"k": [1]})),
    ]
    assert await line.store.end_many(hold, ends) == {h.job.id for h in (first, second, third)}
    good, bad, more = [await line.job(h.job.id) for h in (first, second, third)]
    assert (good.state, good.result, good.progress_message) == (
        JobState.SUCCEEDED,
        {"n": 1},
        "done",
    )
    assert good.finished_at is not None
    assert bad.error is not None
    assert (bad.state, bad.error.code) == (JobState.FAILED, "broken")
    assert (more.state, more.step, more.attempt, more.memo) == (
        JobState.RUNNING,
        "more",
        0,
        {"k": [1]},
    )
    [record] = await line.store.journal(good.id)
    assert (record.step, record.output, record.member, record.epoch) == (
        STEP,
        1,
        hold.owner,
        hold.epoch,
    )
    assert await line.store.held(hold) == {more.id: False}


async def test_an_end_may_be_repeated_and_a_stale_one_writes_nothing(line: Line):
    hold = await line.worker()
    await line.put()
    held = await line.one(hold)
    job, end = ended(held)
    assert (
        await line.store.end_many(hold, [(job, StepEnd(step=STEP, attempt=9, next_step="x"))])
        == set()
    )
    await line.end(held)
    before = await line.job(job)
    assert await line.store.end_many(hold, [(job, end)]) == {job}
    assert await line.store.end_step(hold, job, end) == before
    assert await line.job(job) == before
    with pytest.raises(ConflictError):
        await line.store.end_step(hold, job, StepEnd(step=STEP, attempt=2, next_step="x"))


async def test_an_unbound_job_goes_through_its_steps(line: Line):
    hold = await line.worker()
    job = await line.put()
    await line.claim(hold)
    between = await line.store.end_step(hold, job, StepEnd(step=STEP, attempt=1, next_step="two"))
    assert (between.state, between.step_open) == (JobState.RUNNING, False)
    begun = await line.store.begin_step(hold, job, "two")
    assert (begun.step, begun.attempt, begun.step_open) == ("two", 1, True)
    with pytest.raises(ConflictError):
        await line.store.begin_step(hold, job, "three")
    await line.store.progress(hold, job, 1, 2, "half")
    assert (await line.job(job)).progress_message == "half"
    last = StepEnd(step="two", attempt=1, state=JobState.SUCCEEDED)
    assert (await line.store.end_step(hold, job, last)).state is JobState.SUCCEEDED
    assert [record.step for record in await line.store.journal(job)] == [STEP, "two"]


async def test_an_unbound_job_has_no_object_to_write_to(line: Line):
    hold = await line.worker()
    job = await line.put()
    await line.claim(hold)
    with pytest.raises(InvalidInputError):
        await line.store.end_step(
            hold, job, StepEnd(step=STEP, attempt=1, next_step="x", patch={"a": 1})
        )
    sleep = StepSleep(step=STEP, attempt=1, seen_seq=0, wake_in_s=1, patch={"a": 1})
    with pytest.raises(InvalidInputError):
        await line.store.sleep_step(hold, job, sleep)
    with pytest.raises(LookupError):
        _ = (await line.job(job)).object


def nap(seconds: float = 60.0, seen: int = 0) -> StepSleep:
    return StepSleep(step=STEP, attempt=1, seen_seq=seen, wake_in_s=seconds, memo={"asleep": True})


async def test_a_sleeping_job_holds_no_worker_and_wakes_in_time(line: Line):
    hold, other = await line.worker(), await line.worker("worker-2")
    job = await line.put()
    await line.claim(hold)
    slept = await line.store.sleep_step(hold, job, nap())
    assert (slept.state, slept.step_open) == (JobState.WAITING, False)
    assert slept == await line.store.sleep_step(hold, job, nap())
    assert await line.store.held(hold) == {}
    assert await line.claim(other) == []
    await line.bench.pass_time(61)
    held = await line.one(other)
    assert (held.job.id, held.resumed, held.job.attempt) == (job, False, 2)
    assert (held.job.memo, held.job.attempts) == ({"asleep": True}, 2)


async def test_a_signal_wakes_and_one_that_came_before_keeps_awake(line: Line):
    hold = await line.worker()
    job = await line.put()
    await line.claim(hold)
    assert await line.store.signal(job, "k", {"v": 1})
    kept = await line.store.sleep_step(hold, job, nap())
    assert (kept.state, kept.inbox) == (JobState.QUEUED, {"k": {"v": 1}})
    begun = await line.store.begin_step(hold, job, STEP)
    assert (begun.state, begun.attempt) == (JobState.RUNNING, 2)
    slept = await line.store.sleep_step(
        hold, job, StepSleep(step=STEP, attempt=2, seen_seq=1, wake_in_s=9)
    )
    assert slept.state is JobState.WAITING
    assert await line.store.signal(job, "k", 2)
    assert await line.ids(hold) == [job]


async def test_who_wakes_stands_in_line_from_then_on(line: Line):
    hold = await line.worker()
    sleeper = await line.put()
    await line.claim(hold)
    await line.store.sleep_step(hold, sleeper, nap(10.0))
    await line.bench.pass_time(5)
    before = await line.put()
    await line.bench.pass_time(10)
    after = await line.put()
    assert await line.ids(hold) == [before, sleeper, after]


async def test_a_job_sleeps_no_longer_than_to_its_deadline(line: Line):
    hold = await line.worker()
    job = await line.put(deadline_s=5.0)
    await line.claim(hold)
    await line.store.sleep_step(hold, job, nap(600.0))
    await line.bench.pass_time(6)
    assert await line.ids(hold) == [job]


# Members that go


async def test_the_jobs_of_a_member_that_is_gone_go_on_elsewhere(line: Line):
    hold, other = await line.worker(), await line.worker("worker-2")
    job = await line.put()
    held = await line.one(hold)
    assert await line.store.tend() == 0
    await line.bench.pass_time(LEASE_S * 5)
    assert await line.store.tend() == 0  # expired is not gone: only a reaper decides that
    await line.store.end_lease(hold.owner, hold.epoch, "killed")
    assert await line.claim(other) == []
    assert await line.store.tend() == 1
    taken = await line.one(other)
    assert (taken.job.id, taken.resumed, taken.job.attempts) == (job, True, 2)
    assert await line.store.end_many(hold, [ended(held)]) == set()
    for late in (
        line.store.begin_step(hold, job, STEP),
        line.store.end_step(hold, job, ended(held)[1]),
        line.store.sleep_step(hold, job, nap()),
        line.store.progress(hold, job, 1, 1, ""),
    ):
        with pytest.raises(FenceLostError):
            await late
    assert await line.job(job) == taken.job


async def test_what_is_let_go_goes_on_elsewhere(line: Line):
    hold, other = await line.worker(), await line.worker("worker-2")
    job = await line.put()
    held = await line.one(hold)
    await line.store.end_step(hold, job, StepEnd(step=STEP, attempt=1, next_step="two"))
    assert await line.store.release(other, [job]) == 0
    assert await line.store.release(hold, [job, uuid4()]) == 1
    assert await line.store.end_many(hold, [ended(held, attempt=2)]) == set()
    [taken] = await line.claim(other)
    assert (taken.job.step, taken.resumed, taken.job.attempts) == ("two", False, 2)
    assert await line.store.release(hold, [job]) == 0


async def test_a_member_marked_over_writes_nothing_even_before_its_jobs_are_taken(line: Line):
    hold = await line.worker()
    job = await line.put()
    held = await line.one(hold)
    await line.store.end_lease(hold.owner, hold.epoch, "judged dead")
    assert await line.store.end_many(hold, [ended(held)]) == set()
    with pytest.raises(FenceLostError):
        await line.store.end_step(hold, job, ended(held)[1])
    assert await line.states(job) == ["running"]


async def test_a_new_incarnation_does_not_have_the_old_ones_jobs(line: Line):
    hold = await line.worker()
    await line.put()
    held = await line.one(hold)
    imposter = Hold(hold.owner, hold.epoch + 1)
    assert await line.store.held(imposter) == {}
    assert await line.store.end_many(imposter, [ended(held)]) == set()


async def test_what_does_not_exist_is_not_found(line: Line):
    hold = await line.worker()
    for nothing in (
        line.store.begin_step(hold, uuid4(), STEP),
        line.store.sleep_step(hold, uuid4(), nap()),
        line.store.progress(hold, uuid4(), 1, 1, ""),
    ):
        with pytest.raises(NotFoundError):
            await nothing
    assert not await line.store.cancel(uuid4())
    assert not await line.store.signal(uuid4(), "k", 1)


# Cancelling, deadlines, keeping


async def test_a_job_that_nobody_began_is_cancelled_at_once(line: Line):
    hold = await line.worker()
    job = await line.put()
    assert await line.store.cancel(job)
    cancelled = await line.job(job)
    assert cancelled.error is not None
    assert (cancelled.state, cancelled.error.code) == (JobState.CANCELLED, "cancelled")
    assert not await line.store.cancel(job)
    assert await line.claim(hold) == []


async def test_a_running_job_is_told_of_its_cancellation(line: Line):
    hold = await line.worker()
    job = await line.put()
    await line.claim(hold)
    assert await line.store.cancel(job)
    assert await line.store.held(hold) == {job: True}
    assert (await line.job(job)).state is JobState.RUNNING


async def test_a_sleeping_job_wakes_for_its_cancellation(line: Line):
    hold = await line.worker()
    job = await line.put()
    await line.claim(hold)
    await line.store.sleep_step(hold, job, nap())
    assert await line.store.cancel(job)
    held = await line.one(hold)
    assert (held.job.id, held.job.cancel_requested) == (job, True)


async def test_jobs_that_ended_long_ago_are_deleted(line: Line):
    hold = await line.worker()
    await line.store.enqueue([tiny(), tiny(exclusive=("r",)), tiny(shared=("r",))])
    for held in await line.claim(hold):
        await line.end(held)
    [held] = await line.claim(hold)
    await line.end(held)
    await line.bench.pass_time(100)
    recent = await line.put()
    await line.end(await line.one(hold))
    waiting = await line.put()
    assert await line.store.purge_jobs(50.0, 2) == 2
    assert await line.store.purge_jobs(50.0, 2) == 1
    assert await line.store.purge_jobs(50.0, 2) == 0
    assert {job.id for job in await line.store.jobs()} == {recent, waiting}
