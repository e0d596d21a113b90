"""Routes of ports."""

from __future__ import annotations

from typing import Any

from litestar import Response, delete, get, patch, post
from litestar.response.base import ASGIResponse

from holdfast.baremetal.api.call import SET_BY_ANSWER, Call, Segment, TheCall
from holdfast.baremetal.api.render import page, rendered
from holdfast.baremetal.api.versions import require
from holdfast.baremetal.fields import PORT, PORT_BRIEF, shown
from holdfast.baremetal.service.filters import PortFilter
from holdfast.baremetal.service.patch import fields_of, parse
from holdfast.errors import InvalidInputError

GET = {"policy": "baremetal:port:get"}
CREATE = {"policy": "baremetal:port:create"}
UPDATE = {"policy": "baremetal:port:update"}
DELETE = {"policy": "baremetal:port:delete"}


@get("/v1/ports", opt=GET)
async def list_ports(call: TheCall) -> Response[bytes]:
    """A page of ports, brief unless ``detail`` or ``fields`` is given."""
    return await _page(call, "ports", _names(call))


@get("/v1/ports/detail", opt=GET)
async def list_ports_in_detail(call: TheCall) -> Response[bytes]:
    """A page of ports with every field."""
    return await _page(call, "ports/detail", shown("port", call.minor))


@get("/v1/nodes/{ident:str}/ports", opt=GET)
async def list_ports_of_node(call: TheCall, ident: Segment) -> Response[bytes]:
    """A page of a node's ports."""
    return await _page(call, "ports", _names(call), ident)


@get("/v1/nodes/{ident:str}/ports/detail", opt=GET)
async def list_ports_of_node_in_detail(call: TheCall, ident: Segment) -> Response[bytes]:
    """A page of a node's ports with every field."""
    return await _page(call, "ports/detail", shown("port", call.minor), ident)


def _names(call: Call) -> tuple[str, ...]:
    asked = call.query.fields(PORT)
    detail = call.query.flag("detail", 43)
    if detail and asked is not None:
        raise InvalidInputError("Can't fetch a subset of fields with 'detail' set")
    return shown("port", call.minor) if detail else asked or PORT_BRIEF


async def _page(
    call: Call,
    path: str,
    names: tuple[str, ...],
    node: str | None = None,
) -> Response[bytes]:
    query = call.query.page(names)
    asked = PortFilter(
        address=call.query.text("address"),
        node=node or call.query.text("node", 6) or call.query.text("node_uuid"),
        portgroup=call.query.uuid("portgroup", 24),
        shard=call.query.names("shard", 82),
    )
    call.query.finish()
    documents = await call.baremetal.read.ports(call.caller, asked, query)
    if node is not None:
        path = f"nodes/{node}/{path}"
    return call.answer(page(call, call.baremetal.read, path, "ports", query, documents))


@post("/v1/ports", opt=CREATE)
async def create_port(call: TheCall) -> Response[bytes]:
    """Create a port of a node."""
    document = await call.object()
    _require_fields(call, list(document))
    uuid = await call.baremetal.ports.create(call.caller, document)
    body = await _document(call, str(uuid), shown("port", call.minor))
    return call.answer(body, 201, {"Location": f"{call.url}/v1/ports/{uuid}"})


def _require_fields(call: Call, names: list[str]) -> None:
    for name in names:
        if name in PORT:
            require(call.minor, PORT[name].since)


@get("/v1/ports/{ident:str}", opt=GET)
async def show_port(call: TheCall, ident: Segment) -> Response[bytes]:
    """One port by UUID or name."""
    names = call.query.fields(PORT) or shown("port", call.minor)
    call.query.finish()
    return call.answer(await _document(call, ident, names))


async def _document(call: Call, ident: str, names: tuple[str, ...]) -> dict[str, Any]:
    document = await call.baremetal.read.port(call.caller, ident, names)
    return rendered(call, "ports", names, [document])[0]


@patch("/v1/ports/{ident:str}", opt=UPDATE)
async def update_port(call: TheCall, ident: Segment) -> Response[bytes]:
    """Apply a JSON patch."""
    operations = await call.json()
    _require_fields(call, fields_of(parse(operations)))
    uuid = await call.baremetal.ports.update(call.caller, ident, operations)
    return call.answer(await _document(call, str(uuid), shown("port", call.minor)))


@delete("/v1/ports/{ident:str}", opt=DELETE, status_code=SET_BY_ANSWER)
async def delete_port(call: TheCall, ident: Segment) -> ASGIResponse:
    """Delete a port."""
    await call.baremetal.ports.delete(call.caller, ident)
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
