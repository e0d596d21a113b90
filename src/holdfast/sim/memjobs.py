"""The job half of ``sim.memstore``: ``store.port.JobStore`` in memory."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from math import inf
from typing import Any
from uuid import UUID

from msgspec.structs import replace

from holdfast.errors import ConflictError, InvalidInputError, NotFoundError
from holdfast.sim.memtables import JOBS, Document, Tables, as_json, copied, said, without_nul
from holdfast.store.model import (
    Binding,
    Fence,
    Hold,
    Job,
    JobError,
    JobLimit,
    JobState,
    Json,
    NewJob,
    ObjectRef,
    OwnedJob,
    StepEnd,
    StepRecord,
    StepSleep,
    Submission,
    kept_back_message,
)

PROGRESS_CHARS_MAX = 1_000
ERROR_CHARS_MAX = 8_000


def handed_out(job: Job) -> Job:
    """The job as a caller gets it: its documents are the caller's own copies."""
    if not (job.args or job.memo or job.inbox or job.result):
        return job
    return replace(
        job,
        args=copied(job.args),
        memo=copied(job.memo),
        inbox=copied(job.inbox),
        result=copied(job.result),
    )


class MemJobs:
    """Jobs in memory. Every method runs without giving way: that makes it a transaction."""

    def __init__(self, tables: Tables) -> None:
        self._t = tables

    # -- from outside -------------------------------------------------------------

    async def submit(self, submission: Submission) -> Job:
        new = submission.job
        self._t.check_fields(new.object.kind, submission.expect)
        known = self._t.jobs.get(new.id)
        if known is not None:
            if known.binding is None or (known.kind, known.object) != (new.kind, new.object):
                raise ConflictError(
                    f"the id {new.id} is that of another job ({known.kind}); choose a new one",
                    kind="job_id",
                    job=known.id,
                )
            return handed_out(known)
        document = self._t.document(new.object)
        _check_expectations(submission.expect, document)
        self._refuse_if_busy(new.object)
        job = self._new(new, document)
        self._t.tell_of(new.object, "job.submitted", said(job))
        self._t.patch(new.object, submission.patch, job=job)
        self._t.jobs[job.id] = job
        self._t.active[job.object.id] = job.id
        self._t.hint(JOBS)
        return handed_out(job)

    def _refuse_if_busy(self, obj: ObjectRef) -> None:
        active = self._t.active.get(obj.id)
        if active is not None:
            job = self._t.jobs[active]
            raise ConflictError(
                f"{obj.kind} {obj.id} is busy with {job.kind}; wait for it to end, or cancel it",
                kind="busy",
                job=job.id,
                job_kind=job.kind,
            )

    def _new(self, new: NewJob, document: dict[str, Json]) -> Job:
        now = self._t.clock()
        return Job(
            id=new.id,
            kind=new.kind,
            binding=Binding(new.object, document["grp"], document["shard"]),
            args=as_json(new.args),
            state=JobState.QUEUED,
            step=None,
            attempt=0,
            step_open=False,
            memo={},
            inbox={},
            signal_seq=0,
            wake_at=None,
            deadline=None if new.deadline_s is None else now + new.deadline_s,
            cancel_requested=False,
            run_epoch=None,
            progress_done=0,
            progress_total=0,
            progress_message="",
            result=None,
            error=None,
            requested_by=new.requested_by,
            created_at=now,
            updated_at=now,
            finished_at=None,
        )

    async def signal(self, job: UUID, key: str, payload: Json) -> bool:
        found = self._t.jobs.get(job)
        if found is None or found.state.ended:
            return False
        inbox = {**found.inbox, without_nul(key): as_json(payload)}
        self._wake(replace(found, inbox=inbox, signal_seq=found.signal_seq + 1))
        return True

    async def cancel(self, job: UUID) -> bool:
        found = self._t.jobs.get(job)
        if found is None or found.state.ended:
            return False
        if not found.cancel_requested:
            self._t.tell_of(
                found.object, "job.cancel_requested", {**said(found), "step": found.step}
            )
        self._wake(replace(found, cancel_requested=True, signal_seq=found.signal_seq + 1))
        return True

    def _wake(self, job: Job) -> None:
        state = JobState.QUEUED if job.state is JobState.WAITING else job.state
        self._t.jobs[job.id] = replace(job, state=state, wake_at=None, updated_at=self._t.clock())
        self._t.hint(JOBS)

    # -- by the owner -------------------------------------------------------------

    async def acquire(
        self,
        member: UUID,
        member_epoch: int,
        busy: Sequence[UUID],
        limit: int,
        limits: Sequence[JobLimit] = (),
    ) -> list[OwnedJob]:
        now = self._t.clock()
        if self._t.living(member, member_epoch) is None:
            return []
        found: list[OwnedJob] = []
        own = [
            (job, claim)
            for job in (self._t.jobs[key] for key in self._t.active.values())
            if (claim := self._t.claim(job.group, job.shard)) is not None
            and claim.owner == member
            and claim.incarnation == member_epoch
        ]
        own.sort(key=lambda pair: (pair[0].created_at, pair[0].id))
        admitted = _admitted([job for job, _ in own], limits)
        wanted = [
            (job, claim)
            for job, claim in own
            if (job.id in admitted or _wants_running(job, now)) and job.id not in busy
        ]
        limited = [kind for one in limits for kind in one.kinds]
        wanted = [(j, c) for j, c in wanted if not _unstarted(j, limited) or j.id in admitted]
        for job, claim in wanted[:limit]:
            taken = job.run_epoch != claim.epoch
            deadline = job.deadline
            if job.run_epoch is None and job.kind in limited and deadline is not None:
                deadline += now - job.created_at
            running = replace(
                job,
                state=JobState.RUNNING,
                wake_at=None,
                run_epoch=claim.epoch,
                attempts=job.attempts + 1 if taken else job.attempts,
                deadline=deadline,
                progress_message="" if job.kept_back else job.progress_message,
                updated_at=now,
            )
            self._t.jobs[job.id] = running
            fence = Fence(claim.group, claim.shard, member, claim.epoch)
            found.append(OwnedJob(job=handed_out(running), fence=fence, now=now))
        self._keep_back([job.id for job, _ in own], limits)
        return found

    def _keep_back(self, jobs: Sequence[UUID], limits: Sequence[JobLimit]) -> None:
        for limit in limits:
            said = kept_back_message(limit)
            for job in (self._t.jobs[key] for key in jobs):
                if _unstarted(job, limit.kinds) and job.wake_at is None:
                    self._t.jobs[job.id] = replace(job, wake_at=inf, progress_message=said)

    async def begin_step(self, fence: Fence | Hold, job: UUID, step: str) -> Job:
        found = self._covered(fence, job)
        # Only at the step it is at: a request long under way must not lead it back.
        beginnable = found.state in (JobState.QUEUED, JobState.RUNNING)
        if not beginnable or found.step not in (None, step):
            raise ConflictError(
                f"job {job} is {found.state}; no step of it can begin", kind="ended", job=job
            )
        taken = found.run_epoch != fence.epoch
        begun = replace(
            found,
            state=JobState.RUNNING,
            step=step,
            attempt=found.attempt + 1 if found.step == step else 1,
            step_open=True,
            wake_at=None,
            run_epoch=fence.epoch,
            attempts=found.attempts + 1 if taken else found.attempts,
        )
        return self._write(begun)

    async def end_step(self, fence: Fence | Hold, job: UUID, end: StepEnd) -> Job:
        if (end.next_step is None) is not end.state.ended:
            raise InvalidInputError("a step leads either to a next step or to the job's end")
        found = self._covered(fence, job)
        if not self._in_hand(found, fence, end.step, end.attempt):
            if self._was_recorded(fence, job, end):
                return handed_out(found)  # this very end, again
            raise not_in_hand(found, end.step, end.attempt)
        ended = end.next_step is None
        if ended:
            error = bounded_error(end.error)
            self._t.tell_of(
                found.object,
                "job.ended",
                {"error": None if error is None else error.message, **said(found)},
                member=(fence.owner, fence.epoch),
                result=str(end.state),
                actor=found.requested_by or None,
            )
        self._t.patch(found.object, end.patch, member=(fence.owner, fence.epoch), job=found)
        self._record(fence, job, end)
        done = replace(
            found,
            state=end.state,
            step=end.next_step or found.step,
            attempt=end.attempt if ended else 0,
            step_open=False,
            wake_at=None,
            memo=as_json(end.memo),
            result=as_json(end.result),
            error=bounded_error(end.error),
            finished_at=self._t.clock() if ended else None,
            **shown(end.progress),
        )
        if ended:
            del self._t.active[done.object.id]
        return self._write(done)

    def _was_recorded(self, fence: Fence | Hold, job: UUID, end: StepEnd) -> bool:
        last = self._t.steps.get(job, [])[-1:]
        written = (end.step, end.attempt, fence.owner, fence.epoch)
        return [(r.step, r.attempt, r.member, r.epoch) for r in last] == [written]

    def _record(self, fence: Fence | Hold, job: UUID, end: StepEnd) -> None:
        journal = self._t.steps.setdefault(job, [])
        record = StepRecord(
            job=job,
            ordinal=len(journal) + 1,
            step=end.step,
            attempt=end.attempt,
            member=fence.owner,
            epoch=fence.epoch,
            output=as_json(end.output),
            finished_at=self._t.clock(),
        )
        journal.append(record)

    async def sleep_step(self, fence: Fence | Hold, job: UUID, sleep: StepSleep) -> Job:
        found = self._covered(fence, job)
        if not self._in_hand(found, fence, sleep.step, sleep.attempt):
            asleep = (found.step, found.attempt, found.step_open, found.run_epoch)
            if not found.state.ended and asleep == (sleep.step, sleep.attempt, False, fence.epoch):
                return handed_out(found)
            raise not_in_hand(found, sleep.step, sleep.attempt)
        self._t.check_writes(sleep.writes)
        if found.binding is not None:
            self._t.patch(found.object, sleep.patch, member=(fence.owner, fence.epoch), job=found)
        self._t.write(sleep.writes)
        now = self._t.clock()
        signalled = found.signal_seq > sleep.seen_seq
        wake_at = now + sleep.wake_in_s
        if found.deadline is not None and found.deadline > now:
            wake_at = min(wake_at, found.deadline)
        asleep = replace(
            found,
            state=JobState.QUEUED if signalled else JobState.WAITING,
            step_open=False,
            wake_at=None if signalled else wake_at,
            memo=as_json(sleep.memo),
            **shown(sleep.progress),
        )
        return self._write(asleep)

    async def progress(
        self, fence: Fence | Hold, job: UUID, done: int, total: int, message: str
    ) -> None:
        found = self._covered(fence, job)
        if found.state is not JobState.RUNNING or found.run_epoch != fence.epoch:
            raise ConflictError(
                f"job {job} is {found.state} and not run under epoch {fence.epoch}",
                kind="step",
                job=job,
            )
        self._write(replace(found, **shown((done, total, message))))

    def _covered(self, fence: Fence | Hold, job: UUID) -> Job:
        """The job, if the fence holds and covers it."""
        found, bound = self._found(job), self._found(job).binding
        if isinstance(fence, Hold):
            self._t.check_hold(fence, found)
        elif bound is None or (bound.group, bound.shard) != (fence.group, fence.shard):
            raise self._t.lost(fence)
        else:
            self._t.check(fence)
        return found

    def _found(self, job: UUID) -> Job:
        found = self._t.jobs.get(job)
        if found is None:
            raise NotFoundError(f"job {job} does not exist", id=job)
        return found

    @staticmethod
    def _in_hand(job: Job, fence: Fence | Hold, step: str, attempt: int) -> bool:
        """Begun under this very fence, and neither ended nor asleep."""
        return (
            job.state is JobState.RUNNING
            and job.run_epoch == fence.epoch
            and job.step_open
            and (job.step, job.attempt) == (step, attempt)
        )

    def _write(self, job: Job) -> Job:
        written = replace(job, updated_at=self._t.clock())
        self._t.jobs[job.id] = written
        return handed_out(written)

    # -- reads --------------------------------------------------------------------

    async def job(self, job: UUID) -> Job | None:
        found = self._t.jobs.get(job)
        return None if found is None else handed_out(found)

    async def active_job(self, obj: ObjectRef) -> Job | None:
        busy = self._t.active.get(obj.id)
        return None if busy is None else handed_out(self._t.jobs[busy])

    async def jobs(
        self,
        *,
        obj: ObjectRef | None = None,
        queue: str | None = None,
        bound: bool = False,
        active: bool = False,
        limit: int = 100,
    ) -> list[Job]:
        found = [
            job
            for job in reversed(self._t.jobs.values())
            if (obj is None or (job.binding is not None and job.object == obj))
            and queue in (None, job.queue)
            and not (bound and job.binding is None)
            and not (active and job.state.ended)
        ]
        found.sort(key=lambda job: (job.created_at, job.id), reverse=True)
        return [handed_out(job) for job in found[:limit]]

    async def journal(self, job: UUID) -> list[StepRecord]:
        return [
            replace(record, output=copied(record.output)) for record in self._t.steps.get(job, [])
        ]


def _wants_running(job: Job, now: float) -> bool:
    return job.wake_at <= now if job.wake_at is not None else job.state is not JobState.WAITING


def _unstarted(job: Job, kinds: Collection[str]) -> bool:
    fresh = job.state is JobState.QUEUED and job.run_epoch is None
    return fresh and job.kind in kinds and not job.cancel_requested


def _admitted(own: Sequence[Job], limits: Sequence[JobLimit]) -> set[UUID]:
    """Which of an owner's jobs, by age, may start under its limits."""
    admitted: set[UUID] = set()
    for limit in limits:
        under_way = sum(job.kind in limit.kinds and job.run_epoch is not None for job in own)
        fresh = [job.id for job in own if _unstarted(job, limit.kinds)]
        admitted.update(fresh[: max(0, limit.running_max - under_way)])
    return admitted


def _check_expectations(expect: Mapping[str, tuple[Json, ...]], document: Document) -> None:
    for field, allowed in expect.items():
        actual = document.get(field)
        if actual not in allowed:
            choices = ", ".join(repr(value) for value in allowed)
            raise ConflictError(
                f"{field} is {actual!r}; this needs it to be {choices}",
                kind="state",
                field=field,
                actual=actual,
                allowed=allowed,
            )


def bounded_error(error: JobError | None) -> JobError | None:
    """An error as it is stored."""
    if error is None:
        return None
    return JobError(code=error.code, message=without_nul(error.message)[:ERROR_CHARS_MAX])


def shown(progress: tuple[int, int, str] | None) -> dict[str, Any]:
    """The fields of a job that show its progress."""
    if progress is None:
        return {}
    done, total, message = progress
    text = without_nul(message)[:PROGRESS_CHARS_MAX]
    return {"progress_done": done, "progress_total": total, "progress_message": text}


def not_in_hand(job: Job, step: str, attempt: int) -> ConflictError:
    """What to raise for the end of an attempt that is not the one in hand."""
    return ConflictError(
        f"attempt {attempt} of step {step!r} is not in hand: job {job.id} is {job.state} "
        f"at step {job.step!r}, attempt {job.attempt}; read it again",
        kind="step",
        job=job.id,
        state=str(job.state),
        step=job.step,
        attempt=job.attempt,
    )
