"""HTTP/1.1 over an asyncio protocol and httptools: the plainest that reaches the figures.

One request of a connection is worked on at a time; what is pipelined behind it waits, and
reading stops meanwhile, so that a client can make us hold no more than one body.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Final, Protocol, cast

import httptools

from holdfast.errors import HoldfastError, InvalidInputError
from holdfast.serving.errors import BodyTooLargeError, UnavailableError
from holdfast.serving.front.answers import Answer, answer_bytes, error_answer
from holdfast.serving.settings import HttpSettings

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_URL_BYTES_MAX: Final = 8192


class Sink(Protocol):
    """Takes a body in pieces (an upload)."""

    def write(self, data: bytes) -> None: ...
    def abort(self) -> None: ...


class Request:
    """A request; ``body`` is whole, unless a ``sink`` took it."""

    __slots__ = (
        "authorization", "body", "deadline_ms", "expects", "keep_alive", "length", "method",
        "parts", "sink", "size", "url",
    )  # fmt: skip

    def __init__(self) -> None:
        self.method = b""
        self.url = b""
        self.authorization = b""
        self.body = b""
        self.parts: list[bytes] | None = None
        self.sink: Sink | None = None
        self.size = 0
        self.length = -1
        self.expects = False
        self.keep_alive = True
        self.deadline_ms = 0


class App(Protocol):
    """What answers: ``query`` at once or later by ``respond``, ``handle`` by a coroutine."""

    settings: HttpSettings
    connections: set[Connection]
    closing: bool
    held_bytes: int

    def sink(self, request: Request) -> Sink | None: ...
    def query(self, connection: Connection, request: Request) -> bool: ...
    async def handle(self, connection: Connection, request: Request) -> Answer: ...


class Connection(asyncio.Protocol):
    """One client."""

    def __init__(self, app: App, clock: Any) -> None:
        self.peer = ""
        self.busy = False
        self.since = 0.0  # when the present state (idle, receiving) began
        self.receiving = False
        self.abandoned: Any = None  # the query under way; it is told when the client has gone
        self._app = app
        self._clock = clock
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._request = Request()
        self._header_bytes = 0
        self._refused = False
        self._waiting: deque[Request] = deque()
        self._keep_alive = True
        self._task: asyncio.Task[None] | None = None

    # ---- the transport -------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self.since = self._clock()
        peer: Any = transport.get_extra_info("peername")
        self.peer = str(peer[0]) if peer else ""
        if len(self._app.connections) >= self._app.settings.connections_max:
            self._refuse(UnavailableError("Too many connections: try again later."))
        self._app.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._app.connections.discard(self)
        if self.abandoned is not None:
            self.abandoned.cancelled = True
            self.abandoned = None
        if self._task is not None and self._request.sink is not None:
            self._task.cancel()
        if self.receiving:
            self._drop_body(self._request)
        for request in self._waiting:
            self._drop_body(request)
        self._waiting.clear()

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._refuse(InvalidInputError("This server speaks HTTP/1.1 only."))
        except httptools.HttpParserError as error:
            cause = error.__context__
            known = isinstance(cause, HoldfastError)
            self._refuse(cause if known else InvalidInputError("This is not sound HTTP."))

    # ---- the parser ----------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._request = Request()
        self._header_bytes = 0
        self.receiving = True
        self.since = self._clock()

    def on_url(self, url: bytes) -> None:
        request = self._request
        request.url += url
        if len(request.url) > _URL_BYTES_MAX:
            raise InvalidInputError("The request's path is too long.")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._header_bytes += len(name) + len(value)
        if self._header_bytes > self._app.settings.header_bytes_max:
            raise InvalidInputError("The request's headers are too long.")
        size = len(name)  # most headers are none of ours, which their length tells
        if size == 13 and name.lower() == b"authorization":
            self._request.authorization = value
        elif size == 14 and name.lower() == b"content-length":
            self._request.length = int(value) if value.isdigit() else -1
        elif size == 6 and name.lower() == b"expect":
            self._request.expects = value.lower() == b"100-continue"
        elif size == 20 and name.lower() == b"holdfast-deadline-ms" and value.isdigit():
            self._request.deadline_ms = int(value[:9])

    def on_headers_complete(self) -> None:
        request = self._request
        request.method = self._parser.get_method()
        request.keep_alive = (
            self._parser.should_keep_alive() and self._parser.get_http_version() == "1.1"
        )
        request.sink = self._app.sink(request)
        if request.sink is None and request.length > self._app.settings.body_bytes_max:
            raise self._too_large()
        if request.expects and not self.busy and self._transport is not None:
            self._transport.write(_CONTINUE)

    def on_body(self, data: bytes) -> None:
        request = self._request
        request.size += len(data)
        if request.sink is not None:
            self.since = self._clock()
            request.sink.write(data)
            return
        if request.parts is None and not request.body:
            request.body = data
            return
        if request.parts is None:
            request.parts = [request.body]
            self._app.held_bytes += len(request.body)
        if request.size > self._app.settings.body_bytes_max:
            raise self._too_large()
        self._app.held_bytes += len(data)
        request.parts.append(data)
        if self._app.held_bytes > self._app.settings.bodies_bytes_max:
            raise UnavailableError("Too much is being received: try again later.")

    def on_message_complete(self) -> None:
        request = self._request
        self.receiving = False
        if request.parts is not None:
            request.body = b"".join(request.parts)
        if self.busy or self._waiting:
            self._waiting.append(request)
            if self._transport is not None:
                self._transport.pause_reading()
        else:
            self._begin(request)

    def _too_large(self) -> BodyTooLargeError:
        most = self._app.settings.body_bytes_max
        return BodyTooLargeError(f"The body is larger than {most} bytes.")

    # ---- one request after the other -----------------------------------------------------------

    def _begin(self, request: Request) -> None:
        self.busy = True
        self._keep_alive = request.keep_alive
        self._release(request)
        if not self._app.query(self, request):
            self._task = asyncio.get_running_loop().create_task(self._handle(request))

    async def _handle(self, request: Request) -> None:
        try:
            answer = await self._app.handle(self, request)
        except HoldfastError as error:
            answer = error_answer(error)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - a fault of ours is one answer, not a lost node
            answer = error_answer(error)
        body = b"" if request.method == b"HEAD" else answer.body
        self.respond(answer.status, body, answer.content_type, close=answer.close)

    def respond(
        self,
        status: int,
        body: bytes,
        content_type: str = "application/json",
        *,
        close: bool = False,
    ) -> None:
        """Answer the request under way, then begin the next."""
        self.busy = False
        self.abandoned = None
        transport = self._transport
        if transport is None:
            return
        close = close or not self._keep_alive or self._app.closing
        transport.write(answer_bytes(status, body, close=close, content_type=content_type))
        if close:
            self._refused = True
            transport.close()
            return
        self.since = self._clock()
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        if self._waiting and not self.busy and self._transport is not None:
            request = self._waiting.popleft()
            if not self._waiting:
                self._transport.resume_reading()
            self._begin(request)

    def close_idle(self) -> None:
        """Close it unless a request is there, whole or in part."""
        if not self.busy and not self.receiving and self._transport is not None:
            self._transport.close()

    def close_stale(self, now: float) -> None:
        """Close it if nothing came for too long."""
        if self.busy or self._transport is None:
            return
        settings = self._app.settings
        if self.receiving and now - self.since > settings.request_timeout_s:
            self._transport.abort()
        elif not self.receiving and now - self.since > settings.keepalive_s:
            self._transport.close()

    def abort(self) -> None:
        """Close it now."""
        if self._transport is not None:
            self._transport.abort()

    def _refuse(self, error: BaseException) -> None:
        """Answer what cannot be read on, and close."""
        self._refused = True
        if self.receiving:
            self._drop_body(self._request)
            self.receiving = False
        transport = self._transport
        if transport is not None:
            if not self.busy:
                answer = error_answer(error, close=True)
                transport.write(answer_bytes(answer.status, answer.body, close=True))
            transport.close()

    def _drop_body(self, request: Request) -> None:
        self._release(request)
        if request.sink is not None:
            request.sink.abort()

    def _release(self, request: Request) -> None:
        if request.parts is not None:
            self._app.held_bytes -= sum(map(len, request.parts))
            request.parts = None
