"""The unbound half of ``sim.memjobs``: ``store.port.QueueStore`` in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from uuid import UUID

from msgspec.structs import replace

from holdfast.errors import InvalidInputError
from holdfast.sim.memgraph import MemGraph
from holdfast.sim.memjobs import MemJobs, bounded_error, handed_out, not_in_hand, shown
from holdfast.sim.memtables import Tables, as_json
from holdfast.store.events import told
from holdfast.store.model import (
    Fence,
    HeldJob,
    Hold,
    Job,
    JobError,
    JobState,
    StepEnd,
    StepSleep,
)

CLAIMABLE = (JobState.QUEUED, JobState.WAITING)


class MemQueue(MemGraph, MemJobs):
    """All jobs in memory, bound and unbound."""

    def __init__(self, tables: Tables) -> None:
        MemGraph.__init__(self, tables)
        MemJobs.__init__(self, tables)

    # -- by who runs them ---------------------------------------------------------

    async def claim(
        self,
        hold: Hold,
        room: Mapping[str, int],
        first_steps: Mapping[str, str],
        again: Collection[UUID] = (),
    ) -> list[HeldJob]:
        if self._t.living(hold.owner, hold.epoch) is None:
            return []
        now = self._t.clock()
        line = sorted(
            (job for job in self._t.jobs.values() if job.queue is not None),
            key=lambda job: self._t.nodes[job.id].line,
        )
        places = Counter(room)
        found: list[Job] = []
        for job in line:
            due = job.state in CLAIMABLE and self._t.nodes[job.id].line[0] <= now
            if job.kind not in first_steps or job.queue is None:
                continue
            if due and places[job.queue] > 0:
                places[job.queue] -= 1
                found.append(job)
            elif job.id in again and self._runs_under(hold, job):
                found.append(job)
        return [self._claim(job, hold, first_steps[job.kind], now) for job in found]

    def _claim(self, job: Job, hold: Hold, first: str, now: float) -> HeldJob:
        same = (job.owner, job.run_epoch) == (hold.owner, hold.epoch)
        claimed = replace(
            job,
            state=JobState.RUNNING,
            owner=hold.owner,
            run_epoch=hold.epoch,
            wake_at=None,
            step=job.step or first,
            attempt=job.attempt + 1,
            step_open=True,
            attempts=job.attempts if same else job.attempts + 1,
            updated_at=now,
        )
        self._t.jobs[job.id] = claimed
        return HeldJob(job=handed_out(claimed), hold=hold, now=now, resumed=job.step_open)

    @staticmethod
    def _runs_under(hold: Hold, job: Job) -> bool:
        mine = (job.owner, job.run_epoch) == (hold.owner, hold.epoch)
        return mine and job.queue is not None and job.state is JobState.RUNNING

    async def held(self, hold: Hold) -> dict[UUID, bool]:
        jobs = (job for job in self._t.jobs.values() if self._runs_under(hold, job))
        return {job.id: job.cancel_requested for job in jobs}

    async def release(self, hold: Hold, jobs: Collection[UUID]) -> int:
        living = self._t.living(hold.owner, hold.epoch) is not None
        found = [self._t.jobs[job] for job in jobs if job in self._t.jobs and living]
        mine = [job for job in found if self._runs_under(hold, job)]
        for job in mine:
            self._t.jobs[job.id] = replace(job, state=JobState.QUEUED)
        self.hint_queues(job.queue or "" for job in mine)
        return len(mine)

    async def end_many(self, hold: Hold, ends: Sequence[tuple[UUID, StepEnd]]) -> set[UUID]:
        for _, end in ends:
            if (end.next_step is None) is not end.state.ended:
                raise InvalidInputError("a step leads either to a next step or to the job's end")
            if end.patch:
                raise InvalidInputError("an unbound job has no object whose fields to write")
            self._t.check_writes(end.writes)
        written: set[UUID] = set()
        for key, end in ends:
            if self._is_held(hold, key, end):
                self._t.write(end.writes)
                self._end(self._t.jobs[key], hold, end)
                written.add(key)
            elif self._was_recorded(hold, key, end):
                written.add(key)
        self.move_on([key for key, end in ends if key in written and end.next_step is None])
        return written

    def _is_held(self, hold: Hold, key: UUID, end: StepEnd) -> bool:
        job = self._t.jobs.get(key)
        if job is None or self._t.living(hold.owner, hold.epoch) is None:
            return False
        return self._runs_under(hold, job) and self._in_hand(job, hold, end.step, end.attempt)

    def _end(self, job: Job, hold: Hold, end: StepEnd) -> None:
        self._record(hold, job.id, end)
        error, final = bounded_error(end.error), end.next_step is None
        if end.state in (JobState.FAILED, JobState.CANCELLED):
            said = None if error is None else error.message
            data = {"job": str(job.id), "job_kind": job.kind, "error": said}
            event = told(
                "job.ended",
                ("job", job.id),
                result=str(end.state),
                data=data,
                member=(hold.owner, hold.epoch),
            )
            self._t.tell(replace(event, actor=job.requested_by or None))
        self._t.jobs[job.id] = replace(
            job,
            state=end.state,
            step=end.next_step or job.step,
            attempt=end.attempt if final else 0,
            step_open=False,
            wake_at=None,
            memo=as_json(end.memo),
            result=as_json(end.result),
            error=error,
            finished_at=self._t.clock() if final else None,
            updated_at=self._t.clock(),
            **shown(end.progress),
        )

    async def end_step(self, fence: Fence | Hold, job: UUID, end: StepEnd) -> Job:
        if isinstance(fence, Fence):
            return await super().end_step(fence, job, end)
        written = await self.end_many(fence, [(job, end)])
        found = self._covered(fence, job)
        if job not in written:
            raise not_in_hand(found, end.step, end.attempt)
        return handed_out(found)

    async def sleep_step(self, fence: Fence | Hold, job: UUID, sleep: StepSleep) -> Job:
        if isinstance(fence, Hold) and sleep.patch:
            raise InvalidInputError("an unbound job has no object whose fields to write")
        slept = await super().sleep_step(fence, job, sleep)
        if slept.queue is not None:
            at = self._t.clock() if slept.wake_at is None else slept.wake_at
            self._t.nodes[job].line = (at, self._t.next_line())
        return slept

    # -- from outside -------------------------------------------------------------

    async def cancel(self, job: UUID) -> bool:
        found = self._t.jobs.get(job)
        if found is None or found.queue is None or found.state.ended:
            return await super().cancel(job)
        if not found.cancel_requested:
            data = {"job": str(job), "job_kind": found.kind, "step": found.step}
            self._t.tell(told("job.cancel_requested", ("job", job), data=data))
        asked = replace(found, cancel_requested=True, signal_seq=found.signal_seq + 1)
        fresh = found.state is JobState.QUEUED and not found.attempts
        if fresh or found.state is JobState.BLOCKED:
            error = JobError(code="cancelled", message="aborted by request")
            self._t.jobs[job] = self._over(asked, JobState.CANCELLED, error)
            self.move_on([job])
        else:
            self._wake(asked)
        return True

    async def cancel_under(self, parent: UUID, kinds: Collection[str], *, begun: bool) -> int:
        family, todo = list[Job](), [parent]
        while todo:
            above = todo.pop()
            found = [job for job in self._t.jobs.values() if job.parent == above]
            todo += [job.id for job in found]
            family += [job for job in found if not job.state.ended and job.kind in kinds]
        ended: list[UUID] = []
        for job in sorted(family, key=lambda job: job.id):
            fresh = job.state is JobState.BLOCKED or (
                job.state is JobState.QUEUED and not job.attempts
            )
            asked = replace(
                job,
                signal_seq=job.signal_seq + 1,
                cancel_requested=fresh or begun or job.cancel_requested,
            )
            if fresh:
                error = JobError(code="cancelled", message="aborted by request")
                self._t.jobs[job.id] = self._over(asked, JobState.CANCELLED, error)
                ended.append(job.id)
            else:
                self._wake(asked)
        self.move_on(ended)
        return len(family)

    def _wake(self, job: Job) -> None:
        if job.queue is not None:
            if job.state is JobState.WAITING:
                self._t.nodes[job.id].line = (self._t.clock(), self._t.next_line())
            self.hint_queues([job.queue])
        super()._wake(job)

    def _over(self, job: Job, state: JobState, error: JobError) -> Job:
        now = self._t.clock()
        return replace(job, state=state, error=error, finished_at=now, updated_at=now)

    async def tend(self, limit: int = 500) -> int:
        now = self._t.clock()
        unbound = [job for job in self._t.jobs.values() if job.queue is not None]
        orphans = [
            job
            for job in unbound
            if job.state is JobState.RUNNING
            and self._t.living(job.owner, job.run_epoch or 0) is None
        ][:limit]
        for job in orphans:
            self._t.jobs[job.id] = replace(job, state=JobState.QUEUED, updated_at=now)
        self.hint_queues(job.queue or "" for job in orphans)
        late = JobError(code="deadline", message="the deadline passed before the job could begin")
        expired = [
            job
            for job in unbound
            if job.state is JobState.BLOCKED and job.deadline is not None and job.deadline <= now
        ][:limit]
        for job in expired:
            self._t.jobs[job.id] = self._over(job, JobState.FAILED, late)
        due = [key for key in self._t.nodes if key in self._t.jobs and self._may_pass(key)]
        due += [job.id for job in unbound if job.state is JobState.BLOCKED]
        return len(orphans) + len(expired) + self.move_on(due)

    async def waits_for(self, job: UUID, limit: int = 100) -> list[UUID]:
        found = [pred for pred, succs in self._t.edges.items() if job in succs]
        found = [pred for pred in found if pred in self._t.jobs and not self._has_passed(pred)]
        return sorted(found, key=lambda pred: self._t.nodes[pred].line)[:limit]

    async def purge_jobs(self, keep_s: float, limit: int) -> int:
        return self._purge(keep_s, limit, bound=False)

    async def purge_bound_jobs(self, keep_s: float, limit: int) -> int:
        return self._purge(keep_s, limit, bound=True)

    def _purge(self, keep_s: float, limit: int, *, bound: bool) -> int:
        until = self._t.clock() - keep_s
        old = [
            job.id
            for job in sorted(self._t.jobs.values(), key=lambda job: job.finished_at or 0.0)
            if (job.queue is None) is bound
            and self._has_passed(job.id)
            and (job.finished_at or until) < until
        ][:limit]
        for key in old:
            for table in (self._t.jobs, self._t.nodes, self._t.edges, self._t.steps):
                table.pop(key, None)
        return len(old)
