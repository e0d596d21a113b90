"""How a traversal ended: ``stack.settle``."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import msgspec

from holdfast.core.jobs import Done, Outcome, Step, StepContext
from holdfast.errors import NotFoundError
from holdfast.stacks.hot import HotError
from holdfast.stacks.jobs.kinds import ROUND, SETTLE, Unbound, args_of, new_job
from holdfast.stacks.jobs.rounds import ROLLS_BACK, broken, rolls_back, wishes_of
from holdfast.stacks.model import Action, Resource, Stack, Status, round_id
from holdfast.stacks.parts import Parts
from holdfast.stacks.plan import Phase, failures, missing
from holdfast.stacks.records import stack_told, stack_updated
from holdfast.store.model import Job, JobError, Write


class SettleHandler(Unbound):
    """``stack.settle``: the stack says how it is, or goes back; then whoever waits is told."""

    kind = SETTLE

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.steps = (
            Step(name="settle", run=self._settle),
            Step(name="tell", run=self._tell),
        )

    def closing(self, job: Job, error: JobError, now: float) -> tuple[Write, ...]:
        return broken(args_of(job), error, now)

    async def _settle(self, ctx: StepContext) -> Outcome:
        args = args_of(ctx.job)
        stack = await self._parts.store.stack(args.stack)
        if stack is None or stack.traversal != args.traversal:
            return Done()
        if stack.status is not Status.IN_PROGRESS:
            return Done()  # a resource said how it ended
        reason = await self._failure(stack, ctx.now)
        if reason is None:
            return Done(writes=_complete(ctx.job.id, stack, ctx.now))
        writes = _failed(ctx.job.id, stack, reason, ctx.now)
        stopped = stack.stopped >= stack.traversal
        if rolls_back(stack) and not stopped:
            writes = (writes[1], *_back(ctx.job.id, stack, reason, ctx.now))
        return Done(writes=writes)

    async def _tell(self, ctx: StepContext) -> Outcome:
        """A rollback that was begun goes on; else the job that waits for the stack is told."""
        args = args_of(ctx.job)
        stack = await self._parts.store.stack(args.stack)
        if stack is None:
            return Done()
        await self._parts.store.trim_events(stack.id, self._parts.events_max)
        if stack.traversal == args.traversal + 1 and stack.action is Action.ROLLBACK:
            # Enqueued under this job, which has the stack reserved. Whoever asked for a rollback
            # at the same moment has enqueued the very same one.
            key = round_id(stack.id, stack.traversal, Phase.APPLY)
            again = new_job(key, ROUND, stack, {"phase": Phase.APPLY})
            await self._parts.jobs.enqueue([again], parent=ctx.job.id)
        elif stack.traversal == args.traversal and stack.tell is not None:
            await self._parts.jobs.signal(stack.tell, "nested", {"stack": str(stack.id)})
        return Done()

    async def _failure(self, stack: Stack, now: float) -> str | None:
        """Why the traversal failed; None if all is as it should be."""
        rows = await self._parts.store.rows(stack.id)
        try:
            wishes = await wishes_of(self._parts, stack)
        except (HotError, NotFoundError) as fault:
            return fault.message
        failed = failures(stack, rows)
        if failed:
            return f"Resource {failed[0].action} failed: {failed[0].reason}"
        left = missing(stack, wishes, rows) or _superfluous(stack, rows, len(wishes))
        if not left:
            return None
        if stack.deadline is not None and now >= stack.deadline:
            return "Timed out"
        if stack.stopped >= stack.traversal:
            return f"Stack {stack.action} cancelled"
        return f"Stack {stack.action} did not reach: {', '.join(sorted(left)[:10])}"


def _superfluous(stack: Stack, rows: Sequence[Resource], wanted: int) -> list[str]:
    taking = stack.action in {*ROLLS_BACK, Action.ROLLBACK, Action.DELETE, Action.ADOPT}
    return [row.name for row in rows] if taking and len(rows) > wanted else []


def _complete(job: UUID, stack: Stack, now: float) -> tuple[Write, ...]:
    reason = f"Stack {stack.action} completed successfully"
    deleted = {"deleted_at": now} if stack.action is Action.DELETE else {}
    return (
        _said(stack, status=Status.COMPLETE, reason=reason, deadline=None, **deleted),
        stack_told(job, stack, stack.action, Status.COMPLETE, now, reason=reason),
    )


def _failed(job: UUID, stack: Stack, reason: str, now: float) -> tuple[Write, ...]:
    return (
        _said(stack, status=Status.FAILED, reason=reason, deadline=None),
        stack_told(job, stack, stack.action, Status.FAILED, now, reason=reason),
    )


def _back(job: UUID, stack: Stack, reason: str, now: float) -> tuple[Write, ...]:
    """The next traversal: to what the stack was before, or to nothing."""
    why = f"Stack ROLLBACK started: {reason}"
    source = stack.source if stack.previous is None else stack.previous
    return (
        _said(
            stack,
            action=Action.ROLLBACK,
            status=Status.IN_PROGRESS,
            reason=why,
            traversal=stack.traversal + 1,
            source=source,
            deadline=now + stack.timeout_s,
        ),
        stack_told(job, stack, Action.ROLLBACK, Status.IN_PROGRESS, now, reason=why),
    )


def _said(stack: Stack, **values: object) -> Write:
    """Fields of the stack, unless a newer traversal has come meanwhile."""
    said = stack_updated(stack.id, **values)
    return msgspec.structs.replace(said, expect={"traversal": stack.traversal})
