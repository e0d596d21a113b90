"""Runs the jobs of the objects a member owns. The database is the truth; tasks are its shadow.

Each run of a step is: begin (durable) -> run -> end, sleep or fail (durable, fenced,
one transaction). Whatever else happens (a lost lease or fence, a store without an
answer, this process killed) the task just stops: what the database says is then
acquired again, by this member or by the next owner.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from uuid import UUID

import structlog

from holdfast.core.clock import Clock
from holdfast.core.jobs import (
    ENDING,
    RETRY,
    Done,
    Fail,
    Handler,
    Outcome,
    Plan,
    Sleep,
    Step,
    StepContext,
    job_error,
    retry_delay_s,
)
from holdfast.core.lease import TrustWindow
from holdfast.errors import (
    ConflictError,
    FenceLostError,
    HoldfastError,
    LeaseLostError,
    NotFoundError,
    StoreUnavailableError,
)
from holdfast.store.model import (
    Fence,
    Job,
    JobError,
    JobLimit,
    JobState,
    Json,
    Member,
    OwnedJob,
    StepEnd,
    StepSleep,
)
from holdfast.store.port import Store

log = structlog.get_logger(__name__)

# These end a task without a word: somebody (perhaps we) reads the truth again.
LOST = (LeaseLostError, FenceLostError, StoreUnavailableError)
ABANDON = (*LOST, ConflictError, NotFoundError)


class JobRunner:
    """One member's running jobs. ``departing`` names shards in which no step may start."""

    def __init__(
        self,
        store: Store,
        me: Member,
        window: TrustWindow,
        clock: Clock,
        handlers: Mapping[str, Handler],
        departing: Callable[[], Collection[int]],
        running_max: int,
        limits: Sequence[JobLimit] = (),
    ) -> None:
        self._store = store
        self._me = me
        self._window = window
        self._clock = clock
        self._plans = {kind: Plan(handler) for kind, handler in handlers.items()}
        self._departing = departing
        self._running_max = running_max
        self._limits = limits
        self._tasks: dict[UUID, tuple[int, asyncio.Task[None]]] = {}

    def active_shards(self) -> set[int]:
        """Shards in which a step runs right now."""
        return {shard for shard, _ in self._tasks.values()}

    @property
    def running(self) -> int:
        return len(self._tasks)

    async def poll(self) -> int:
        """Start whatever the database says should run here; returns how many."""
        room = self._running_max - len(self._tasks)
        if room <= 0 or not self._window.open():
            return 0
        asked_at = self._clock.now()
        owned = await self._store.acquire(
            self._me.id, self._me.epoch, list(self._tasks), room, self._limits
        )
        started = 0
        for item in owned:
            if item.job.id in self._tasks or item.job.shard in self._departing():
                continue
            task = asyncio.create_task(self._drive(item, asked_at))
            self._tasks[item.job.id] = (item.job.shard, task)
            task.add_done_callback(lambda _, job=item.job.id: self._forget(job))
            started += 1
        return started

    async def stop(self) -> None:
        """Cut all tasks off; their jobs stay durable and go on elsewhere."""
        tasks = [task for _, task in self._tasks.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _forget(self, job: UUID) -> None:
        self._tasks.pop(job, None)

    async def _drive(self, owned: OwnedJob, asked_at: float) -> None:
        """Run a job step by step until it sleeps, ends or is no longer ours."""
        job: Job | None = owned.job
        try:
            while job is not None and not job.state.ended and job.state is not JobState.WAITING:
                if job.shard in self._departing():
                    return  # a step boundary: the shard may be handed over now
                self._window.guard()
                now = owned.now + self._clock.now() - asked_at
                job = await self._advance(job, owned.fence, now)
        except ABANDON as fault:
            log.info("job.abandoned", job=str(owned.job.id), reason=fault.code)
        except Exception:
            # A bug in the runner itself: the job stays as it is and is acquired again.
            log.exception("job.runner_fault", job=str(owned.job.id))

    async def _advance(self, job: Job, fence: Fence, now: float) -> Job | None:
        """One step: begin, run, write how it ended."""
        plan = self._plans.get(job.kind)
        if plan is None:
            log.error("job.kind_unknown", job=str(job.id), kind=job.kind)
            raise ConflictError(f"this release does not know jobs of kind {job.kind!r}")
        resumed = job.step_open
        step = plan.step(job.step)
        job = await self._store.begin_step(fence, job.id, step.name)
        obj = await self._store.get_object(job.object)
        if obj is None:
            raise NotFoundError(f"the {job.object.kind} {job.object.id} of this job is gone")
        ctx = StepContext(
            job=job,
            object=obj,
            member=self._me,
            fence=fence,
            window=self._window,
            now=now,
            resumed=resumed,
        )
        stop = _interruption(job, now)
        if stop is not None:
            return await self._finish(plan, ctx, step, *stop)
        outcome = await self._run(step, ctx)
        if isinstance(outcome, JobError):
            return await self._trouble(plan, ctx, step, outcome)
        return await self._write(plan, ctx, step, outcome)

    async def _run(self, step: Step, ctx: StepContext) -> Outcome | JobError:
        """The step's outcome; a ``JobError`` is one that may pass (tried again)."""
        try:
            async with asyncio.timeout(step.timeout_s):
                return await step.run(ctx)
        except LOST:
            raise
        except HoldfastError as fault:
            error = job_error(fault)
            return error if fault.transient else Fail(code=error.code, message=error.message)
        except TimeoutError as fault:
            return job_error(fault)
        except Exception as fault:
            log.exception("job.step_fault", job=str(ctx.job.id), step=step.name)
            error = job_error(fault)
            return Fail(code=error.code, message=error.message)

    async def _write(self, plan: Plan, ctx: StepContext, step: Step, outcome: Outcome) -> Job:
        job = ctx.job
        if isinstance(outcome, Fail):
            error = JobError(code=outcome.code, message=outcome.message[:2000])
            return await self._finish(plan, ctx, step, JobState.FAILED, error)
        memo = _kept(job, outcome.memo)
        if isinstance(outcome, Sleep):
            return await self._store.sleep_step(
                ctx.fence,
                job.id,
                StepSleep(
                    step=step.name,
                    attempt=job.attempt,
                    seen_seq=job.signal_seq,
                    wake_in_s=_until_deadline(job, ctx.now, outcome.seconds),
                    memo=memo,
                    patch=outcome.patch,
                    progress=self._progress(plan, step.name, outcome.progress),
                ),
            )
        following = outcome.goto or plan.after(step.name)
        if following is not None:
            memo.pop(RETRY, None)
            end = StepEnd(
                step=step.name,
                attempt=job.attempt,
                output=outcome.output,
                patch=outcome.patch,
                memo=memo,
                next_step=following,
                progress=self._progress(plan, following, None),
            )
            return await self._store.end_step(ctx.fence, job.id, end)
        ending = job.memo.get(ENDING)
        state = JobState(ending["state"]) if ending else JobState.SUCCEEDED
        error = JobError(**ending["error"]) if ending and ending["error"] else None
        return await self._end(plan, ctx, step, state, error, outcome)

    async def _finish(
        self, plan: Plan, ctx: StepContext, step: Step, state: JobState, error: JobError | None
    ) -> Job:
        """Lead to a bad end: through the clean-up steps if there are any left."""
        cleanup = plan.handler.cleanup
        following = plan.after(step.name) if plan.is_cleanup(step.name) else None
        if not plan.is_cleanup(step.name) and cleanup:
            following = cleanup[0].name
        if following is None:
            ending = ctx.job.memo.get(ENDING)
            if ending:  # a clean-up step failed: the first cause is what counts
                state = JobState(ending["state"])
                error = JobError(**ending["error"]) if ending["error"] else None
            return await self._end(plan, ctx, step, state, error, Done())
        memo = {k: v for k, v in ctx.job.memo.items() if k != RETRY}
        memo.setdefault(ENDING, {"state": state, "error": _plain(error)})
        end = StepEnd(
            step=step.name,
            attempt=ctx.job.attempt,
            output={"error": _plain(error)},
            memo=memo,
            next_step=following,
            progress=self._progress(plan, following, None),
        )
        return await self._store.end_step(ctx.fence, ctx.job.id, end)

    async def _end(
        self,
        plan: Plan,
        ctx: StepContext,
        step: Step,
        state: JobState,
        error: JobError | None,
        outcome: Done,
    ) -> Job:
        obj = {**ctx.object, **outcome.patch}
        patch = {**outcome.patch, **plan.handler.ended(obj, ctx.job, state, error)}
        total = len(plan.handler.steps)
        done = total if state is JobState.SUCCEEDED else ctx.job.progress_done
        end = StepEnd(
            step=step.name,
            attempt=ctx.job.attempt,
            output=outcome.output,
            patch=patch,
            state=state,
            result=outcome.output,
            error=error,
            progress=(done, total, state.value),
        )
        return await self._store.end_step(ctx.fence, ctx.job.id, end)

    async def _trouble(self, plan: Plan, ctx: StepContext, step: Step, error: JobError) -> Job:
        """A transient error: recorded on the object, tried again with back-off, then failed."""
        job = ctx.job
        retry: dict[str, Json] = job.memo.get(RETRY) or {}
        if retry.get("step") != step.name:
            retry = {"step": step.name, "count": 0, "since": ctx.now}
        if ctx.now - float(retry["since"]) >= step.retry_s:
            message = f"{step.name}: gave up after {step.retry_s:.0f} s: {error.message}"
            return await self._finish(
                plan, ctx, step, JobState.FAILED, JobError(code=error.code, message=message)
            )
        count = int(retry["count"])
        return await self._store.sleep_step(
            ctx.fence,
            job.id,
            StepSleep(
                step=step.name,
                attempt=job.attempt,
                seen_seq=job.signal_seq,
                wake_in_s=_until_deadline(job, ctx.now, retry_delay_s(count)),
                memo={**job.memo, RETRY: {**retry, "count": count + 1}},
                patch=plan.handler.trouble(error),
                progress=self._progress(plan, step.name, f"retrying: {error.message[:200]}"),
            ),
        )

    def _progress(self, plan: Plan, step: str, message: str | None) -> tuple[int, int, str]:
        names = [s.name for s in plan.handler.steps]
        done = names.index(step) if step in names else len(names)
        return done, len(names), message or step


def _interruption(job: Job, now: float) -> tuple[JobState, JobError | None] | None:
    """Cancelled, or past its deadline; clean-up itself is not interrupted."""
    if ENDING in job.memo:
        return None
    if job.cancel_requested:
        return JobState.CANCELLED, JobError(code="cancelled", message="aborted by request")
    if job.deadline is not None and now >= job.deadline:
        message = f"the deadline passed in step {job.step!r}: {job.progress_message}"
        return JobState.FAILED, JobError(code="deadline", message=message)
    return None


def _until_deadline(job: Job, now: float, seconds: float) -> float:
    """Never sleep past the deadline (promise 7 of the design)."""
    if job.deadline is None or ENDING in job.memo:
        return seconds
    return max(0.0, min(seconds, job.deadline - now))


def _kept(job: Job, memo: dict[str, Json] | None) -> dict[str, Json]:
    """The next memo: the handler's new one (or the old), with the runner's own keys."""
    if memo is None:
        return dict(job.memo)
    return {**memo, **{k: v for k, v in job.memo.items() if k.startswith("_")}}


def _plain(error: JobError | None) -> dict[str, str] | None:
    return None if error is None else {"code": error.code, "message": error.message}
