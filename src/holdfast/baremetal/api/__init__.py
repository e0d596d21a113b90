"""The Bare Metal API v1 (Ironic's), mounted by ``web`` under ``/baremetal``.

Paths here are relative to the API's root. ``web.apis.Api`` is put together of what this
module exports.
"""

from __future__ import annotations

import re

import msgspec
from litestar import Response, Router, get
from litestar.di import Provide

from holdfast.baremetal.api import absent, drivers, node_actions, nodes, ports, ramdisk
from holdfast.baremetal.api.call import Call, HttpRequest, TheCall
from holdfast.baremetal.api.versions import error_headers, root_document, v1_document
from holdfast.baremetal.service import Baremetal
from holdfast.identity.catalog import Service
from holdfast.identity.policy import Policy, Role

PREFIX = "/baremetal"
SERVICE = Service(type="baremetal", name="ironic", path=PREFIX)

POLICIES = (
    Policy("baremetal:node:get", Role.READER),
    Policy("baremetal:node:create", Role.ADMIN),
    Policy("baremetal:node:update", Role.MEMBER),
    Policy("baremetal:node:delete", Role.ADMIN),
    Policy("baremetal:node:set_provision_state", Role.MEMBER),
    Policy("baremetal:node:set_power_state", Role.MEMBER),
    Policy("baremetal:node:set_boot_device", Role.MEMBER),
    Policy("baremetal:node:set_maintenance", Role.MEMBER),
    Policy("baremetal:node:traits:set", Role.ADMIN),
    Policy("baremetal:port:get", Role.READER),
    Policy("baremetal:port:create", Role.ADMIN),
    Policy("baremetal:port:update", Role.ADMIN),
    Policy("baremetal:port:delete", Role.ADMIN),
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


_COLLECTIONS = frozenset({"nodes", "ports", "drivers", "conductors", "lookup", "heartbeat"})
_JSON_SUFFIX = re.compile(r"(/[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12})\.json$")


def rewrite(path: str) -> str:
    """Older spellings that clients still use: no ``/v1``, and ``.json`` after a UUID."""
    path = _JSON_SUFFIX.sub(r"\1", path)
    if path.endswith(".json") and path[1:-5].removeprefix("v1/") in _COLLECTIONS:
        path = path[:-5]
    return f"/v1{path}" if path[1:].partition("/")[0] in _COLLECTIONS else path


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
            *ports.HANDLERS,
            *drivers.HANDLERS,
            *ramdisk.HANDLERS,
            *absent.HANDLERS,
        ],
        dependencies={"call": Provide(call, sync_to_thread=False)},
    )


__all__ = ["POLICIES", "PREFIX", "SERVICE", "error_body", "error_headers", "rewrite", "router"]
