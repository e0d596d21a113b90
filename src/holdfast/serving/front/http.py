"""HTTP/1.1 over an asyncio protocol and httptools: the plainest that reaches the figures.

One request of a connection is worked on at a time; what is pipelined behind it waits, and
reading stops meanwhile, as it does while the client reads no answers, so that a client can make
us hold no more than one body and one answer.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Final, Protocol, cast

import httptools

from holdfast.errors import HoldfastError, InvalidInputError, UnavailableError
from holdfast.serving.errors import BodyTooLargeError
from holdfast.serving.front.answers import Answer, answer_bytes, error_answer
from holdfast.serving.front.request import Request, Sink
from holdfast.serving.front.room import Room
from holdfast.serving.settings import HttpSettings

RATE_MIN: Final = 10_000  # bytes per second, below which a body or an answer takes too long
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_URL_BYTES_MAX: Final = 8192
_SLICE_BYTES: Final = 4096  # parsed at a time, so that few pipelined requests wait as objects
_UNASKED_BYTES_MAX: Final = 64 << 10  # longer bodies are read of those only that may ask
_SILENCE_S: Final = 1.0  # after which a client that has not asked may have to make room
_CHANCE_S: Final = 0.1  # the same if nobody else can: it had time to be heard
_LINGER_S: Final = 5.0


class MethodError(HoldfastError):
    """A method that nothing here takes."""

    code = "method"
    status = 405


class App(Protocol):
    """What answers: ``query`` at once or later by ``respond``, ``handle`` by a coroutine."""

    settings: HttpSettings
    room: Room
    closing: bool

    def sink(self, request: Request) -> Sink | None: ...
    def admit(self, request: Request) -> None: ...
    def query(self, connection: Connection, request: Request) -> bool: ...
    async def handle(self, connection: Connection, request: Request) -> Answer: ...


class Connection(asyncio.Protocol):
    """One client."""

    def __init__(self, app: App, clock: Any) -> None:
        self.peer = ""
        self.busy = False
        self.since = 0.0  # when the present state (idle, receiving, ending) began
        self.receiving = False
        self.abandoned: Any = None  # the query under way; it is told when the client has gone
        self._app = app
        self._unasked_bytes_max = min(_UNASKED_BYTES_MAX, app.settings.body_bytes_max)
        self._room = app.room
        self._clock = clock
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._request = Request()  # what is being received
        self._answering = self._request
        self._header_bytes = 0
        self._fed_bytes = 0  # of the request that is being received
        self._waiting: deque[Request] = deque()
        self._unparsed = b""
        self._asked = False  # whether a whole request ever came
        self._reading = True
        self._deaf = False  # what still comes is thrown away
        self._ending = False  # the last answer is written
        self._for_probe = False
        self._keyless: Request | None = None  # the last that was found to come without a valid key
        self._deaf_bytes = 0
        self._choked_since: float | None = None  # since when the client reads no answers
        self._choked_bytes = 0
        self._keep_alive = True
        self._task: asyncio.Task[None] | None = None

    # ---- the transport -------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self.since = self._clock()
        peer: Any = transport.get_extra_info("peername")
        self.peer = str(peer[0]) if peer else ""
        try:
            self._for_probe = not self._room.enter(self, self.since)
        except UnavailableError as error:
            answer = error_answer(error)
            self._transport.write(answer_bytes(answer.status, answer.body, close=True))
            self._end()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._room.leave(self)
        if self.abandoned is not None:
            self.abandoned.cancel()
            self.abandoned = None
        self._release(self._answering)
        if self._task is not None and self._answering.sink is not None:
            self._task.cancel()
        self._drop_input()
        for request in self._waiting:
            self._drop_body(request)
        self._waiting.clear()

    def pause_writing(self) -> None:
        """The client does not read its answers: it gets no more of them until it does."""
        if self._transport is not None:
            self._choked_since = self._clock()
            self._choked_bytes = self._transport.get_write_buffer_size()
            self._room.choke(self, self._choked_bytes)
            self._read_or_not()

    def resume_writing(self) -> None:
        self._choked_since = None
        self._room.unchoke(self)
        self._read_or_not()
        asyncio.get_running_loop().call_soon(self._next)

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            self._deaf_bytes += len(data)
            if self._ending and self._deaf_bytes > self._app.settings.body_bytes_max:
                self._close()
        elif len(data) <= _SLICE_BYTES and not self._unparsed:
            self._feed(data)
        else:
            self._parse(self._take_unparsed() + data)

    def _parse(self, data: bytes) -> None:
        """Parse until a request has to wait; what is behind it is kept as it came."""
        view = memoryview(data)
        at = 0
        while at < len(view) and not self._deaf:
            if self._waiting:
                self._keep(bytes(view[at:]))
                break
            request = self._request
            ahead = request.length - request.size if self.receiving and request.method else 0
            end = at + max(_SLICE_BYTES, ahead)
            self._feed(view[at:end])
            at = end

    def _keep(self, data: bytes) -> None:
        self._unparsed = data
        room = self._room
        room.held_bytes += len(data)
        if room.held_bytes > room.soft_max:
            try:
                room.check(len(data))
            except UnavailableError as error:
                self._refuse(error)

    def _take_unparsed(self) -> bytes:
        data, self._unparsed = self._unparsed, b""
        self._room.held_bytes -= len(data)
        return data

    def _feed(self, data: bytes | memoryview) -> None:
        while True:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as paused:
                # A wish that may be ignored (RFC 9110, 7.8). The parser takes it for granted and
                # stops behind the head: another one reads on, as if it had not been uttered.
                version = self._parser.get_http_version()
                head = self._request.head(version)
                data = data[int(paused.args[0]) :]
                self._parser = httptools.HttpRequestParser(self)
                self._feed(head)
                if data and not self._deaf:
                    continue
            except httptools.HttpParserError as error:
                cause = error.__context__
                if not isinstance(cause, HoldfastError):
                    cause = InvalidInputError("This is not sound HTTP.")
                self._refuse(cause)
            else:
                if self.receiving:
                    self._count(len(data))
            return

    def _count(self, size: int) -> None:
        """The parser keeps a header until its end is there: it has a bound before that, too.

        So have trailers. A body in chunks of a byte is six times its size.
        """
        self._fed_bytes += size
        most = self._app.settings.header_bytes_max + _URL_BYTES_MAX + _SLICE_BYTES
        if self._fed_bytes - 8 * self._request.size > most:
            self._refuse(InvalidInputError("The request's headers are too long."))

    # ---- the parser ----------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._request = Request()
        self._header_bytes = self._fed_bytes = 0
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
        elif size == 17 and name.lower() == b"transfer-encoding":
            self._request.coding = value
        elif size == 20 and name.lower() == b"holdfast-deadline-ms" and value.isdigit():
            self._request.deadline_ms = int(value[:9])

    def on_headers_complete(self) -> None:
        request, parser = self._request, self._parser
        request.method = parser.get_method()
        request.keep_alive = parser.should_keep_alive() and parser.get_http_version() == "1.1"
        if parser.should_upgrade():
            if request.method == b"CONNECT":
                raise MethodError("This is no proxy: there is no CONNECT.")
            request.upgrade = True
            return
        if self._for_probe:
            request.keep_alive = False
            if request.method == b"POST" or not request.of_node_probe():
                raise UnavailableError("Too many connections: try again later.")
        if request.method != b"POST" and request.of_probe_with_body():
            raise InvalidInputError("A probe has no body.")
        request.sink = self._app.sink(request)
        if (request.length > self._unasked_bytes_max or request.coding) and request.sink is None:
            self._admit(request)
        if request.expects and not self.busy and not self._waiting:
            self._continue(request)

    def _admit(self, request: Request) -> None:
        """Whoever may not ask has a long body thrown away as it comes."""
        if request.length > self._app.settings.body_bytes_max:
            raise self._too_large()
        try:
            self._app.admit(request)
        except HoldfastError as error:
            request.refusal = error
            if request.expects:
                raise

    def on_body(self, data: bytes) -> None:
        request = self._request
        size = len(data)
        if request.size or request.sink is not None or request.refusal is not None:
            self._more_body(request, data)
        else:
            request.body = data
        request.size += size
        if request.body:
            room = self._room
            request.held += size
            room.held_bytes += size
            if room.held_bytes > room.soft_max:
                room.check(request.size)

    def _more_body(self, request: Request, data: bytes) -> None:
        if request.sink is not None:
            request.sink.write(data)
        elif request.size + len(data) > self._app.settings.body_bytes_max:
            raise self._too_large()
        elif request.parts is not None:
            request.parts.append(data)
        elif request.refusal is None:
            request.parts = [request.body, data]

    def on_message_complete(self) -> None:
        request = self._request
        if request.upgrade:
            return
        self.receiving = False
        if request.parts is not None:
            request.body = b"".join(request.parts)
            request.parts = None
        if self.busy or self._waiting or self._choked_since is not None:
            self._waiting.append(request)
            self._read_or_not()
        else:
            self._begin(request)

    def _too_large(self) -> BodyTooLargeError:
        most = self._app.settings.body_bytes_max
        return BodyTooLargeError(f"The body is larger than {most} bytes.")

    def _continue(self, request: Request) -> None:
        request.expects = False
        if self._transport is not None:
            self._transport.write(_CONTINUE)

    # ---- one request after the other -----------------------------------------------------------

    def _begin(self, request: Request) -> None:
        self.busy = self._asked = True
        self._answering = request
        self._keep_alive = request.keep_alive
        if not self._app.query(self, request):
            self._task = asyncio.get_running_loop().create_task(self._handle(request))

    async def _handle(self, request: Request) -> None:
        try:
            if request.refusal is not None:
                raise request.refusal
            answer = await self._app.handle(self, request)
        except HoldfastError as error:
            answer = error_answer(error)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - a fault of ours is one answer, not a lost node
            answer = error_answer(error)
        finally:
            if request.sink is not None:
                request.sink.abort()
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
        request = self._answering
        self._room.held_bytes -= request.held
        request.held = 0
        request.body = b""  # idle connections hold nothing
        transport = self._transport
        if transport is None:
            return
        close = close or not self._keep_alive or self._app.closing
        transport.write(answer_bytes(status, body, close=close, content_type=content_type))
        self.since = self._clock()
        if close:
            self._end()
        elif self._waiting or self._unparsed:
            asyncio.get_running_loop().call_soon(self._next)
        elif self.receiving and self._request.method and self._request.expects:
            self._continue(self._request)

    def _next(self) -> None:
        if self.busy or self._ending or self._choked_since is not None or self._transport is None:
            return
        if self._waiting:
            self._begin(self._waiting.popleft())
        if self._unparsed and not self._waiting:
            self._parse(self._take_unparsed())
        self._read_or_not()

    def _end(self) -> None:
        """No more answers. If the client is still sending, it gets to read this one first."""
        self._ending = True
        if self._deaf and self._transport is not None:
            self._read_or_not()
            self._transport.write_eof()
        else:
            self._deaf = True
            self._close()

    def _refuse(self, error: HoldfastError) -> None:
        """Answer what cannot be read on, after what came before it; nothing more is read."""
        request = self._request if self.receiving else Request()
        self._drop_input()
        self._deaf = True
        request.refusal = error
        request.keep_alive = False
        if self.busy or self._waiting or self._choked_since is not None:
            self._waiting.append(request)
        else:
            self._begin(request)

    def _read_or_not(self) -> None:
        """Read unless there is something to do first."""
        held_up = self._waiting or self._unparsed or self._choked_since is not None
        reading = self._ending or not held_up
        if reading != self._reading and self._transport is not None:
            self._reading = reading
            if reading:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    # ---- the end -------------------------------------------------------------------------------

    def close_idle(self) -> None:
        """Close it unless a request is there, whole or in part."""
        if not (self.busy or self.receiving or self._waiting or self._unparsed):
            self._close()

    def close_stale(self, now: float) -> None:
        """Close it if nothing came, or went, for too long."""
        settings = self._app.settings
        spent_s = now - self.since
        if self._choked_since is not None:
            allowed_s = settings.request_timeout_s + self._choked_bytes / RATE_MIN
            if now - self._choked_since > allowed_s:
                self.abort()
        elif self.busy or self._waiting:
            pass
        elif self._ending:
            if spent_s > _LINGER_S:
                self._close()
        elif self.receiving:
            late = spent_s > settings.request_timeout_s + self._request.size / RATE_MIN
            if late or (not self._request.method and spent_s > settings.head_timeout_s):
                self.abort()
        elif spent_s > (settings.keepalive_s if self._asked else settings.head_timeout_s):
            self._close()

    def spare(self, now: float) -> tuple[int, float] | None:
        """How well it can be spared for another client, least first; ``None``: not at all."""
        if self.busy or self._waiting:
            return None
        spent_s = now - self.since
        if self.receiving and self._request.method:
            slow = spent_s > _SILENCE_S + self._request.size / RATE_MIN
            return (1, self.since) if slow or not self._has_key() else None
        if self._asked and not self.receiving and not self._ending:
            return 2, self.since
        rank = 0 if spent_s > _SILENCE_S else 3
        return (rank, self.since) if spent_s > _CHANCE_S or self._ending else None

    def _has_key(self) -> bool:
        """Whether what is being received could be answered. Asked only when it matters."""
        if self._keyless is not self._request:
            try:
                self._app.admit(self._request)
            except HoldfastError:
                self._keyless = self._request
        return self._keyless is not self._request

    def give_way(self) -> None:
        """Close it for another client."""
        self._deaf = self._ending = True
        self._drop_input()
        transport = self._transport
        if transport is not None and transport.get_write_buffer_size():
            transport.abort()
        elif transport is not None:
            transport.close()

    def abort(self) -> None:
        """Close it now."""
        if self._transport is not None:
            self._transport.abort()

    def abort_soon(self) -> None:
        """Close it, but not within what the transport is doing."""
        asyncio.get_running_loop().call_soon(self.abort)

    def _close(self) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        transport.close()
        if self._choked_since is None and transport.get_write_buffer_size():
            self._choked_since = self._clock()  # it is gone when the client has read the rest
            self._choked_bytes = transport.get_write_buffer_size()

    def _drop_input(self) -> None:
        """Forget what was received of a request, and what is behind it."""
        self._take_unparsed()
        if self.receiving:
            self.receiving = False
            self._drop_body(self._request)

    def _drop_body(self, request: Request) -> None:
        self._release(request)
        if request.sink is not None:
            request.sink.abort()

    def _release(self, request: Request) -> None:
        self._room.held_bytes -= request.held
        request.held = 0
        request.body = b""
        request.parts = None
