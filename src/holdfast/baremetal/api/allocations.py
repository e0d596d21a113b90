"""Routes of allocations, which came with version 1.52."""

from __future__ import annotations

from litestar import Response, delete, get, patch, post
from litestar.response.base import ASGIResponse

from holdfast.baremetal.api.call import SET_BY_ANSWER, Segment, TheCall
from holdfast.baremetal.api.listing import (
    answer_changed,
    answer_created,
    answer_one,
    answer_page,
    require_fields,
)
from holdfast.baremetal.api.versions import exists_since, require
from holdfast.baremetal.resources import ALLOCATIONS
from holdfast.baremetal.service.filters import AllocationFilter
from holdfast.baremetal.service.patch import fields_of, parse
from holdfast.errors import InvalidInputError

GET = {"policy": "baremetal:allocation:get"}
CREATE = {"policy": "baremetal:allocation:create"}
UPDATE = {"policy": "baremetal:allocation:update"}
DELETE = {"policy": "baremetal:allocation:delete"}

_STATES = ("allocating", "active", "error")
_UPDATE_SINCE = 57
_BACKFILL_SINCE = 58


@get("/v1/allocations", opt=GET)
async def list_allocations(call: TheCall) -> Response[bytes]:
    """A page of allocations."""
    exists_since(call.minor, ALLOCATIONS.since)
    query = call.query
    names = query.fields(ALLOCATIONS.fields) or ALLOCATIONS.in_brief(call.minor)
    asked = AllocationFilter(
        state=query.text("state"),
        resource_class=query.text("resource_class"),
        owner=query.text("owner", 60),
        node=query.text("node"),
    )
    if asked.state is not None and asked.state not in _STATES:
        raise InvalidInputError(f"state must be one of: {', '.join(_STATES)}")
    return await answer_page(
        call,
        ALLOCATIONS,
        "allocations",
        names,
        lambda q: call.baremetal.read.allocations(call.caller, asked, q),
    )


@post("/v1/allocations", opt=CREATE)
async def create_allocation(call: TheCall) -> Response[bytes]:
    """Ask for a node. Which one it is, or why there is none, is decided afterwards."""
    exists_since(call.minor, ALLOCATIONS.since, changes=True)
    given = await call.object()
    require_fields(call, ALLOCATIONS, given)
    require(call.minor, _BACKFILL_SINCE if "node" in given else 1)
    call.query.finish()
    uuid = await call.in_turn(lambda: call.baremetal.allocations.create(call.caller, given))
    return await answer_created(call, ALLOCATIONS, uuid)


@get("/v1/allocations/{ident:str}", opt=GET)
async def show_allocation(call: TheCall, ident: Segment) -> Response[bytes]:
    """One allocation by UUID or name."""
    exists_since(call.minor, ALLOCATIONS.since)
    return await answer_one(call, ALLOCATIONS, ident)


@patch("/v1/allocations/{ident:str}", opt=UPDATE)
async def update_allocation(call: TheCall, ident: Segment) -> Response[bytes]:
    """Apply a JSON patch to its name or ``extra``."""
    exists_since(call.minor, _UPDATE_SINCE, changes=True)
    operations = await call.json()
    require_fields(call, ALLOCATIONS, fields_of(parse(operations)))
    call.query.finish()
    uuid = await call.baremetal.allocations.update(call.caller, ident, operations)
    return await answer_changed(call, ALLOCATIONS, uuid)


@delete("/v1/allocations/{ident:str}", opt=DELETE, status_code=SET_BY_ANSWER)
async def delete_allocation(call: TheCall, ident: Segment) -> ASGIResponse:
    """Give the node back."""
    exists_since(call.minor, ALLOCATIONS.since, changes=True)
    call.query.finish()
    await call.in_turn(lambda: call.baremetal.allocations.delete(call.caller, ident))
    return call.done(204)


@get("/v1/nodes/{ident:str}/allocation", opt=GET)
async def show_allocation_of_node(call: TheCall, ident: Segment) -> Response[bytes]:
    """The allocation a node is of."""
    exists_since(call.minor, ALLOCATIONS.since)
    uuid = await call.baremetal.allocations.of_node(call.caller, ident)
    return await answer_one(call, ALLOCATIONS, str(uuid))


@delete("/v1/nodes/{ident:str}/allocation", opt=DELETE, status_code=SET_BY_ANSWER)
async def delete_allocation_of_node(call: TheCall, ident: Segment) -> ASGIResponse:
    """Give the node back, by the node."""
    exists_since(call.minor, ALLOCATIONS.since, changes=True)
    call.query.finish()
    uuid = await call.baremetal.allocations.of_node(call.caller, ident)
    await call.in_turn(lambda: call.baremetal.allocations.delete(call.caller, str(uuid)))
    return call.done(204)


HANDLERS = (
    list_allocations,
    create_allocation,
    show_allocation,
    update_allocation,
    delete_allocation,
    show_allocation_of_node,
    delete_allocation_of_node,
)
