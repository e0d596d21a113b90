"""Every route asks for a token and a policy; what declares neither does not start.

The middleware runs after routing and before anything of the body is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any, Final

from litestar import Litestar, Request
from litestar.enums import ScopeType
from litestar.exceptions import ClientException
from litestar.handlers import BaseRouteHandler
from litestar.middleware import ASGIMiddleware
from litestar.routes import HTTPRoute
from litestar.types import ASGIApp, Receive, Scope, Send

from holdfast.errors import ConfigError, ForbiddenError, NotAuthenticatedError
from holdfast.identity.policy import PUBLIC, Caller, Policy, PolicyRegistry
from holdfast.identity.service import Identity
from holdfast.store.events import Actor, acting
from holdfast.web.context import REQUEST_ID, api_of, state_of

OPEN_HERE: Final = "open_here"
"""In a route's ``opt``: whoever is on this host needs no token."""

_FORWARDED = frozenset({b"forwarded", b"x-forwarded-for", b"via"})
_METHODS_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})


class UnsupportedMediaTypeError(ClientException):
    """The body is of a type this API does not read."""

    status_code = 415


class Authentication(ASGIMiddleware):
    """Finds the caller of each request and lets it through by the route's policy."""

    scopes = (ScopeType.HTTP, ScopeType.WEBSOCKET, ScopeType.ASGI)

    def __init__(self, identity: Identity, policies: PolicyRegistry) -> None:
        self._identity = identity
        self._policies = policies

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        policy = self._policies.get(scope["route_handler"].opt.get("policy"))
        if policy is None:  # check_policies leaves none such; if one appears it is not open
            raise ForbiddenError("this route has no policy and is closed: report it as a bug")
        caller: Caller | None = None
        open_here = scope["route_handler"].opt.get(OPEN_HERE) and _is_from_here(scope)
        if not (policy.public or open_here):
            caller = await self._caller(scope)
            await _check(policy, caller, scope)
            scope["user"] = caller
        _check_media_type(scope)
        with acting(_actor(scope, caller)):
            await next_app(scope, receive, send)

    async def _caller(self, scope: Scope) -> Caller:
        for name, value in scope["headers"]:
            if name == b"x-auth-token":
                return await self._identity.caller(value.decode("latin-1"))
        raise NotAuthenticatedError(
            "The request you have made requires authentication: send a token in X-Auth-Token."
        )


def _is_from_here(scope: Scope) -> bool:
    """Whether the client is on this host, and no proxy that speaks for somebody else."""
    client = scope["client"]
    if client is None or any(name in _FORWARDED for name, _ in scope["headers"]):
        return False
    try:
        return ip_address(client[0]).is_loopback
    except ValueError:  # a socket that is no address
        return False


async def _check(policy: Policy, caller: Caller, scope: Scope) -> None:
    """Let the caller through, or say why not: that it may not, or that there is nothing."""
    try:
        policy.check(caller)
    except ForbiddenError:
        if (api := api_of(scope)) is not None:
            await api.hide(caller, scope["path"].removeprefix(api.prefix))
        raise


def _actor(scope: Scope, caller: Caller | None) -> Actor:
    """On whose behalf the request changes what it changes, for the event log."""
    request: str = state_of(scope)[REQUEST_ID]
    if caller is None:
        return Actor(request=request)
    return Actor(
        user_id=caller.user_id, label=caller.label(), project=caller.project_id, request=request
    )


def _check_media_type(scope: Scope) -> None:
    """Refuse a body that says it is something else than JSON (or what the API allows)."""
    if scope["type"] != ScopeType.HTTP or scope["method"] not in _METHODS_WITH_BODY:
        return
    headers = dict(scope["headers"])
    if headers.get(b"content-length", b"0") == b"0" and b"transfer-encoding" not in headers:
        return
    said = headers.get(b"content-type", b"").decode("latin-1").partition(";")[0].strip().lower()
    if not said or said == "application/json" or said.endswith("+json"):
        return
    api = api_of(scope)
    if api is not None and said in api.media_types:
        return
    raise UnsupportedMediaTypeError(
        f"a body of type {said} is not read here: send application/json"
    )


def provide_caller(request: Request[Any, Any, Any]) -> Caller:
    """The dependency ``caller`` of handlers whose route is not public."""
    return request.user


def check_policies(app: Litestar, policies: PolicyRegistry) -> None:
    """Refuse to start with a route nobody decided about. Raises ``ConfigError`` naming all."""
    faults: list[str] = []
    for path, handler in _handlers(app):
        name = handler.opt.get("policy")
        if policies.get(name) is None:
            what = "no policy" if name is None else f"the unknown policy {name!r}"
            faults.append(f"{path} ({handler.handler_name}) has {what}")
    if faults:
        listed = "; ".join(sorted(faults))
        raise ConfigError(f"every route needs a policy (security.md, API): {listed}")


def _handlers(app: Litestar) -> Iterator[tuple[str, BaseRouteHandler]]:
    for route in app.routes:
        if not isinstance(route, HTTPRoute):
            yield route.path, route.route_handler
            continue
        for handler in route.route_handlers:
            if handler.handler_name == "options_handler" and "policy" not in handler.opt:
                # Litestar's own answer to OPTIONS: the allowed methods, nothing else.
                handler.opt["policy"] = PUBLIC.name
            yield route.path, handler
