"""What is in a stack: resources, signals to them, events."""

from __future__ import annotations

from typing import Literal, cast

from litestar import Response, get, patch, post

from holdfast.errors import InvalidInputError, NotFoundError
from holdfast.stacks.api.call import SET_BY_ANSWER, Call, Segment, TheCall
from holdfast.stacks.api.one import AT, SHOW
from holdfast.stacks.api.render import (
    event_brief,
    event_whole,
    resource_brief,
    resource_whole,
)
from holdfast.stacks.model import Stack
from holdfast.stacks.service.requests import flag_of
from holdfast.stacks.service.trees import EventQuery, TreeResource

MARK = {"policy": "stacks:resource:mark_unhealthy"}
SIGNAL = {"policy": "public"}  # a handle's own token is good enough: see ``Doors``

_RESOURCE_FILTERS = ("type", "status", "name", "action", "id", "physical_resource_id")
_EVENT_FILTERS = {
    name: name for name in ("resource_name", "resource_type", "resource_action", "resource_status")
}
DEPTH_MAX = 100


@get(f"{AT}/resources", opt=SHOW)
async def list_resources(call: TheCall, name: Segment, ident: Segment) -> Response[bytes]:
    """Its resources, and those of the stacks within, ``nested_depth`` deep."""
    query = call.query
    known = {*_RESOURCE_FILTERS, "nested_depth", "with_detail"}
    if unknown := sorted(query.names() - known):
        raise InvalidInputError(f"Invalid filter parameters {unknown}")
    stack = await call.stack(name, ident, deleted=True)
    depth = min(query.number("nested_depth") or 0, DEPTH_MAX)
    detail = query.flag("with_detail")
    found = await call.stacks.trees.resources(stack, depth, whole=detail)
    wanted = query.filters({one: one for one in _RESOURCE_FILTERS})
    shown = [
        resource_brief(call, stack, one, detail=detail) for one in found if _wanted(one, wanted)
    ]
    return call.answer({"resources": shown})


def _wanted(one: TreeResource, filters: dict[str, tuple[str, ...]]) -> bool:
    row = one.row
    values: dict[str, tuple[str | None, ...]] = {
        "type": (row.type,),
        "status": (row.status, f"{row.action}_{row.status}"),
        "name": (row.name,),
        "action": (row.action,),
        "id": (str(row.id),),
        "physical_resource_id": (row.physical_id,),
    }
    return all(not set(values[name]).isdisjoint(wanted) for name, wanted in filters.items())


@get(f"{AT}/resources/{{resource:str}}", opt=SHOW)
async def show_resource(
    call: TheCall, name: Segment, ident: Segment, resource: Segment
) -> Response[bytes]:
    """One resource with its attributes; ``with_attr`` names further ones."""
    listed = await call.listed(name, ident)
    detail = await call.stacks.looks.resource(listed.stack, resource, call.query.all("with_attr"))
    return call.answer({"resource": resource_whole(call, listed, detail)})


@get(f"{AT}/resources/{{resource:str}}/metadata", opt=SHOW)
async def show_metadata(
    call: TheCall, name: Segment, ident: Segment, resource: Segment
) -> Response[bytes]:
    """A resource's metadata."""
    row = await call.stacks.looks.row(await call.stack(name, ident), resource)
    return call.answer({"metadata": row.metadata})


@patch(f"{AT}/resources/{{resource:str}}", opt=MARK, status_code=SET_BY_ANSWER)
async def mark_resource(
    call: TheCall, name: Segment, ident: Segment, resource: Segment
) -> Response[bytes]:
    """Say that it is not well, or that it is."""
    stack = await call.stack(name, ident)
    body = await call.object()
    if unknown := sorted(body.keys() - {"mark_unhealthy", "resource_status_reason"}):
        raise InvalidInputError(f"Invalid keys in resource mark unhealthy {unknown}")
    if "mark_unhealthy" not in body:
        raise InvalidInputError(
            "Missing mandatory (mark_unhealthy) key from mark unhealthy request"
        )
    reason = body.get("resource_status_reason") or ""
    await call.stacks.signals.mark(
        stack,
        resource,
        unhealthy=flag_of("mark_unhealthy", body["mark_unhealthy"]),
        reason=str(reason)[:2000],
    )
    return call.answer(None)


@post(f"{AT}/resources/{{resource:str}}/signal", opt=SIGNAL, status_code=SET_BY_ANSWER)
async def signal_resource(
    call: TheCall, name: Segment, ident: Segment, resource: Segment
) -> Response[bytes]:
    """A signal, from whoever may change the stack or has the token the resource hands out."""
    token = call.header("x-auth-token") or call.query.text("token") or ""
    stack = await call.doors.signalled(call.project, name, ident, resource, token)
    await call.stacks.signals.signal(stack, resource, await call.json())
    return call.answer(None)


@get(f"{AT}/events", opt=SHOW)
async def list_events(call: TheCall, name: Segment, ident: Segment) -> Response[bytes]:
    """Its history, and that of the stacks within, ``nested_depth`` deep."""
    stack = await call.stack(name, ident, deleted=True)
    return call.answer({"events": await _events(call, stack, {})})


@get(f"{AT}/resources/{{resource:str}}/events", opt=SHOW)
async def list_resource_events(
    call: TheCall, name: Segment, ident: Segment, resource: Segment
) -> Response[bytes]:
    """The history of one resource."""
    stack = await call.stack(name, ident, deleted=True)
    found = await _events(call, stack, {"resource_name": (resource,)})
    if not found:
        raise NotFoundError(f"No events found for resource {resource}")
    return call.answer({"events": found})


async def _events(
    call: Call, stack: Stack, filters: dict[str, tuple[str, ...]]
) -> list[dict[str, object]]:
    query = call.query
    depth = query.number("nested_depth")
    asked = EventQuery(
        depth=min(depth or 0, DEPTH_MAX),
        filters=query.filters(_EVENT_FILTERS) | filters,
        limit=query.number("limit"),
        marker=query.text("marker"),
        sort_keys=query.all("sort_keys"),
        sort_dir=cast("Literal['asc', 'desc']", query.direction() or "asc"),
    )
    found = await call.stacks.trees.events(stack, asked)
    root = None if depth is None else stack
    return [event_brief(call, stack, one, root) for one in found]


@get(f"{AT}/resources/{{resource:str}}/events/{{event:str}}", opt=SHOW)
async def show_event(
    call: TheCall, name: Segment, ident: Segment, resource: Segment, event: Segment
) -> Response[bytes]:
    """One line of history."""
    stack = await call.stack(name, ident, deleted=True)
    asked = EventQuery(filters={"uuid": (event.lower(),), "resource_name": (resource,)})
    found = await call.stacks.trees.events(stack, asked)
    if not found:
        raise NotFoundError(f"No event {event} found")
    return call.answer({"event": event_whole(call, stack, found[0], {})})


HANDLERS = (
    list_resources,
    show_resource,
    show_metadata,
    mark_resource,
    signal_resource,
    list_events,
    list_resource_events,
    show_event,
)
