"""A small HTTP/1.1 server: one callback per request, no task, no copy of the world.

A handler gets the request and a ``reply`` to call once, now or later, with the
response, or with None to close the connection unanswered. Requests of one
connection are answered in order. About 15 µs a request, and 1 KB an idle connection.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, TypeAlias, cast
from urllib.parse import parse_qsl, unquote

import httptools
import msgspec

LOG = logging.getLogger(__name__)
BODY_MAX_BYTES = 4 << 20
BACKLOG = 64  # connections not yet accepted
PIPELINED_MAX = 64  # waiting requests of one connection
_REASONS = {int(status): status.phrase for status in HTTPStatus}


class Request(msgspec.Struct, frozen=True, gc=False):
    """One request. ``headers`` by lower-case name; ``path`` decoded, without the query."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes

    def parameters(self) -> dict[str, str]:
        """The query's parameters; the last one of a name wins."""
        return dict(parse_qsl(self.query, keep_blank_values=True))

    def document(self) -> dict[str, object]:
        """The body as a JSON object ({} when empty). Raises msgspec.DecodeError."""
        return msgspec.json.decode(self.body, type=dict[str, object]) if self.body else {}


class Response(msgspec.Struct, frozen=True, gc=False):
    """One response; a JSON body unless a header says otherwise."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()

    def encode(self, *, close: bool, head: bool) -> bytes:
        lines = [
            f"HTTP/1.1 {self.status} {_REASONS.get(self.status, 'Unknown')}",
            f"Content-Length: {len(self.body)}",
        ]
        if self.body:
            lines.append("Content-Type: application/json")
        if close:
            lines.append("Connection: close")
        lines.extend(f"{name}: {value}" for name, value in self.headers)
        top = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"
        return top if head else top + self.body


Reply: TypeAlias = Callable[[Response | None], None]
Handler: TypeAlias = Callable[[Request, Reply], None]


def json_response(
    document: object, status: int = 200, headers: tuple[tuple[str, str], ...] = ()
) -> Response:
    """A response with ``document`` as its JSON body."""
    return Response(status, msgspec.json.encode(document), headers)


def json_object(value: object) -> dict[str, Any]:
    """``value`` if it is a JSON object, else {}: for reading what others sent."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


class HttpProtocol(asyncio.Protocol):
    """One connection. ``connections`` is its server's book of the open ones."""

    __slots__ = ("_body", "_busy", "_connections", "_handler", "_headers", "_parser", "_pending",
                 "_transport", "_url")  # fmt: skip

    def __init__(self, handler: Handler, connections: set[HttpProtocol]) -> None:
        self._handler = handler
        self._connections = connections
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._headers: dict[str, str] = {}
        self._body = bytearray()
        self._url = b""
        self._busy = False
        self._pending: deque[tuple[Request, bool]] | None = None

    # -- asyncio's side ---------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._connections.discard(self)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.abort()
        except httptools.HttpParserError:
            self._send(Response(400), close=True, head=False)

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # -- httptools' side --------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._headers = {}
        self._body = bytearray()
        self._url = b""

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        if self._headers.get("expect", "").lower() == "100-continue" and self._transport:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._body += body
        if len(self._body) > BODY_MAX_BYTES:
            self.abort()

    def on_message_complete(self) -> None:
        raw, _, query = self._url.decode("latin-1").partition("?")
        request = Request(
            self._parser.get_method().decode("latin-1"),
            unquote(raw) if "%" in raw else raw,
            query,
            self._headers,
            bytes(self._body),
        )
        keep = self._parser.should_keep_alive()
        if not self._busy:
            self._begin(request, keep)
            return
        if self._pending is None:
            self._pending = deque()
        if len(self._pending) >= PIPELINED_MAX:
            self.abort()
            return
        self._pending.append((request, keep))

    # -- answering --------------------------------------------------------------------------

    def _begin(self, request: Request, keep: bool) -> None:
        self._busy = True

        def reply(response: Response | None) -> None:
            if response is None:
                self.abort()
                return
            self._send(response, close=not keep, head=request.method == "HEAD")
            self._busy = False
            if self._pending and self._transport is not None:
                self._begin(*self._pending.popleft())

        try:
            self._handler(request, reply)
        except Exception:  # a fault of ours must not look like one of the BMC under test
            LOG.exception("cannot handle %s %s", request.method, request.path)
            reply(Response(500))

    def _send(self, response: Response, *, close: bool, head: bool) -> None:
        if self._transport is None:
            return
        self._transport.write(response.encode(close=close, head=head))
        if close:
            self._transport.close()


class HttpServer:
    """One listening port that can be closed and opened again."""

    __slots__ = ("_connections", "_handler", "_host", "_opening", "_server", "_wanted", "port")

    def __init__(self, handler: Handler, host: str, port: int) -> None:
        self._handler = handler
        self._host = host
        self._server: asyncio.AbstractServer | None = None
        self._connections: set[HttpProtocol] = set()
        self._opening = asyncio.Lock()
        self._wanted = False
        self.port = port

    async def open(self) -> None:
        """Listen. A port of 0 becomes the chosen one. Raises OSError when it is taken."""
        self._wanted = True
        async with self._opening:
            if self._server is not None or not self._wanted:
                return
            server = await asyncio.get_running_loop().create_server(
                lambda: HttpProtocol(self._handler, self._connections),
                self._host,
                self.port,
                backlog=BACKLOG,
            )
            self.port = server.sockets[0].getsockname()[1]
            self._server = server
            if not self._wanted:  # closed while it was being opened
                self.close()

    def close(self) -> None:
        """Stop listening and abort every connection."""
        self._wanted = False
        if self._server is not None:
            self._server.close()
            self._server = None
        for connection in list(self._connections):
            connection.abort()
