"""What all jobs of stacks have in common: their arguments and what they never have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NoReturn
from uuid import UUID, uuid5

import msgspec

from holdfast.core.jobs import StepContext
from holdfast.core.status import ABOUT
from holdfast.stacks.model import QUEUE, Action, Op, Resource, Stack, resources_of
from holdfast.stacks.nesting import Moment
from holdfast.stacks.plan import Phase
from holdfast.store.model import Job, JobError, JobState, Json, QueuedJob

ROUND, RESOURCE, SEQUENCE, SETTLE = (
    "stack.round",
    "stack.resource",
    "stack.sequence",
    "stack.settle",
)


class Args(msgspec.Struct, frozen=True, kw_only=True):
    """Which traversal of which stack a job belongs to.

    ``last``: the stack's name and action, where a failure is the traversal's last word: it is
    not rolled back. None: somebody else has that.
    """

    stack: UUID
    traversal: int
    phase: Phase = Phase.APPLY
    last: tuple[str, str] | None = None


class ItemArgs(msgspec.Struct, frozen=True, kw_only=True):
    """One operation, as a job's arguments (``plan.Item`` without its order)."""

    op: str
    action: str
    row: UUID
    name: str
    type: str


def args_of(job: Job) -> Args:
    """The arguments of any of these jobs."""
    return msgspec.convert(job.args, Args)


def new_job(
    key: UUID,
    kind: str,
    stack: Stack,
    args: Mapping[str, Json],
    *,
    about: str = "",
    after: Iterable[UUID] = (),
    after_end: Iterable[UUID] = (),
    deadline_s: float | None = None,
) -> QueuedJob:
    """A job of this traversal of a stack."""
    return QueuedJob(
        id=key,
        kind=kind,
        queue=QUEUE,
        args={
            "stack": str(stack.id),
            "traversal": stack.traversal,
            ABOUT: f"{stack.name}{about}",
            **args,
        },
        after=tuple(after),
        after_end=tuple(after_end),
        deadline_s=deadline_s,
        requested_by=f"{stack.delegation.user_name}@{stack.delegation.project_name}",
    )


def heeding(stack: Stack, row: Resource, signal: UUID) -> QueuedJob:
    """The job that acts on a signal: in its turn, between the stack's traversals."""
    item = ItemArgs(op=Op.SIGNAL, action=Action.UPDATE, row=row.id, name=row.name, type=row.type)
    return QueuedJob(
        id=uuid5(signal, "heed"),
        kind=RESOURCE,
        queue=QUEUE,
        args={
            "stack": str(stack.id),
            "traversal": stack.traversal,
            ABOUT: f"{stack.name}.{row.name}",
            **msgspec.to_builtins(item),
        },
        exclusive=(resources_of(stack.id),),
        deadline_s=stack.timeout_s,
        requested_by=f"{stack.delegation.user_name}@{stack.delegation.project_name}",
    )


def moment_of(ctx: StepContext) -> Moment:
    """The moment of a step."""
    return Moment(now=ctx.now, hold=ctx.hold, job=ctx.job.id, resumed=ctx.resumed, guard=ctx.guard)


class Unbound:
    """The half of ``core.jobs.Handler`` that only bound jobs have."""

    cleanup = ()

    def ended(
        self, obj: Mapping[str, Json], job: Job, state: JobState, error: JobError | None
    ) -> NoReturn:
        raise LookupError(f"job {job.id} is of a stack and bound to no object")

    def trouble(self, error: JobError) -> NoReturn:
        raise LookupError("a job of a stack is bound to no object")
