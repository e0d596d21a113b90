"""The Orchestration API v1 (Heat's), mounted by ``web`` under ``/orchestration``.

Paths here are relative to the API's root. ``web.apis.Api`` is put together of what this
module exports.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus
from uuid import UUID

from litestar import Response, Router, get
from litestar.di import Provide

from holdfast.identity.catalog import PROJECT, Service
from holdfast.identity.policy import Policy, Role
from holdfast.identity.service import Identity
from holdfast.stacks.api import absent, catalogue, collection, doors, one, software, within
from holdfast.stacks.api.call import Call, HttpRequest, TheCall
from holdfast.stacks.api.doors import Doors
from holdfast.stacks.errors import KINDS
from holdfast.stacks.hot import errors as hot
from holdfast.stacks.service import Stacks

PREFIX = "/orchestration"
PORT = 8004
"""Where Heat's API is elsewhere."""
SERVICE = Service(type="orchestration", name="heat", path=f"{PREFIX}/v1/{PROJECT}")

POLICIES = (
    Policy("stacks:index", Role.READER),
    Policy("stacks:lookup", Role.READER),
    Policy("stacks:show", Role.READER),
    Policy("stacks:create", Role.MEMBER),
    Policy("stacks:preview", Role.MEMBER),
    Policy("stacks:validate_template", Role.MEMBER),
    Policy("stacks:update", Role.MEMBER),
    Policy("stacks:delete", Role.MEMBER),
    Policy("stacks:action", Role.MEMBER),
    Policy("stacks:export", Role.MEMBER),
    Policy("stacks:abandon", Role.MEMBER),
    Policy("stacks:resource:mark_unhealthy", Role.MEMBER),
    doors.POLICY,
    Policy("stacks:resource_types", Role.READER),
    Policy("stacks:build_info", Role.READER),
    Policy("stacks:services", Role.ADMIN),
    Policy("stacks:software:get", Role.READER),
    Policy("stacks:software:write", Role.MEMBER),
)

_VERSIONS = 300


@get("/", opt={"policy": "public"})
async def versions(call: TheCall) -> Response[bytes]:
    """Which versions there are."""
    return call.answer({"versions": [_version(call)]}, _VERSIONS)


@get("/v1", opt={"policy": "public"})
async def version(call: TheCall) -> Response[bytes]:
    """The one there is."""
    return call.answer({"versions": [_version(call)]}, _VERSIONS)


def _version(call: Call) -> dict[str, object]:
    return {
        "id": "v1.0",
        "status": "CURRENT",
        "links": [{"rel": "self", "href": f"{call.url}/v1/"}],
    }


# -- errors ------------------------------------------------------------------------

_HOT = {
    error.code: error.kind
    for error in vars(hot).values()
    if isinstance(error, type) and issubclass(error, hot.HotError)
}
_KINDS = {
    **_HOT,
    **KINDS,
    "not_found": "NotFound",
    "forbidden": "Forbidden",
    "not_authenticated": "HTTPUnauthorized",
    "invalid": "HTTPBadRequest",
    "conflict": "ActionInProgress",
    "unavailable": "HTTPServiceUnavailable",
    "store_unavailable": "HTTPServiceUnavailable",
}
_EXPLANATIONS = {
    400: "The server could not comply with the request since it is either malformed or "
    "otherwise incorrect.",
    401: "The request needs a token that proves who sends it.",
    403: "This is not allowed to whoever sent the request, or beyond a limit.",
    404: "The resource could not be found.",
    409: "The request conflicts with the present state of what it is about.",
    413: "The request is larger than this server takes.",
    500: "The server has either erred or is incapable of performing the requested operation.",
    503: "The server is currently unavailable. Please try again at a later time.",
}


def error_body(status: int, code: str, message: str) -> dict[str, object]:
    """An error in this API's shape (compat.md, "Errors")."""
    title = _title(status)
    return {
        "code": status,
        "title": title,
        "explanation": _EXPLANATIONS.get(status, f"{title}."),
        "error": {
            "type": _KINDS.get(code, f"HTTP{title.replace(' ', '')}"),
            "message": message,
            "traceback": None,
        },
    }


def _title(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"


# -- paths by name or id alone -------------------------------------------------------

_STACK = re.compile(r"/v1/([^/]+)/stacks/([^/]+)(/.*)?")
_OF_ALL = frozenset({"detail", "preview"})


def rewrite(path: str, _headers: Mapping[bytes, bytes]) -> str:
    """What names a stack only by name or id is led to where its place is looked up."""
    matched = _STACK.fullmatch(path)
    if matched is None:
        return path
    project, name, rest = matched[1], matched[2], matched[3] or ""
    if (not rest and name in _OF_ALL) or _is_uuid(rest[1:].partition("/")[0]):
        return path
    return f"/v1/{project}/lookup/{name}{rest}"


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def router(stacks: Stacks, identity: Identity) -> Router:
    """All routes over one service."""
    opened = Doors(identity, stacks)

    def call(request: HttpRequest) -> Call:
        return Call(request, stacks, opened)

    return Router(
        path="/",
        route_handlers=[
            versions,
            version,
            *collection.HANDLERS,
            *one.HANDLERS,
            *within.HANDLERS,
            *catalogue.HANDLERS,
            *software.HANDLERS,
            *absent.HANDLERS,
        ],
        dependencies={"call": Provide(call, sync_to_thread=False)},
    )


__all__ = ["POLICIES", "PORT", "PREFIX", "SERVICE", "error_body", "rewrite", "router"]
