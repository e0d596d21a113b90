"""Routes for ramdisk agents. They carry no token of ours: the service asks for other proof."""

from __future__ import annotations

from litestar import Response, get, post
from litestar.response.base import ASGIResponse

from holdfast.baremetal.api.call import Segment, TheCall
from holdfast.baremetal.api.render import rendered
from holdfast.baremetal.api.versions import exists_since
from holdfast.baremetal.resources import NODES
from holdfast.baremetal.service.ramdisk import SHOWN, Heartbeat

_SINCE = 22
PUBLIC = {"policy": "public"}


class NamedHeartbeat(Heartbeat, frozen=True, kw_only=True):
    """The body of ``POST /v1/heartbeat``. ``node_ident``: the node's UUID."""

    node_ident: str


@get("/v1/lookup", opt=PUBLIC)
async def lookup(call: TheCall) -> Response[bytes]:
    """Tell a booted ramdisk which node it is, and give it its agent's configuration."""
    exists_since(call.minor, _SINCE)
    addresses, node_uuid = call.query.text("addresses"), call.query.text("node_uuid")
    call.query.finish()
    document, config = await call.baremetal.ramdisk.lookup(addresses, node_uuid)
    node = rendered(call, NODES, SHOWN, [document])[0]
    return call.answer({"node": node, "config": config}, headers={"Cache-Control": "no-store"})


@post("/v1/heartbeat/{ident:str}", opt=PUBLIC)
async def heartbeat(call: TheCall, ident: Segment) -> ASGIResponse:
    """Hear that an agent is there, and where."""
    exists_since(call.minor, _SINCE)
    await call.baremetal.ramdisk.heartbeat(ident, await call.body(Heartbeat))
    return call.done(202)


@post("/v1/heartbeat", opt=PUBLIC)
async def heartbeat_of(call: TheCall) -> ASGIResponse:
    """The same, with the node in the body."""
    exists_since(call.minor, _SINCE)
    beat = await call.body(NamedHeartbeat)
    await call.baremetal.ramdisk.heartbeat(beat.node_ident, beat)
    return call.done(202)


HANDLERS = (lookup, heartbeat, heartbeat_of)
