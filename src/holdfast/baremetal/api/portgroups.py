"""Routes of port groups, which came with version 1.23."""

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
from holdfast.baremetal.api.ports import GET as PORT_GET
from holdfast.baremetal.api.ports import page_of_ports
from holdfast.baremetal.api.versions import exists_since
from holdfast.baremetal.resources import PORTGROUPS, PORTS
from holdfast.baremetal.service.filters import PortgroupFilter
from holdfast.baremetal.service.patch import fields_of, parse

GET = {"policy": "baremetal:portgroup:get"}
CREATE = {"policy": "baremetal:portgroup:create"}
UPDATE = {"policy": "baremetal:portgroup:update"}
DELETE = {"policy": "baremetal:portgroup:delete"}

_OF_NODES_SINCE = 24


@get("/v1/portgroups", opt=GET)
async def list_portgroups(call: TheCall) -> Response[bytes]:
    """A page of port groups, brief unless ``detail`` or ``fields`` is given."""
    exists_since(call.minor, PORTGROUPS.since)
    return await _page(call, "portgroups", names_of_page(call, PORTGROUPS, DETAIL_SINCE))


@get("/v1/portgroups/detail", opt=GET)
async def list_portgroups_in_detail(call: TheCall) -> Response[bytes]:
    """A page of port groups with every field."""
    exists_since(call.minor, PORTGROUPS.since)
    return await _page(call, "portgroups/detail", PORTGROUPS.shown(call.minor))


@get("/v1/nodes/{ident:str}/portgroups", opt=GET)
async def list_portgroups_of_node(call: TheCall, ident: Segment) -> Response[bytes]:
    """A page of a node's port groups."""
    exists_since(call.minor, _OF_NODES_SINCE)
    names = names_of_page(call, PORTGROUPS, DETAIL_SINCE)
    return await _page(call, f"nodes/{ident}/portgroups", names, ident)


@get("/v1/nodes/{ident:str}/portgroups/detail", opt=GET)
async def list_portgroups_of_node_in_detail(call: TheCall, ident: Segment) -> Response[bytes]:
    """A page of a node's port groups with every field."""
    exists_since(call.minor, _OF_NODES_SINCE)
    path = f"nodes/{ident}/portgroups/detail"
    return await _page(call, path, PORTGROUPS.shown(call.minor), ident)


async def _page(
    call: Call, path: str, names: tuple[str, ...], node: str | None = None
) -> Response[bytes]:
    query = call.query
    asked = PortgroupFilter(address=query.text("address"), node=node or query.text("node"))
    return await answer_page(
        call,
        PORTGROUPS,
        path,
        names,
        lambda q: call.baremetal.read.portgroups(call.caller, asked, q),
    )


@post("/v1/portgroups", opt=CREATE)
async def create_portgroup(call: TheCall) -> Response[bytes]:
    """Create a port group of a node."""
    exists_since(call.minor, PORTGROUPS.since)
    given = await call.object()
    require_fields(call, PORTGROUPS, given)
    call.query.finish()
    uuid = await call.in_turn(lambda: call.baremetal.portgroups.create(call.caller, given))
    return await answer_created(call, PORTGROUPS, uuid)


@get("/v1/portgroups/{ident:str}", opt=GET)
async def show_portgroup(call: TheCall, ident: Segment) -> Response[bytes]:
    """One port group by UUID or name."""
    exists_since(call.minor, PORTGROUPS.since)
    return await answer_one(call, PORTGROUPS, ident)


@get("/v1/portgroups/{ident:str}/ports", opt=PORT_GET)
async def list_ports_of_portgroup(call: TheCall, ident: Segment) -> Response[bytes]:
    """A page of the ports in a group."""
    exists_since(call.minor, _OF_NODES_SINCE)
    return await _ports(call, ident, "ports", names_of_page(call, PORTS, DETAIL_SINCE))


@get("/v1/portgroups/{ident:str}/ports/detail", opt=PORT_GET)
async def list_ports_of_portgroup_in_detail(call: TheCall, ident: Segment) -> Response[bytes]:
    """A page of the ports in a group with every field."""
    exists_since(call.minor, _OF_NODES_SINCE)
    return await _ports(call, ident, "ports/detail", PORTS.shown(call.minor))


async def _ports(call: Call, ident: str, path: str, names: tuple[str, ...]) -> Response[bytes]:
    return await page_of_ports(call, f"portgroups/{ident}/{path}", names, portgroup=ident)


@patch("/v1/portgroups/{ident:str}", opt=UPDATE)
async def update_portgroup(call: TheCall, ident: Segment) -> Response[bytes]:
    """Apply a JSON patch."""
    exists_since(call.minor, PORTGROUPS.since)
    operations = await call.json()
    require_fields(call, PORTGROUPS, fields_of(parse(operations)))
    call.query.finish()
    uuid = await call.in_turn(
        lambda: call.baremetal.portgroups.update(call.caller, ident, operations)
    )
    return await answer_changed(call, PORTGROUPS, uuid)


@delete("/v1/portgroups/{ident:str}", opt=DELETE, status_code=SET_BY_ANSWER)
async def delete_portgroup(call: TheCall, ident: Segment) -> ASGIResponse:
    """Delete a port group."""
    exists_since(call.minor, PORTGROUPS.since)
    call.query.finish()
    await call.in_turn(lambda: call.baremetal.portgroups.delete(call.caller, ident))
    return call.done(204)


HANDLERS = (
    list_portgroups,
    list_portgroups_in_detail,
    list_portgroups_of_node,
    list_portgroups_of_node_in_detail,
    create_portgroup,
    show_portgroup,
    list_ports_of_portgroup,
    list_ports_of_portgroup_in_detail,
    update_portgroup,
    delete_portgroup,
)
