"""Routes of nodes: what they are. What is done with them is in ``node_actions``."""

from __future__ import annotations

from uuid import UUID

from litestar import Response, delete, get, patch, post
from litestar.response.base import ASGIResponse

from holdfast.baremetal.api.call import SET_BY_ANSWER, Call, Query, Segment, TheCall
from holdfast.baremetal.api.listing import (
    DETAIL_SINCE,
    answer_changed,
    answer_created,
    answer_one,
    answer_page,
    document,
    names_of_page,
    require_fields,
)
from holdfast.baremetal.api.versions import require
from holdfast.baremetal.fields import NODE_STATES
from holdfast.baremetal.resources import NODES
from holdfast.baremetal.service.filters import NodeFilter
from holdfast.baremetal.service.patch import fields_of, parse
from holdfast.baremetal.states import ALL_STATES, Provision
from holdfast.errors import InvalidInputError
from holdfast.store.model import Json

GET = {"policy": "baremetal:node:get"}
CREATE = {"policy": "baremetal:node:create"}
UPDATE = {"policy": "baremetal:node:update"}
DELETE = {"policy": "baremetal:node:delete"}

FAULTS = ("power failure", "clean failure", "rescue abort failure", "none")
_ENROLL_SINCE = 11  # before it, new nodes were available at once


@get("/v1/nodes", opt=GET)
async def list_nodes(call: TheCall) -> Response[bytes]:
    """A page of nodes, brief unless ``detail`` or ``fields`` is given."""
    return await page_of_nodes(call, "nodes", names_of_page(call, NODES, DETAIL_SINCE))


@get("/v1/nodes/detail", opt=GET)
async def list_nodes_in_detail(call: TheCall) -> Response[bytes]:
    """A page of nodes with every field."""
    return await page_of_nodes(call, "nodes/detail", NODES.shown(call.minor))


async def page_of_nodes(
    call: Call, path: str, names: tuple[str, ...], chassis: UUID | None = None
) -> Response[bytes]:
    """A page of nodes by the filters in the query; ``chassis``: only of that one."""
    asked = node_filter(call.query, call.minor, chassis)
    return await answer_page(
        call, NODES, path, names, lambda q: call.baremetal.read.nodes(call.caller, asked, q)
    )


def node_filter(query: Query, minor: int, chassis: UUID | None = None) -> NodeFilter:
    """The filters of a list of nodes, each from the version that brought it."""
    state = query.text("provision_state", 9)
    if state is not None and state not in ALL_STATES:
        raise InvalidInputError(f'Provision state "{state}" is not valid')
    fault = query.text("fault", 42)
    if fault is not None and fault not in FAULTS:
        raise InvalidInputError(f'Unrecognized fault "{fault}"; use one of: {", ".join(FAULTS)}')
    parent = query.uuid("parent_node", 83)
    children = query.flag("include_children", 83)
    return NodeFilter(
        associated=query.flag("associated"),
        maintenance=query.flag("maintenance"),
        retired=query.flag("retired", 61),
        provision_state=state,
        driver=query.text("driver", 16),
        resource_class=query.text("resource_class", 21),
        conductor_group=query.text("conductor_group", 46),
        conductor=query.text("conductor", 49),
        owner=query.text("owner", 50),
        lessee=query.text("lessee", 65),
        project=query.text("project", 65),
        instance_uuid=query.uuid("instance_uuid"),
        chassis_uuid=chassis or query.uuid("chassis_uuid"),
        fault=fault,
        description_contains=query.text("description_contains", 51),
        shard=query.names("shard", 82),
        sharded=query.flag("sharded", 82),
        parent_node=parent,
        # A client that knows of children asks for them.
        children=minor < 83 or bool(children) or parent is not None,
    )


@post("/v1/nodes", opt=CREATE)
async def create_node(call: TheCall) -> Response[bytes]:
    """Enrol a node."""
    given = await call.object()
    require_fields(call, NODES, given)
    call.query.finish()
    state = Provision.ENROLL if call.minor >= _ENROLL_SINCE else Provision.AVAILABLE
    uuid = await call.baremetal.nodes.create(call.caller, given, state)
    return await answer_created(call, NODES, uuid)


@get("/v1/nodes/{ident:str}", opt=GET)
async def show_node(call: TheCall, ident: Segment) -> Response[bytes]:
    """One node by UUID or name."""
    return await answer_one(call, NODES, ident)


@patch("/v1/nodes/{ident:str}", opt=UPDATE)
async def update_node(call: TheCall, ident: Segment) -> Response[bytes]:
    """Apply a JSON patch."""
    operations: Json = await call.json()
    reset = call.query.flag("reset_interfaces", 45)
    call.query.finish()
    require_fields(call, NODES, fields_of(parse(operations)))
    uuid = await call.in_turn(
        lambda: call.baremetal.nodes.update(
            call.caller, ident, operations, reset_interfaces=bool(reset)
        )
    )
    return await answer_changed(call, NODES, uuid)


@delete("/v1/nodes/{ident:str}", opt=DELETE, status_code=SET_BY_ANSWER)
async def delete_node(call: TheCall, ident: Segment) -> ASGIResponse:
    """Delete a node and its ports."""
    call.query.finish()
    await call.in_turn(lambda: call.baremetal.nodes.delete(call.caller, ident))
    return call.done(204)


@get("/v1/nodes/{ident:str}/states", opt=GET)
async def show_states(call: TheCall, ident: Segment) -> Response[bytes]:
    """The node's states and targets."""
    call.query.finish()
    names = tuple(name for name in NODE_STATES if NODES.fields[name].since <= call.minor)
    return call.answer(await document(call, NODES, ident, names))


@get("/v1/nodes/{ident:str}/children", opt=GET)
async def list_children(call: TheCall, ident: Segment) -> Response[bytes]:
    """UUIDs of the nodes whose parent this is."""
    require(call.minor, 83)
    return call.answer({"children": await call.baremetal.read.children(call.caller, ident)})


HANDLERS = (
    list_nodes,
    list_nodes_in_detail,
    create_node,
    show_node,
    update_node,
    delete_node,
    show_states,
    list_children,
)
