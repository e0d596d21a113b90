"""Routes of chassis."""

from __future__ import annotations

from uuid import UUID

from litestar import Response, delete, get, patch, post
from litestar.response.base import ASGIResponse

from holdfast.baremetal.api.call import SET_BY_ANSWER, Call, Segment, TheCall
from holdfast.baremetal.api.listing import (
    DETAIL_SINCE,
    answer_changed,
    answer_created,
    answer_one,
    answer_page,
    names_of_page,
)
from holdfast.baremetal.api.nodes import GET as NODE_GET
from holdfast.baremetal.api.nodes import page_of_nodes
from holdfast.baremetal.resources import CHASSIS, NODES

GET = {"policy": "baremetal:chassis:get"}
CREATE = {"policy": "baremetal:chassis:create"}
UPDATE = {"policy": "baremetal:chassis:update"}
DELETE = {"policy": "baremetal:chassis:delete"}


@get("/v1/chassis", opt=GET)
async def list_chassis(call: TheCall) -> Response[bytes]:
    """A page of chassis, brief unless ``detail`` or ``fields`` is given."""
    return await _page(call, "chassis", names_of_page(call, CHASSIS, DETAIL_SINCE))


@get("/v1/chassis/detail", opt=GET)
async def list_chassis_in_detail(call: TheCall) -> Response[bytes]:
    """A page of chassis with every field."""
    return await _page(call, "chassis/detail", CHASSIS.shown(call.minor))


async def _page(call: Call, path: str, names: tuple[str, ...]) -> Response[bytes]:
    return await answer_page(
        call, CHASSIS, path, names, lambda q: call.baremetal.read.page(CHASSIS, call.caller, q)
    )


@post("/v1/chassis", opt=CREATE)
async def create_chassis(call: TheCall) -> Response[bytes]:
    """Create a chassis."""
    given = await call.object()
    call.query.finish()
    return await answer_created(call, CHASSIS, await call.baremetal.chassis.create(given))


@get("/v1/chassis/{ident:str}", opt=GET)
async def show_chassis(call: TheCall, ident: Segment) -> Response[bytes]:
    """One chassis by UUID."""
    return await answer_one(call, CHASSIS, ident)


@get("/v1/chassis/{ident:str}/nodes", opt=NODE_GET)
async def list_nodes_of_chassis(call: TheCall, ident: Segment) -> Response[bytes]:
    """A page of the nodes of a chassis."""
    names = names_of_page(call, NODES, DETAIL_SINCE)
    return await _nodes(call, ident, "nodes", names)


@get("/v1/chassis/{ident:str}/nodes/detail", opt=NODE_GET)
async def list_nodes_of_chassis_in_detail(call: TheCall, ident: Segment) -> Response[bytes]:
    """A page of the nodes of a chassis with every field."""
    return await _nodes(call, ident, "nodes/detail", NODES.shown(call.minor))


async def _nodes(call: Call, ident: str, path: str, names: tuple[str, ...]) -> Response[bytes]:
    found = await call.baremetal.read.one(CHASSIS, call.caller, ident, ("uuid",))
    return await page_of_nodes(call, f"chassis/{ident}/{path}", names, UUID(found["uuid"]))


@patch("/v1/chassis/{ident:str}", opt=UPDATE)
async def update_chassis(call: TheCall, ident: Segment) -> Response[bytes]:
    """Apply a JSON patch."""
    operations = await call.json()
    call.query.finish()
    uuid = await call.baremetal.chassis.update(call.caller, ident, operations)
    return await answer_changed(call, CHASSIS, uuid)


@delete("/v1/chassis/{ident:str}", opt=DELETE, status_code=SET_BY_ANSWER)
async def delete_chassis(call: TheCall, ident: Segment) -> ASGIResponse:
    """Delete a chassis."""
    call.query.finish()
    await call.baremetal.chassis.delete(call.caller, ident)
    return call.done(204)


HANDLERS = (
    list_chassis,
    list_chassis_in_detail,
    create_chassis,
    show_chassis,
    list_nodes_of_chassis,
    list_nodes_of_chassis_in_detail,
    update_chassis,
    delete_chassis,
)
