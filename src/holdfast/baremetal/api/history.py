"""Routes of a node's history: what went wrong with it, and when (microversion 1.78)."""

from __future__ import annotations

from typing import Any

from litestar import Response, get

from holdfast.baremetal.api.call import Call, Segment, TheCall
from holdfast.baremetal.api.versions import exists_since
from holdfast.baremetal.service.history import Entry
from holdfast.baremetal.service.rows import as_uuid
from holdfast.errors import NotFoundError
from holdfast.identity.policy import Policy, Role

SINCE = 78
READ = Policy("baremetal:node:history:get", Role.READER)
_OPT = {"policy": READ.name}
_BRIEF = ("uuid", "created_at", "severity", "event")


@get("/v1/nodes/{ident:str}/history", opt=_OPT)
async def list_history(call: TheCall, ident: Segment) -> Response[bytes]:
    """The errors of a node, oldest first; ``detail`` says whose job met them and where."""
    exists_since(call.minor, SINCE)
    detail = bool(call.query.flag("detail"))
    limit, marker = call.query.number("limit"), call.query.uuid("marker")
    call.query.finish()
    size = call.baremetal.read.page_size(limit)
    node, entries = await call.baremetal.history.of(call.caller, ident, size, marker)
    body: dict[str, Any] = {"history": [_shown(call, entry, detail) for entry in entries]}
    if len(entries) == size:
        query = call.query.following(size, str(entries[-1]["uuid"]))
        body["next"] = f"{call.url}/v1/nodes/{node}/history?{query}"
    return call.answer(body)


@get("/v1/nodes/{ident:str}/history/{entry:str}", opt=_OPT)
async def show_history(call: TheCall, ident: Segment, entry: Segment) -> Response[bytes]:
    """One entry in detail."""
    exists_since(call.minor, SINCE)
    call.query.finish()
    uuid = as_uuid(entry)
    if uuid is None:
        raise NotFoundError(f"Node history record {entry} could not be found.")
    found = await call.baremetal.history.one(call.caller, ident, uuid)
    return call.answer(_shown(call, found, True))


def _shown(call: Call, entry: Entry, detail: bool) -> Entry:
    path = f"nodes/{entry['node_uuid']}/history/{entry['uuid']}"
    links = [
        {"href": f"{call.url}/v1/{path}", "rel": "self"},
        {"href": f"{call.url}/{path}", "rel": "bookmark"},
    ]
    names = entry if detail else _BRIEF
    return {**{name: entry[name] for name in names}, "links": links}


HANDLERS = (list_history, show_history)
