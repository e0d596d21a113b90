"""The outermost layer: what every request gets, whichever API it is for.

In order: a request id; the path normalised (clients send ``//`` and trailing slashes) and,
on an API's own port, put under its prefix; HEAD answered as GET without its body; then the
application; then the access log and the metrics. An own port differs from the common
address only in what its root is, so a catalog built there still leads everywhere.
"""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import Any, TypeAlias
from uuid import uuid4

import structlog

from holdfast.web.apis import Api
from holdfast.web.context import ADDRESS, API, API_URL, REQUEST_ID
from holdfast.web.metrics import UNKNOWN_ROUTE, RequestMetrics
from holdfast.web.probes import Health

# ASGI as its specification writes it; frameworks' stricter types differ from one another.
Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Any]]
Send: TypeAlias = Callable[[Any], Awaitable[None]]
AsgiApp: TypeAlias = Callable[[Any, Receive, Send], Awaitable[None]]

_LOG = structlog.get_logger("holdfast.access")
_AGENT_MAX = 200
_HOST = re.compile(
    rb"(?:[A-Za-z0-9_][A-Za-z0-9_.-]{0,252}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?"
)
_QUIET = frozenset({"/livez", "/readyz", "/metrics"})


class Front:
    """An ASGI application in front of the assembled one.

    ``ports``: local TCP port -> name of the API that is at its root there.
    """

    def __init__(
        self,
        app: AsgiApp,
        apis: Sequence[Api],
        *,
        health: Health,
        metrics: RequestMetrics,
        ports: Mapping[int, str],
        public_url: str,
        access_log: bool,
    ) -> None:
        self._app = app
        self._health = health
        self._metrics = metrics
        self._public_url = public_url.rstrip("/")
        self._access_log = access_log
        self._by_prefix = {api.prefix: api for api in apis}
        by_name = {api.name: api for api in apis}
        self._by_port = {port: by_name[name] for port, name in ports.items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(send, closing=self._health.draining, head=_method(scope) == "HEAD")
        inner = self._inside(scope, exchange.request_id)
        started = time.perf_counter()
        try:
            await self._app(inner, receive, exchange.send)
        finally:
            self._record(inner, exchange, time.perf_counter() - started)

    def _inside(self, scope: Scope, request_id: str) -> Scope:
        """The request as the application sees it."""
        path = "/" + "/".join(part for part in scope["path"].split("/") if part)
        api = self._by_prefix.get(_first(path))
        address = self._public_url or _address(scope)
        api_url = f"{address}{api.prefix}" if api else address
        server = scope.get("server")
        own = self._by_port.get(server[1] or 0) if server and self._by_port else None
        if own is not None and (api is None or api is own) and path not in _QUIET:
            if api is None:
                path = own.prefix + (path if path != "/" else "")
            api, api_url = own, _address(scope)
        if api is not None:
            rest = api.rewrite(path[len(api.prefix) :] or "/", dict(scope["headers"]))
            path = api.prefix + (rest if rest != "/" else "")
        state: dict[str, Any] = {
            **(scope.get("state") or {}),
            REQUEST_ID: request_id,
            ADDRESS: address,
            API_URL: api_url,
            API: api,
        }
        inner: Scope = {**scope, "path": path, "state": state}
        if _method(scope) == "HEAD":
            inner["method"] = "GET"
        return inner

    def _record(self, scope: Scope, exchange: _Exchange, elapsed_s: float) -> None:
        if scope["type"] != "http":
            return
        api: Api | None = scope["state"][API]
        name = api.name if api else "-"
        route = scope.get("path_template") or UNKNOWN_ROUTE
        method = _method(scope) if route != UNKNOWN_ROUTE else "-"
        self._metrics.observe(name, method, route, exchange.status, elapsed_s)
        if not self._access_log or scope["path"] in _QUIET:
            return
        caller = scope.get("user")
        _LOG.info(
            "request",
            request_id=exchange.request_id,
            method=scope["method"],
            path=scope["path"],
            status=exchange.status,
            ms=round(elapsed_s * 1000, 2),
            caller=caller.label() if caller is not None else None,
            agent=_user_agent(scope),
        )


class _Exchange:
    """One answer on its way out: gets its headers, and is remembered for log and metrics."""

    __slots__ = ("_closing", "_head", "_send", "request_id", "status")

    def __init__(self, send: Send, *, closing: bool, head: bool) -> None:
        self._send = send
        self._closing = closing
        self._head = head
        self.request_id = f"req-{uuid4()}"
        self.status = 500

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers: list[tuple[bytes, bytes]] = [
                *message.get("headers", ()),
                (b"x-openstack-request-id", self.request_id.encode()),
            ]
            if self._closing:  # the client shall come back to another process
                headers.append((b"connection", b"close"))
            message["headers"] = headers
        elif message["type"] == "http.response.body" and self._head:
            message["body"] = b""
        await self._send(message)


def _method(scope: Scope) -> str:
    return scope.get("method") or ""


def _user_agent(scope: Scope) -> str | None:
    """What the client calls itself, as far as a log line has room for it."""
    for name, value in scope["headers"]:
        if name == b"user-agent":
            return str(value[:_AGENT_MAX].decode("latin-1"))
    return None


def _first(path: str) -> str:
    """``/baremetal`` of ``/baremetal/v1/nodes``."""
    return "/" + path[1:].partition("/")[0]


def _address(scope: Scope) -> str:
    """``http://host:port`` as the client wrote it, else as we are bound.

    What is no host (RFC 9110, 7.2) is not repeated: links are made of it.
    """
    scheme = {"ws": "http", "wss": "https"}.get(scope["scheme"], scope["scheme"])
    for name, value in scope["headers"]:
        if name == b"host" and _HOST.fullmatch(value):
            return f"{scheme}://{value.decode('ascii')}"
    server = scope.get("server")
    return f"{scheme}://{server[0]}:{server[1]}" if server else f"{scheme}://localhost"
