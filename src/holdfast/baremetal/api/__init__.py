"""The Bare Metal API v1 (Ironic's), mounted by ``web`` under ``/baremetal``.

Paths here are relative to the API's root. ``web.apis.Api`` is put together of what this
module exports.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping

import msgspec
from litestar import Response, Router, get
from litestar.di import Provide

from holdfast.baremetal.api import (
    absent,
    allocations,
    chassis,
    drivers,
    history,
    node_actions,
    node_details,
    nodes,
    portgroups,
    ports,
    procedures,
    ramdisk,
)
from holdfast.baremetal.api.call import Call, HttpRequest, TheCall
from holdfast.baremetal.api.versions import (
    MAX,
    asked_minor,
    error_headers,
    root_document,
    v1_document,
)
from holdfast.baremetal.errors import NotAcceptableError
from holdfast.baremetal.resources import RESOURCES
from holdfast.baremetal.service import Baremetal
from holdfast.identity.catalog import Service
from holdfast.identity.policy import Caller, Policy, Role

PREFIX = "/baremetal"
SERVICE = Service(type="baremetal", name="ironic", path=PREFIX)

POLICIES = (
    Policy("baremetal:node:get", Role.READER),
    Policy("baremetal:node:create", Role.ADMIN),
    Policy("baremetal:node:update", Role.MEMBER),
    Policy("baremetal:node:delete", Role.ADMIN),
    Policy("baremetal:node:validate", Role.MEMBER),
    Policy("baremetal:node:set_provision_state", Role.MEMBER),
    Policy("baremetal:node:set_power_state", Role.MEMBER),
    Policy("baremetal:node:get_boot_device", Role.MEMBER),
    Policy("baremetal:node:set_boot_device", Role.MEMBER),
    Policy("baremetal:node:set_boot_mode", Role.MEMBER),
    Policy("baremetal:node:set_secure_boot", Role.MEMBER),
    Policy("baremetal:node:set_raid_state", Role.MEMBER),
    Policy("baremetal:node:get_console", Role.MEMBER),
    Policy("baremetal:node:set_console_state", Role.MEMBER),
    history.READ,
    Policy("baremetal:node:inventory:get", Role.READER),
    Policy("baremetal:node:bios:get", Role.READER),
    Policy("baremetal:node:firmware:get", Role.READER),
    Policy("baremetal:node:vif:list", Role.READER),
    Policy("baremetal:node:vif:attach", Role.MEMBER),
    Policy("baremetal:node:vif:detach", Role.MEMBER),
    Policy("baremetal:node:vendor_passthru", Role.ADMIN),
    Policy("baremetal:node:vmedia:get", Role.READER),
    Policy("baremetal:node:vmedia:attach", Role.MEMBER),
    Policy("baremetal:node:vmedia:detach", Role.MEMBER),
    Policy("baremetal:node:inject_nmi", Role.MEMBER),
    Policy("baremetal:node:set_maintenance", Role.MEMBER),
    Policy("baremetal:node:traits:set", Role.MEMBER),
    Policy("baremetal:port:get", Role.READER),
    Policy("baremetal:port:create", Role.ADMIN),
    Policy("baremetal:port:update", Role.MEMBER),
    Policy("baremetal:port:delete", Role.ADMIN),
    Policy("baremetal:portgroup:get", Role.READER),
    Policy("baremetal:portgroup:create", Role.ADMIN),
    Policy("baremetal:portgroup:update", Role.MEMBER),
    Policy("baremetal:portgroup:delete", Role.ADMIN),
    Policy("baremetal:allocation:get", Role.READER),
    Policy("baremetal:allocation:create", Role.MEMBER),
    Policy("baremetal:allocation:update", Role.MEMBER),
    Policy("baremetal:allocation:delete", Role.MEMBER),
    Policy("baremetal:runbook:get", Role.READER),
    Policy("baremetal:runbook:create", Role.MEMBER),
    Policy("baremetal:runbook:update", Role.MEMBER),
    Policy("baremetal:runbook:delete", Role.MEMBER),
    Policy("baremetal:chassis:get", Role.READER, everywhere=True),
    Policy("baremetal:chassis:create", Role.ADMIN, everywhere=True),
    Policy("baremetal:chassis:update", Role.ADMIN, everywhere=True),
    Policy("baremetal:chassis:delete", Role.ADMIN, everywhere=True),
    Policy("baremetal:deploy_template:get", Role.READER, everywhere=True),
    Policy("baremetal:deploy_template:create", Role.ADMIN, everywhere=True),
    Policy("baremetal:deploy_template:update", Role.ADMIN, everywhere=True),
    Policy("baremetal:deploy_template:delete", Role.ADMIN, everywhere=True),
    Policy("baremetal:shards:get", Role.READER, everywhere=True),
    Policy("baremetal:driver:get", Role.READER),
    Policy("baremetal:conductor:get", Role.READER, everywhere=True),
)


@get("/", opt={"policy": "public"})
async def root(call: TheCall) -> Response[bytes]:
    """Which versions there are."""
    return call.answer(root_document(call.url))


@get("/v1", opt={"policy": "public"})
async def v1(call: TheCall) -> Response[bytes]:
    """What version 1 has."""
    return call.answer(v1_document(call.url, call.minor))


def error_body(status: int, _code: str, message: str) -> dict[str, str]:
    """An error in this API's shape: JSON inside JSON (compat.md, "Errors")."""
    fault = {
        "faultcode": "Client" if status < 500 else "Server",
        "faultstring": message,
        "debuginfo": None,
    }
    return {"error_message": msgspec.json.encode(fault).decode()}


_COLLECTIONS = frozenset(
    {
        *(resource.plural for resource in RESOURCES),
        *("drivers", "conductors", "shards", "lookup", "heartbeat"),
    }
)
_JSON_SUFFIX = re.compile(r"(/[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12})\.json$")
_JSON_SUFFIX_UNTIL = 90
_CONSOLE = re.compile(r"/nodes/states/console/([^/]+)$")


def rewrite(path: str, headers: Mapping[bytes, bytes]) -> str:
    """Older spellings that clients still use.

    No ``/v1``; the node last; and until 1.90 ``.json`` at the end of a UUID or collection.
    """
    if path.endswith(".json") and _minor(headers) <= _JSON_SUFFIX_UNTIL:
        path = _JSON_SUFFIX.sub(r"\1", path)
        if path[1:-5].removeprefix("v1/") in _COLLECTIONS:
            path = path[:-5]
    path = _CONSOLE.sub(r"/nodes/\1/states/console", path)
    return f"/v1{path}" if path[1:].partition("/")[0] in _COLLECTIONS else path


def _minor(headers: Mapping[bytes, bytes]) -> int:
    try:
        return asked_minor(headers)
    except NotAcceptableError:  # said when the request is answered
        return MAX


def router(baremetal: Baremetal) -> Router:
    """All routes over one service."""

    def call(request: HttpRequest) -> Call:
        return Call(request, baremetal)

    return Router(
        path="/",
        route_handlers=[
            root,
            v1,
            *nodes.HANDLERS,
            *node_actions.HANDLERS,
            *node_details.HANDLERS,
            *history.HANDLERS,
            *ports.HANDLERS,
            *portgroups.HANDLERS,
            *chassis.HANDLERS,
            *allocations.HANDLERS,
            *procedures.HANDLERS,
            *drivers.HANDLERS,
            *ramdisk.HANDLERS,
            *absent.HANDLERS,
        ],
        dependencies={"call": Provide(call, sync_to_thread=False)},
    )


_BY_PLURAL = {resource.plural: resource for resource in RESOURCES}


def hiding(baremetal: Baremetal) -> Callable[[Caller, str], Awaitable[None]]:
    """Who may not do something to a thing learns so only if they may know of the thing.

    What this returns raises ``NotFoundError`` for the path of one they may not know of.
    """

    async def hide(caller: Caller, path: str) -> None:
        _, collection, ident, *_ = [*path.strip("/").split("/"), "", "", ""]
        if ident and (resource := _BY_PLURAL.get(collection)) is not None:
            await baremetal.read.one(resource, caller, ident, ("uuid",))

    return hide


__all__ = [
    "POLICIES",
    "PREFIX",
    "SERVICE",
    "error_body",
    "error_headers",
    "hiding",
    "rewrite",
    "router",
]
