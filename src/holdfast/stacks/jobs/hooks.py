"""Hooks: an environment may let a resource wait, before or after it is worked on, for a word.

The word is left in the inbox of the job that does the work (``hook_key``), so it is neither
lost with an engine nor taken for that of another update.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Literal
from uuid import UUID, uuid5

from holdfast.stacks.model import Action, Event, Resource, Status
from holdfast.stacks.records import event_written
from holdfast.store.model import Json, Write

When = Literal["pre", "post"]
ASK_AGAIN_S = 300.0  # the word wakes the job; this is for the one that was lost


def hook_key(resource: str, hook: str) -> str:
    """Under what a job's inbox holds the word that clears a hook of a resource."""
    return f"unset_hook/{resource}/{hook}"


def pending(
    hooks: Collection[str], when: When, action: Action, name: str, inbox: Mapping[str, Json]
) -> str | None:
    """The hook at which this is to wait, if there is one and nobody has cleared it."""
    hook = f"{when}-{action.value.lower()}"
    return hook if hook in hooks and hook_key(name, hook) not in inbox else None


def waiting_reason(action: Action, hook: str) -> str:
    """What a resource says of itself meanwhile (Heat's words: clients look for them)."""
    return f"{action} paused until Hook {hook} is cleared"


def told_waiting(job: UUID, row: Resource, action: Action, hook: str, now: float) -> Write:
    """The line of history that a resource waits."""
    return _told(job, row, action, hook, waiting_reason(action, hook), now)


def told_cleared(job: UUID, row: Resource, hook: str, now: float) -> Write:
    """The line of history that it need not wait any more."""
    return _told(job, row, row.action, f"{hook}/cleared", f"Hook {hook} is cleared", now)


def _told(job: UUID, row: Resource, action: Action, key: str, reason: str, now: float) -> Write:
    return event_written(
        Event(
            id=uuid5(job, f"{row.id}/{key}"),
            stack=row.stack,
            resource=row.id,
            name=row.name,
            type=row.type,
            physical_id=row.physical_id,
            action=action,
            status=Status.IN_PROGRESS,
            reason=reason,
            at=now,
        )
    )
