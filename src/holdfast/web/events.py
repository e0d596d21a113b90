"""/cluster/v1/events: what happened and who did it, as a list and as a stream.

Readers of the system (or of the admin project) see everything; members of another
project what happened to its own objects. The stream is one of server-sent events
(WHATWG HTML, "Server-sent events"): each carries its position as ``id``, and a client
that comes back with ``Last-Event-ID`` misses nothing, whichever process it reaches.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any, TypeAlias
from uuid import UUID

import msgspec
import structlog
from litestar import get
from litestar.di import NamedDependency
from litestar.params import FromQuery, SkipValidation
from litestar.response import Stream

from holdfast.core.events import EventFeed
from holdfast.errors import (
    ForbiddenError,
    HoldfastError,
    InvalidInputError,
    NotFoundError,
    UnavailableError,
)
from holdfast.identity.parameters import AnyRequest, TheCaller
from holdfast.identity.policy import Caller, Policy, Role
from holdfast.identity.service import Identity
from holdfast.store.events import Event, EventFilter, EventPage, Position
from holdfast.store.port import EventStore
from holdfast.web.settings import WebSettings

_LOG = structlog.get_logger("holdfast.web")

READ = Policy("cluster:events", Role.READER)
_OPT = {"policy": READ.name}
_LIMIT_MAX = 1_000
_LOOK_S = 1.0  # how soon a stream notices that its process drains

Document = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class EventDesk:
    """What the handlers answer from. ``draining``: whether this process is about to stop."""

    store: EventStore
    feed: EventFeed
    identity: Identity
    find_node: Callable[[str], Awaitable[UUID | None]]
    draining: Callable[[], bool]
    settings: WebSettings

    async def chosen(
        self, caller: Caller, kind: str | None, node: str | None, what: str | None
    ) -> EventFilter:
        """The filter a request asks for, within what its caller may see."""
        if node is not None and what is not None:
            raise InvalidInputError("node and object: give one of them")
        obj: tuple[str, str] | None = None
        if node is not None:
            obj = ("node", await self._node(caller, node))
        elif what is not None:
            kind_of, slash, ident = what.partition("/")
            if not (kind_of and slash and ident):
                raise InvalidInputError("object: <kind>/<id>, such as user/4f5c…")
            obj = (kind_of, ident)
        chosen = EventFilter(
            kinds=tuple(part.strip() for part in (kind or "").split(",") if part.strip()),
            object=obj,
            visible_to=visible_to(caller),
        )
        chosen.check()
        return chosen

    async def _node(self, caller: Caller, node: str) -> str:
        """The id of a node; one that was deleted is known by its UUID alone."""
        found = await self.find_node(node)
        if found is not None:
            return str(found)
        with suppress(ValueError):
            return str(UUID(node))
        if caller.everywhere:
            raise NotFoundError(f"there is no node {node}; name a deleted one by its UUID")
        return node  # whether others have a node of that name is not said


TheDesk: TypeAlias = NamedDependency[SkipValidation[EventDesk]]


def visible_to(caller: Caller) -> str | None:
    """The project whose events the caller may see; None for all. ``ForbiddenError``: neither."""
    if caller.everywhere:
        return None
    if caller.project_id is None:
        raise ForbiddenError("events are for a project or the system: log in to one of them")
    return caller.project_id


@get("/v1/events", opt=_OPT)
async def list_events(
    desk: TheDesk,
    caller: TheCaller,
    kind: FromQuery[str | None] = None,
    node: FromQuery[str | None] = None,
    object: FromQuery[str | None] = None,  # noqa: A002 - the parameter's name on the wire
    after: FromQuery[str | None] = None,
    before: FromQuery[str | None] = None,
    limit: FromQuery[int] = 100,
) -> Document:
    """Events, newest first; with ``after`` those that follow it, oldest first.

    ``kind``: kinds, by commas, exact or ending in ``*``. ``position`` is where this page
    ends: give it as ``before`` (or ``after``) for the next one, if there is ``more``.
    """
    if not 1 <= limit <= _LIMIT_MAX:
        raise InvalidInputError(f"limit: 1 to {_LIMIT_MAX}")
    if after is not None and before is not None:
        raise InvalidInputError("after and before: give one of them")
    where = await desk.chosen(caller, kind, node, object)
    if after is not None:
        page = await desk.store.events(Position.parse(after), limit, where)
    else:
        start = None if before is None else Position.parse(before)
        page = await desk.store.events(start, limit, where, order="newest")
    return {
        "events": [event_document(event) for event in shown_to(where.visible_to, page.events)],
        "position": str(page.position),
        "more": page.more,
    }


@get("/v1/events/stream", opt=_OPT)
async def stream_events(
    request: AnyRequest,
    desk: TheDesk,
    caller: TheCaller,
    kind: FromQuery[str | None] = None,
    node: FromQuery[str | None] = None,
    object: FromQuery[str | None] = None,  # noqa: A002 - the parameter's name on the wire
    after: FromQuery[str | None] = None,
) -> Stream:
    """Events as they happen, from ``Last-Event-ID`` (or ``after``) on, else from now on.

    It ends when this process drains, when the token does, and when the database is
    gone: come back with the last id.
    """
    last = request.headers.get("Last-Event-ID") or after
    where = await desk.chosen(caller, kind, node, object)
    if desk.feed.followers >= desk.settings.streams_max:
        raise UnavailableError(
            f"this process streams to {desk.settings.streams_max} clients already: come back later",
            headers={"Retry-After": "5"},
        )
    position = await desk.feed.now() if last is None else Position.parse(last)
    token = request.headers["X-Auth-Token"]
    return Stream(
        _stream(desk, token, position, where),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def _stream(
    desk: EventDesk, token: str, position: Position, where: EventFilter
) -> AsyncGenerator[bytes]:
    """Frames until the stream ends. Every beat the token is looked at again."""
    yield f"retry: 1000\nid: {position}\n\n".encode()
    beat_at = time.monotonic() + desk.settings.stream_beat_s
    try:
        async with aclosing(desk.feed.follow(position, where, idle_s=_LOOK_S)) as pages:
            async for page in pages:
                if desk.draining():
                    return
                if shown := shown_to(where.visible_to, page.events):
                    yield b"".join(map(_frame, shown))
                if time.monotonic() < beat_at:
                    continue
                beat_at = time.monotonic() + desk.settings.stream_beat_s
                caller = await desk.identity.caller(token)
                READ.check(caller)
                yield _beat(page)
    except HoldfastError as error:  # the client comes back, and is told then
        _LOG.info("event stream ended", code=error.code, why=error.message)


def _frame(event: Event) -> bytes:
    return b"id: %b\ndata: %b\n\n" % (
        str(event.position).encode(),
        msgspec.json.encode(event_document(event)),
    )


def _beat(page: EventPage) -> bytes:
    """A comment, and how far the log has been looked through: it counts as seen."""
    return f": nothing else\nid: {page.position}\n\n".encode()


def shown_to(project: str | None, events: Sequence[Event]) -> list[Event]:
    """The events as members of a project may see them (None: all of everything).

    An object's first project is whose it is. Others, such as a lessee, see what happened to
    it, but neither what its owner did and with what, nor the texts of errors, nor by which of
    our processes: the API of the object does not show them these either.
    """
    if project is None:
        return list(events)
    return [
        event if event.projects[0] == project else _to_a_guest(event)
        for event in events
        if event.projects and (event.projects[0] == project or not _is_the_owners(event, project))
    ]


def _is_the_owners(event: Event, project: str) -> bool:
    return event.kind.startswith("audit.") and event.project != project


def _to_a_guest(event: Event) -> Event:
    data = {name: "******" if name == "error" else value for name, value in event.data.items()}
    return msgspec.structs.replace(event, data=data, member=None)


def event_document(event: Event) -> Document:
    """One event, as JSON."""
    obj = actor = member = None
    if event.object_kind is not None:
        obj = {"kind": event.object_kind, "id": event.object_id, "name": event.object_name}
    if event.actor is not None or event.user_id is not None:
        actor = {"name": event.actor, "user_id": event.user_id, "project_id": event.project}
    if event.member is not None:
        member = {"slot": event.slot, "id": str(event.member), "epoch": event.epoch}
    return {
        "position": str(event.position),
        "at": event.at,
        "kind": event.kind,
        "result": event.result,
        "object": obj,
        "actor": actor,
        "member": member,
        "request_id": event.request,
        "data": event.data,
    }


HANDLERS = (list_events, stream_events)
