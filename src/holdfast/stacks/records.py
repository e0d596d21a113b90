"""What the steps of stacks' jobs write: rows and lines of history, as ``store.model.Write``."""

from __future__ import annotations

from uuid import UUID, uuid5

import msgspec

from holdfast.stacks.model import (
    EVENT_REASON_CHARS_MAX,
    Action,
    Event,
    Resource,
    Stack,
    Status,
)
from holdfast.store.model import Json, Write

STACK, RESOURCE, EVENT = "stack", "stack_resource", "stack_event"
STACK_TYPE = "OS::Heat::Stack"


def inserted(row: Resource) -> Write:
    """A new version of a resource, unless it is there."""
    values = msgspec.to_builtins(row)
    del values["id"]
    return Write(verb="insert", kind=RESOURCE, id=row.id, values=values)


def updated(row: UUID, **values: Json) -> Write:
    """Fields of a resource."""
    return Write(verb="update", kind=RESOURCE, id=row, values=_bounded(values))


def deleted(row: UUID) -> Write:
    """A version that is no more."""
    return Write(verb="delete", kind=RESOURCE, id=row)


def stack_updated(stack: UUID, **values: Json) -> Write:
    """Fields of a stack."""
    return Write(verb="update", kind=STACK, id=stack, values=_bounded(values))


def told(
    by: UUID, row: Resource, action: Action, status: Status, at: float, *, reason: str = ""
) -> Write:
    """A line of history about a resource. ``by``: the job, which tells each thing once."""
    return _line(
        uuid5(by, f"{row.id}/{action}/{status}"),
        stack=row.stack,
        resource=row.id,
        name=row.name,
        type=row.type,
        physical_id=row.physical_id,
        action=action,
        status=status,
        reason=reason or "state changed",
        at=at,
    )


def stack_told(
    by: UUID, stack: Stack, action: Action, status: Status, at: float, *, reason: str
) -> Write:
    """A line of history about the stack itself."""
    return stack_line(by, stack.id, stack.name, action, status, at, reason=reason)


def stack_line(
    by: UUID, stack: UUID, name: str, action: Action, status: Status, at: float, *, reason: str
) -> Write:
    """``stack_told``, by id and name."""
    return _line(
        uuid5(by, f"{stack}/{action}/{status}"),
        stack=stack,
        resource=None,
        name=name,
        type=STACK_TYPE,
        physical_id=str(stack),
        action=action,
        status=status,
        reason=reason,
        at=at,
    )


def event_written(event: Event) -> Write:
    """A line of history, once."""
    values = msgspec.to_builtins(event)
    del values["id"]
    return Write(verb="insert", kind=EVENT, id=event.id, values=_bounded(values))


def _line(key: UUID, **values: Json) -> Write:
    return Write(verb="insert", kind=EVENT, id=key, values=_bounded(values))


def _bounded(values: dict[str, Json]) -> dict[str, Json]:
    reason = values.get("reason")
    if isinstance(reason, str) and len(reason) > EVENT_REASON_CHARS_MAX:
        return {**values, "reason": reason[: EVENT_REASON_CHARS_MAX - 1] + "…"}
    return values
