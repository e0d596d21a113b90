"""What an operation remembers between its attempts, and what it leaves when it fails."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

import msgspec

from holdfast.stacks.jobs.kinds import Args, ItemArgs
from holdfast.stacks.model import Action, Resource, Status, round_id
from holdfast.stacks.plan import Phase
from holdfast.stacks.records import stack_line, stack_updated, told, updated
from holdfast.store.model import Job, JobError, Json, Write

# Ends that leave the row as it was: nothing was begun.
UNTOUCHED = frozenset({"superseded", "dependency_failed", "stack_gone"})


class Memo(msgspec.Struct, frozen=True, kw_only=True):
    """What an operation remembers. ``row`` and ``action`` differ from the item's in a replacement.

    ``started``: when the row was first said to be IN_PROGRESS. ``data``: the type's notes.
    ``finished``: all is done, and only a hook is in the way.
    """

    row: UUID
    action: Action
    started: float | None = None
    data: dict[str, Json] | None = None
    finished: bool = False


def memo_of(memo: Mapping[str, Json], item: ItemArgs) -> Memo:
    """The memo of an operation, as it was written or as it is at first."""
    first = {"row": item.row, "action": item.action}
    return msgspec.convert({**first, **memo}, Memo, strict=False)


def _stack_failed(args: Args, reason: str, now: float) -> tuple[Write, ...]:
    """A stack that will not be rolled back has failed with its first resource.

    It says so at once, while others may still be under way: whoever waits for it need not.
    """
    if args.last is None:
        return ()
    said = stack_updated(args.stack, status=Status.FAILED, reason=reason, deadline=None)
    end = round_id(args.stack, args.traversal, Phase.SETTLE)
    name, action = args.last
    line = stack_line(end, args.stack, name, Action(action), Status.FAILED, now, reason=reason)
    expect = {"traversal": args.traversal, "status": Status.IN_PROGRESS}
    return (msgspec.structs.replace(said, expect=expect), line)


def failed(
    job: Job, args: Args, item: ItemArgs, notes: Mapping[str, Json], error: JobError, now: float
) -> tuple[Write, ...]:
    """The rows of an operation that failed, or was broken off."""
    if error.code in UNTOUCHED:
        return ()
    memo = memo_of(notes, item)
    reason = error.message
    if error.code in {"cancelled", "deadline", "interrupted", "step_timeout"}:
        reason = f"resources.{item.name}: {memo.action} aborted: {error.message}"
    row = Resource(id=memo.row, stack=args.stack, name=item.name, type=item.type)
    return (
        *_stack_failed(args, f"Resource {memo.action} failed: {reason}", now),
        updated(
            memo.row,
            action=memo.action,
            status=Status.FAILED,
            reason=reason,
            traversal=args.traversal,
            updated_at=now,
        ),
        told(job.id, row, memo.action, Status.FAILED, now, reason=reason),
    )
