"""Runs the steps of one job after the other: begin, run, write how it ended.

The same for jobs that are bound to an object and for unbound ones; what differs is
where the writes go (``StepWrites``) and what they are made under: a claim's fence, or
the hold of the member that runs the job.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol, TypeAlias
from uuid import UUID

import msgspec
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
    Hold,
    Job,
    JobError,
    JobState,
    Json,
    Member,
    ObjectRef,
    StepEnd,
    StepSleep,
    Write,
)

log = structlog.get_logger(__name__)

# These end a task without a word: somebody (perhaps we) reads the truth again.
LOST = (LeaseLostError, FenceLostError, StoreUnavailableError)
ABANDON = (*LOST, ConflictError, NotFoundError)

FAULT_PAUSE_S = 5.0  # a job that this release cannot run must not keep it busy
CLOCK_GRAIN_S = 0.001  # a timer may fire that much before the clock says so

Stop: TypeAlias = tuple[JobState, JobError | None]
"""An end that a job is led to before its time."""


class StepWrites(Protocol):
    """What is read and written for a step; as in ``store.port.Store``."""

    async def begin_step(self, fence: Fence | Hold, job: UUID, step: str) -> Job: ...
    async def end_step(self, fence: Fence | Hold, job: UUID, end: StepEnd) -> Job: ...
    async def sleep_step(self, fence: Fence | Hold, job: UUID, sleep: StepSleep) -> Job: ...
    async def get_object(self, obj: ObjectRef) -> dict[str, Json] | None: ...


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """A job to be run now. ``now``: the database's clock when it read ``asked_at`` here."""

    job: Job
    under: Fence | Hold
    now: float
    asked_at: float
    begun: bool = False  # its step was begun with the claim ...
    resumed: bool = False  # ... not for the first time


class StepRunner:
    """Runs jobs step by step for one member.

    ``paused`` says of a job, at each step boundary, whether it must stop there.
    """

    def __init__(
        self,
        writes: StepWrites,
        me: Member,
        window: TrustWindow,
        clock: Clock,
        handlers: Mapping[str, Handler],
        paused: Callable[[Job], bool],
    ) -> None:
        self._writes = writes
        self._me = me
        self._window = window
        self._clock = clock
        self.plans = {kind: Plan(handler) for kind, handler in handlers.items()}
        self._paused = paused
        self._limits: dict[UUID, asyncio.Timeout] = {}  # of the steps that may be cut short
        self._cancelled: set[UUID] = set()

    async def drive(self, turn: Turn) -> None:
        """Run a job until it sleeps, ends, has to pause or is no longer ours."""
        job, begun = turn.job, turn.begun
        try:
            while not job.state.ended and job.state is not JobState.WAITING:
                if self._paused(job) and not begun:
                    return  # a step boundary: it may go on elsewhere now
                self._window.guard()
                now = turn.now + self._clock.now() - turn.asked_at
                resumed = turn.resumed if begun else job.step_open
                job = await self._advance(job, turn.under, now, begun=begun, resumed=resumed)
                begun = False
        except ABANDON as fault:
            log.info("job.abandoned", job=str(turn.job.id), reason=fault.code)
        except Exception:
            # A bug in the runner itself: the job stays as it is and is acquired again, slowly.
            log.exception("job.runner_fault", job=str(turn.job.id))
            await asyncio.sleep(FAULT_PAUSE_S)

    def cancel(self, job: UUID) -> None:
        """Cut the step of an unbound job short, if one runs that may be (no clean-up)."""
        limit = self._limits.get(job)
        if limit is not None and not limit.expired():
            self._cancelled.add(job)
            limit.reschedule(asyncio.get_running_loop().time())

    async def _advance(
        self, job: Job, under: Fence | Hold, now: float, *, begun: bool, resumed: bool
    ) -> Job:
        """One step: begin, run, write how it ended."""
        plan = self.plans.get(job.kind)
        if plan is None:
            log.error("job.kind_unknown", job=str(job.id), kind=job.kind)
            raise ConflictError(f"this release does not know jobs of kind {job.kind!r}")
        step = plan.step(job.step)
        if not begun:
            job = await self._writes.begin_step(under, job.id, step.name)
        ctx = StepContext(
            job=job,
            object=await self._object(job),
            member=self._me,
            under=under,
            window=self._window,
            now=now,
            resumed=resumed,
        )
        stop = _interruption(job, now)
        if stop is not None:
            return await self._finish(plan, ctx, step, *stop)
        started = self._clock.now()
        outcome = await self._run(step, ctx)
        if isinstance(outcome, Done | Sleep):
            if outcome.patch and job.binding is None:
                outcome = Fail(code="internal", message="an unbound job has no object to patch")
            elif outcome.writes and job.binding is not None:
                outcome = Fail(code="internal", message="a bound job writes its object's fields")
        if isinstance(outcome, tuple):
            return await self._finish(plan, ctx, step, *outcome)
        if isinstance(outcome, JobError):
            lasted_s = self._clock.now() - started
            return await self._trouble(plan, ctx, step, outcome, lasted_s)
        try:
            return await self._write(plan, ctx, step, outcome)
        except ABANDON:
            raise
        except Exception as fault:
            # What the step wants written cannot be: the job ends, instead of trying for ever.
            log.exception("job.outcome_unwritable", job=str(job.id), step=step.name)
            return await self._end(plan, ctx, step, JobState.FAILED, job_error(fault), Done())

    async def _object(self, job: Job) -> dict[str, Json]:
        if job.binding is None:
            return {}
        obj = await self._writes.get_object(job.object)
        if obj is None:
            raise NotFoundError(f"the {job.object.kind} {job.object.id} of this job is gone")
        return obj

    async def _run(self, step: Step, ctx: StepContext) -> Outcome | JobError | Stop:
        """The step's outcome; a ``JobError`` is one that may pass (tried again).

        Of an unbound job a step is cut short by its cancellation or deadline. That of a
        bound one is not: it may be in the middle of something with a machine.
        """
        job, limit = ctx.job, asyncio.timeout(step.timeout_s)
        if isinstance(ctx.under, Hold) and ENDING not in job.memo:
            limit = asyncio.timeout(_until_deadline(job, ctx.now, step.timeout_s))
            self._limits[job.id] = limit
        started = self._clock.now()
        try:
            async with limit:
                return await step.run(ctx)
        except LOST:
            raise
        except HoldfastError as fault:
            error = job_error(fault)
            return error if fault.transient else Fail(code=error.code, message=error.message)
        except TimeoutError as fault:
            now = ctx.now + self._clock.now() - started + CLOCK_GRAIN_S
            return (limit.expired() and self._cut_short(ctx, now)) or job_error(fault)
        except Exception as fault:
            log.exception("job.step_fault", job=str(job.id), step=step.name)
            error = job_error(fault)
            return Fail(code=error.code, message=error.message)
        finally:
            self._limits.pop(job.id, None)
            self._cancelled.discard(job.id)

    def _cut_short(self, ctx: StepContext, now: float) -> Stop | None:
        """Why a step that ran out of time was not given more; None: it has none left."""
        if ctx.job.id not in self._limits:
            return None
        asked = ctx.job.id in self._cancelled
        return _interruption(msgspec.structs.replace(ctx.job, cancel_requested=asked), now)

    async def _write(self, plan: Plan, ctx: StepContext, step: Step, outcome: Outcome) -> Job:
        job = ctx.job
        if isinstance(outcome, Fail):
            error = JobError(code=outcome.code, message=outcome.message[:2000])
            return await self._finish(plan, ctx, step, JobState.FAILED, error, outcome.writes)
        memo = _kept(job, outcome.memo)
        if isinstance(outcome, Sleep):
            memo.pop(RETRY, None)  # all it asked was answered: the next trouble is another one
            return await self._writes.sleep_step(
                ctx.under,
                job.id,
                StepSleep(
                    step=step.name,
                    attempt=job.attempt,
                    seen_seq=job.signal_seq,
                    wake_in_s=_until_deadline(job, ctx.now, outcome.seconds),
                    memo=memo,
                    patch=outcome.patch,
                    writes=outcome.writes,
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
                writes=outcome.writes,
                memo=memo,
                next_step=following,
                progress=self._progress(plan, following, None),
            )
            return await self._writes.end_step(ctx.under, job.id, end)
        ending = job.memo.get(ENDING)
        state = JobState(ending["state"]) if ending else JobState.SUCCEEDED
        error = JobError(**ending["error"]) if ending and ending["error"] else None
        return await self._end(plan, ctx, step, state, error, outcome)

    async def _finish(
        self,
        plan: Plan,
        ctx: StepContext,
        step: Step,
        state: JobState,
        error: JobError | None,
        writes: tuple[Write, ...] = (),
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
            return await self._end(plan, ctx, step, state, error, Done(writes=writes))
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
        return await self._writes.end_step(ctx.under, ctx.job.id, end)

    async def _end(
        self,
        plan: Plan,
        ctx: StepContext,
        step: Step,
        state: JobState,
        error: JobError | None,
        outcome: Done,
    ) -> Job:
        patch, writes = outcome.patch, outcome.writes
        if ctx.job.binding is not None:
            obj = {**ctx.object, **patch}
            patch = {**patch, **plan.handler.ended(obj, ctx.job, state, error)}
        elif error is not None:
            writes = (*writes, *plan.handler.closing(ctx.job, error, ctx.now))
        total = len(plan.handler.steps)
        done = total if state is JobState.SUCCEEDED else ctx.job.progress_done
        end = StepEnd(
            step=step.name,
            attempt=ctx.job.attempt,
            output=outcome.output,
            patch=patch,
            writes=writes,
            state=state,
            result=outcome.output,
            error=error,
            progress=(done, total, state.value),
        )
        return await self._writes.end_step(ctx.under, ctx.job.id, end)

    async def _trouble(
        self, plan: Plan, ctx: StepContext, step: Step, error: JobError, lasted_s: float
    ) -> Job:
        """A transient error: recorded on the object, tried again with back-off, then failed."""
        job = ctx.job
        retry: dict[str, Json] = job.memo.get(RETRY) or {}
        if retry.get("step") != step.name:
            retry = {"step": step.name, "count": 0, "since": ctx.now}
        gave_up_s, count = None, int(retry["count"])
        wait_s = retry_delay_s(count)
        if ctx.now - float(retry["since"]) >= step.retry_s:
            gave_up_s = step.retry_s
        brief_since = (retry.get("brief_since") or ctx.now) if error.code in step.brief else None
        if brief_since is not None:  # here the try itself counts, and the last one comes in time
            left_s = brief_since + step.brief_s - ctx.now - lasted_s
            gave_up_s = step.brief_s if left_s <= 0 else gave_up_s
            wait_s = min(wait_s, left_s)
        if gave_up_s is not None:
            message = f"{step.name}: gave up after {gave_up_s:.0f} s: {error.message}"
            return await self._finish(
                plan, ctx, step, JobState.FAILED, JobError(code=error.code, message=message)
            )
        retry = {**retry, "count": count + 1, "brief_since": brief_since}
        return await self._writes.sleep_step(
            ctx.under,
            job.id,
            StepSleep(
                step=step.name,
                attempt=job.attempt,
                seen_seq=job.signal_seq,
                wake_in_s=_until_deadline(job, ctx.now, wait_s),
                memo={**job.memo, RETRY: retry},
                patch={} if job.binding is None else plan.handler.trouble(error),
                progress=self._progress(plan, step.name, f"retrying: {error.message[:200]}"),
            ),
        )

    def _progress(self, plan: Plan, step: str, message: str | None) -> tuple[int, int, str]:
        names = [s.name for s in plan.handler.steps]
        done = names.index(step) if step in names else len(names)
        return done, len(names), message or step


def _interruption(job: Job, now: float) -> Stop | None:
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
