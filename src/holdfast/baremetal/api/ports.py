"""Routes of ports."""

from __future__ import annotations

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
    require_fields,
)
from holdfast.baremetal.resources import PORTS
from holdfast.baremetal.service.filters import PortFilter
from holdfast.baremetal.service.patch import fields_of, parse

GET = {"policy": "baremetal:port:get"}
CREATE = {"policy": "baremetal:port:create"}
UPDATE = {"policy": "baremetal:port:update"}
DELETE = {"policy": "baremetal:port:delete"}


@get("/v1/ports", opt=GET)
async def list_ports(call: TheCall) -> Response[bytes]:
    """A page of ports, brief unless ``detail`` or ``fields`` is given."""
    return await page_of_ports(call, "ports", names_of_page(call, PORTS, DETAIL_SINCE))


@get("/v1/ports/detail", opt=GET)
async def list_ports_in_detail(call: TheCall) -> Response[bytes]:
    """A page of ports with every field."""
    return await page_of_ports(call, "ports/detail", PORTS.shown(call.minor))


@get("/v1/nodes/{ident:str}/ports", opt=GET)
async def list_ports_of_node(call: TheCall, ident: Segment) -> Response[bytes]:
    """A page of a node's ports."""
    names = names_of_page(call, PORTS, DETAIL_SINCE)
    return await page_of_ports(call, f"nodes/{ident}/ports", names, node=ident)


@get("/v1/nodes/{ident:str}/ports/detail", opt=GET)
async def list_ports_of_node_in_detail(call: TheCall, ident: Segment) -> Response[bytes]:
    """A page of a node's ports with every field."""
    path = f"nodes/{ident}/ports/detail"
    return await page_of_ports(call, path, PORTS.shown(call.minor), node=ident)


async def page_of_ports(
    call: Call,
    path: str,
    names: tuple[str, ...],
    *,
    node: str | None = None,
    portgroup: str | None = None,
) -> Response[bytes]:
    """A page of ports by the filters in the query; only of that node or port group, if given."""
    query = call.query
    asked = PortFilter(
        address=query.text("address"),
        node=node or query.text("node", 6) or query.text("node_uuid"),
        portgroup=portgroup or query.text("portgroup", 24),
        shard=query.names("shard", 82),
    )
    return await answer_page(
        call, PORTS, path, names, lambda q: call.baremetal.read.ports(call.caller, asked, q)
    )


@post("/v1/ports", opt=CREATE)
async def create_port(call: TheCall) -> Response[bytes]:
    """Create a port of a node."""
    given = await call.object()
    require_fields(call, PORTS, given)
    call.query.finish()
    uuid = await call.in_turn(lambda: call.baremetal.ports.create(call.caller, given))
    return await answer_created(call, PORTS, uuid)


@get("/v1/ports/{ident:str}", opt=GET)
async def show_port(call: TheCall, ident: Segment) -> Response[bytes]:
    """One port by UUID or name."""
    return await answer_one(call, PORTS, ident)


@patch("/v1/ports/{ident:str}", opt=UPDATE)
async def update_port(call: TheCall, ident: Segment) -> Response[bytes]:
    """Apply a JSON patch."""
    operations = await call.json()
    require_fields(call, PORTS, fields_of(parse(operations)))
    call.query.finish()
    uuid = await call.in_turn(lambda: call.baremetal.ports.update(call.caller, ident, operations))
    return await answer_changed(call, PORTS, uuid)


@delete("/v1/ports/{ident:str}", opt=DELETE, status_code=SET_BY_ANSWER)
async def delete_port(call: TheCall, ident: Segment) -> ASGIResponse:
    """Delete a port."""
    call.query.finish()
    await call.in_turn(lambda: call.baremetal.ports.delete(call.caller, ident))
    return call.done(204)


HANDLERS = (
    list_ports,
    list_ports_in_detail,
    list_ports_of_node,
    list_ports_of_node_in_detail,
    create_port,
    show_port,
    update_port,
    delete_port,
)
