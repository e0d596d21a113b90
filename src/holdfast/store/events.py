"""The event log as values: what happened, to what, who asked for it and who did it.

An event is written in the transaction of the change it tells of, so there is no change
without its event and no event without its change (security.md, "audit"). Kinds are
``<object>.<what>`` (``node.provision_state``, ``job.ended``, ``member.gone``), and
``audit.<object>.<what>`` for what users change directly.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal
from uuid import UUID

import msgspec

from holdfast.errors import InvalidInputError
from holdfast.store.model import Json, ObjectRef

NAME_CHARS_MAX = 255
TEXT_CHARS_MAX = 2_000

_POSITION = re.compile(r"(\d{1,19})-(\d{1,19})")
_KIND = re.compile(r"[a-z][a-z0-9_.]{0,98}\*?|\*")
_INT64_MAX = 2**63 - 1


class Actor(msgspec.Struct, frozen=True, kw_only=True):
    """On whose behalf a change is made. ``label`` is ``user@project``, for people."""

    user_id: str | None = None
    label: str | None = None
    project: str | None = None
    request: str | None = None


_acting: ContextVar[Actor | None] = ContextVar("holdfast_actor", default=None)


@contextmanager
def acting(actor: Actor) -> Generator[None]:
    """Whatever is written inside is written on behalf of this actor.

    What a process does of its own accord has none: then the event names the member.
    """
    token = _acting.set(actor)
    try:
        yield
    finally:
        _acting.reset(token)


def actor() -> Actor:
    """On whose behalf this task acts now; an empty one if nobody asked for it."""
    return _acting.get() or Actor()


class Position(msgspec.Struct, frozen=True, order=True):
    """A place in the log: everything up to and including it has been seen.

    Spelled ``<txid>-<id>``. It is only ever moved over transactions that have ended.
    """

    txid: int
    id: int

    def __str__(self) -> str:
        return f"{self.txid}-{self.id}"

    @classmethod
    def parse(cls, text: str) -> Position:
        """Raises ``InvalidInputError`` for anything but a position as it was handed out."""
        matched = _POSITION.fullmatch(text)
        txid, number = (int(part) for part in matched.groups()) if matched else (-1, -1)
        if not (0 <= txid <= _INT64_MAX and 0 <= number <= _INT64_MAX):
            raise InvalidInputError(
                f"{text[:60]!r} is no position in the event log: use a cursor as it was given"
            )
        return cls(txid, number)


START = Position(0, 0)


class NewEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An event to be written; ``told`` fills in on whose behalf."""

    kind: str
    object_kind: str | None = None
    object_id: str | None = None
    object_name: str | None = None
    projects: tuple[str, ...] = ()
    result: str | None = None
    data: dict[str, Json] = {}
    member: UUID | None = None
    epoch: int | None = None
    user_id: str | None = None
    actor: str | None = None
    project: str | None = None
    request: str | None = None


def told(
    kind: str,
    obj: tuple[str, object] | None = None,
    *,
    name: str | None = None,
    projects: Sequence[str | None] = (),
    result: str | None = None,
    data: dict[str, Json] | None = None,
    member: tuple[UUID, int] | None = None,
) -> NewEvent:
    """An event on behalf of whoever acts now. ``obj``: kind and id. ``member``: id and epoch.

    ``projects``: those whose members may see it; without any it is the operators' alone.
    """
    who = actor()
    return NewEvent(
        kind=kind,
        object_kind=obj[0] if obj else None,
        object_id=str(obj[1]) if obj else None,
        object_name=None if name is None else name[:NAME_CHARS_MAX],
        projects=tuple(dict.fromkeys(project for project in projects if project is not None)),
        result=result,
        data=data or {},
        member=member[0] if member else None,
        epoch=member[1] if member else None,
        user_id=who.user_id,
        actor=who.label,
        project=who.project,
        request=who.request,
    )


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the log. ``at``: epoch seconds. ``slot``: what the member is called."""

    position: Position
    at: float
    kind: str
    object_kind: str | None
    object_id: str | None
    object_name: str | None
    projects: tuple[str, ...]
    result: str | None
    user_id: str | None
    actor: str | None
    project: str | None
    request: str | None
    member: UUID | None
    slot: str | None
    epoch: int | None
    data: dict[str, Json]


class EventFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which events. ``kinds``: exact, or ending in ``*``; none means all.

    ``object``: kind and id of what it happened to.
    ``visible_to``: only what members of this project may see; None: everything.
    """

    kinds: tuple[str, ...] = ()
    object: tuple[str, str] | None = None
    visible_to: str | None = None

    def check(self) -> None:
        """Raise ``InvalidInputError`` for a kind that no event could have."""
        for kind in self.kinds:
            if not _KIND.fullmatch(kind):
                raise InvalidInputError(
                    f"{kind[:60]!r} is no kind of event: use one like job.ended, or node.*"
                )

    def admits(self, event: Event) -> bool:
        """Whether the event is one of these."""
        if self.visible_to is not None and self.visible_to not in event.projects:
            return False
        if self.object not in (None, (event.object_kind, event.object_id)):
            return False
        return not self.kinds or any(_is_of(event.kind, kind) for kind in self.kinds)


EVERYTHING = EventFilter()


def _is_of(kind: str, pattern: str) -> bool:
    return kind.startswith(pattern[:-1]) if pattern.endswith("*") else kind == pattern


class EventPage(msgspec.Struct, frozen=True):
    """What a read found, and where it stopped: the next one goes on from ``position``.

    ``more``: there may be more to be read at once. A read looks at a bounded number
    of rows, so a page may be empty and still have more after it.
    """

    events: tuple[Event, ...]
    position: Position
    more: bool


Order = Literal["oldest", "newest"]


class Watch(msgspec.Struct, frozen=True, kw_only=True):
    """What of an owned object's document is told about when it changes.

    ``fields``: each change is an event ``<kind>.<field>`` with ``from`` and ``to``.
    ``error``: a field whose every new text is an event ``<kind>.error``.
    ``name``: the field that people know the object by. ``projects``: fields that
    name the projects whose members may see it.
    """

    fields: tuple[str, ...] = ()
    error: str | None = None
    name: str | None = None
    projects: tuple[str, ...] = ()

    def watched(self, names: Sequence[str]) -> tuple[str, ...]:
        """Those of ``names`` whose change is told about."""
        return tuple(name for name in names if name in self.fields or name == self.error)

    def event_kind(self, kind: str, field: str) -> str:
        """The kind of event that a change of the field is."""
        return f"{kind}.error" if field == self.error else f"{kind}.{field}"

    @property
    def describing(self) -> tuple[str, ...]:
        """The fields needed to say which object it is, and who may see it."""
        return ((self.name,) if self.name else ()) + self.projects


def changes(
    watch: Watch,
    obj: ObjectRef,
    was: dict[str, Json],
    patch: dict[str, Json],
    *,
    data: dict[str, Json] | None = None,
    member: tuple[UUID, int] | None = None,
) -> list[NewEvent]:
    """The events of a patch to a document that was ``was``. An error that goes is none."""
    found: list[NewEvent] = []
    for field in watch.watched(sorted(patch)):
        old, new = was.get(field), patch[field]
        if old == new or (field == watch.error and new is None):
            continue
        values: dict[str, Json] = {"from": old, "to": new}
        if field == watch.error:
            values = {"error": str(new)[:TEXT_CHARS_MAX]}
        kind = watch.event_kind(obj.kind, field)
        found.append(described(watch, obj, was, kind, values | (data or {}), member))
    return found


def described(
    watch: Watch,
    obj: ObjectRef,
    document: dict[str, Json],
    kind: str,
    data: dict[str, Json],
    member: tuple[UUID, int] | None = None,
    result: str | None = None,
) -> NewEvent:
    """An event about an owned object whose document is at hand."""
    return told(
        kind,
        (obj.kind, obj.id),
        name=document.get(watch.name) if watch.name else None,
        projects=[document.get(field) for field in watch.projects],
        result=result,
        data=data,
        member=member,
    )
