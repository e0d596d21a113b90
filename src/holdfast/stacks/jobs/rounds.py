"""The head of every phase: plans it, and enqueues what is to be done: ``stack.round``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice

import msgspec

from holdfast.core.jobs import Done, Outcome, Step, StepContext
from holdfast.stacks.jobs.kinds import (
    RESOURCE,
    ROUND,
    SEQUENCE,
    SETTLE,
    Args,
    ItemArgs,
    Unbound,
    args_of,
    new_job,
)
from holdfast.stacks.model import Action, Resource, Stack, Status, resource_id, round_id
from holdfast.stacks.parts import Parts
from holdfast.stacks.plan import OPS, Item, Phase, Plan, Wishes, plan, sequence
from holdfast.stacks.records import inserted, stack_updated
from holdfast.store.graph import BATCH_MAX
from holdfast.store.model import Job, JobError, QueuedJob, Write

ROLLS_BACK = frozenset({Action.CREATE, Action.UPDATE})
PLAN_S = 600.0  # a step's limit: to compile and enqueue 100,000 resources


class RoundHandler(Unbound):
    """``stack.round``: new versions are written, then operations on them enqueued."""

    kind = ROUND

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.steps = (
            Step(name="plan", run=self._plan, timeout_s=PLAN_S),
            Step(name="spawn", run=self._spawn, timeout_s=PLAN_S),
        )

    def closing(self, job: Job, error: JobError, now: float) -> tuple[Write, ...]:
        return broken(args_of(job), error, now)

    async def _plan(self, ctx: StepContext) -> Outcome:
        planned = await self._planned(ctx)
        if planned is None:
            return Done()
        stack, found, phase, rows = planned
        # Decided once: by the time the next step is done again the rows may tell another story.
        memo = {"following": _following(stack, phase, rows)}
        return Done(writes=tuple(inserted(row) for row in found.inserts), memo=memo)

    async def _spawn(self, ctx: StepContext) -> Outcome:
        planned = await self._planned(ctx)
        if planned is None:
            return Done()
        stack, found, phase, _ = planned
        jobs = _jobs(stack, found, phase, Phase(ctx.memo["following"]), ctx.now)
        while batch := list(islice(jobs, BATCH_MAX)):
            await self._parts.jobs.enqueue(batch, parent=ctx.job.id)
        return Done()

    async def _planned(
        self, ctx: StepContext
    ) -> tuple[Stack, Plan, Phase, Sequence[Resource]] | None:
        """The plan of the job's phase; None if a newer traversal has come."""
        args = args_of(ctx.job)
        stack = await self._parts.store.stack(args.stack)
        if stack is None or stack.traversal != args.traversal:
            return None
        phase = Phase.CLEAN if stack.action is Action.DELETE else args.phase
        rows = await self._parts.store.rows(stack.id)
        stopped = stack.stopped >= stack.traversal and stack.action is not Action.DELETE
        found = Plan() if stopped else plan(stack, await self._wishes(stack), rows, phase, ctx.now)
        return stack, found, phase, rows

    async def _wishes(self, stack: Stack) -> Wishes:
        return await wishes_of(self._parts, stack)


def rolls_back(stack: Stack) -> bool:
    """Whether a failure of this traversal leads back to what was before."""
    return stack.rollback and stack.action in ROLLS_BACK


async def wishes_of(parts: Parts, stack: Stack) -> Wishes:
    """What a stack wants to have in its present traversal."""
    gone = stack.action is Action.ROLLBACK and stack.previous is None
    if gone or stack.action is Action.DELETE:
        return {}
    return (await parts.plans.of(stack)).wishes


def broken(args: Args, error: JobError, now: float) -> tuple[Write, ...]:
    """The rows of a phase that could not even be planned: the stack has failed."""
    reason = f"{error.code}: {error.message}"
    expect = {"traversal": args.traversal, "status": Status.IN_PROGRESS}
    failed = stack_updated(args.stack, status=Status.FAILED, reason=reason, updated_at=now)
    return (msgspec.structs.replace(failed, expect=expect),)


def _following(stack: Stack, phase: Phase, rows: Sequence[Resource]) -> Phase:
    """What comes after a phase. Where nothing was before, nothing is to be taken away."""
    if phase is Phase.CLEAN or stack.action in OPS:
        return Phase.SETTLE
    own = (resource_id(stack.id, stack.traversal, row.name) == row.id for row in rows)
    return Phase.SETTLE if all(own) else Phase.CLEAN


def _jobs(
    stack: Stack, found: Plan, phase: Phase, following: Phase, now: float
) -> Iterable[QueuedJob]:
    """The operations, and behind them the phase that follows."""
    last_word = None if rolls_back(stack) else (stack.name, stack.action)
    left_s = None if stack.deadline is None else max(0.0, stack.deadline - now)
    last = found.sinks
    if not stack.convergence and found.items:
        line = [_args(item) for item in sequence(found)]
        key = round_id(stack.id, stack.traversal, f"{phase}/sequence")
        args = {"source": str(stack.source), "items": line, "last": last_word}
        yield new_job(key, SEQUENCE, stack, args, deadline_s=left_s)
        last = (key,)
    elif stack.convergence:
        for item in found.items:
            args = {"source": str(stack.source), "last": last_word, **_args(item)}
            about = f".{item.name}: {item.op}"
            yield new_job(
                item.id, RESOURCE, stack, args, about=about, after=item.after, deadline_s=left_s
            )
    kind = SETTLE if following is Phase.SETTLE else ROUND
    key = round_id(stack.id, stack.traversal, following)
    yield new_job(key, kind, stack, {"phase": following}, after_end=last)


def _args(item: Item) -> Mapping[str, str]:
    args: dict[str, str] = msgspec.to_builtins(
        ItemArgs(op=item.op, action=item.action, row=item.row, name=item.name, type=item.type)
    )
    return args
