"""The API as a WSGI application (I2): ``holdfast.web.wsgi:application``.

::

    gunicorn's or Apache's threads                    one thread per process
    __call__(environ, start_response) -- request -->  event loop: the ASGI application,
                        <-- status, headers, body --  its database pool, its membership

The loop is started by the first request, so a server may load this before it forks.
An answer is passed on once it is whole; event streams, which never are, are refused
(501): point those at an ASGI address.
"""

from __future__ import annotations

import asyncio
import atexit
import importlib
import os
import threading
from collections.abc import AsyncGenerator, Callable, Iterable
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from http import HTTPStatus
from typing import Any, Final, TypeAlias, cast
from urllib.parse import quote

import msgspec
import structlog
import uvloop

from holdfast.errors import HoldfastError, UnavailableError
from holdfast.web.front import AsgiApp, Message, Scope

Environ: TypeAlias = dict[str, Any]
StartResponse: TypeAlias = Callable[[str, list[tuple[str, str]]], Any]
Opened: TypeAlias = Callable[[], AbstractAsyncContextManager[AsgiApp]]
"""Makes what the application needs, and the application; takes it down at its end."""

_LOG = structlog.get_logger("holdfast.web")

START_S: Final = 20.0  # how long a request waits for the first start
ANSWER_S: Final = 120.0  # how long for an answer
STOP_S: Final = 10.0
BODY_BYTES_MAX: Final = 64 * 1024 * 1024  # read into memory at all; the API's own limit is lower

# PEP 3333: how connections are kept is the server's business.
_HOP_BY_HOP = frozenset({b"connection", b"keep-alive", b"transfer-encoding", b"upgrade"})


class StreamRefusedError(HoldfastError):
    """An event stream was asked for where none can be served."""

    code = "stream_refused"
    status = 501


class Answer(msgspec.Struct, kw_only=True):
    """What the application said, gathered until it is whole."""

    status: int = 500
    headers: list[tuple[bytes, bytes]] = []
    body: bytearray = msgspec.field(default_factory=bytearray)
    endless: bool = False

    async def send(self, message: Message) -> None:
        """ASGI's ``send``."""
        if message["type"] == "http.response.start":
            headers = list(message.get("headers", ()))
            if any(k == b"content-type" and v.startswith(b"text/event-stream") for k, v in headers):
                self.endless = True
                raise asyncio.CancelledError  # as if the client had gone: nobody answers that
            self.status, self.headers = int(message["status"]), headers
        elif message["type"] == "http.response.body":
            self.body += message.get("body", b"")


class Engine:
    """One process's event loop on a thread of its own, with the application on it."""

    def __init__(self, opened: Opened) -> None:
        self.pid = os.getpid()
        self._opened = opened
        self._ready: Future[tuple[asyncio.AbstractEventLoop, AsgiApp]] = Future()
        self._stop: Callable[[], object] = lambda: None
        self._thread = threading.Thread(target=self._run, name="holdfast-wsgi", daemon=True)
        self._thread.start()
        atexit.register(self.stop)

    @property
    def failed(self) -> bool:
        """Whether it could not start, or has ended."""
        return not self._thread.is_alive()

    def answer(self, scope: Scope, body: bytes) -> Answer:
        """Have one request answered. Raises ``UnavailableError`` while it cannot."""
        try:
            loop, app = self._ready.result(START_S)
        except TimeoutError:
            raise UnavailableError("the API is still starting: repeat this later") from None
        task = asyncio.run_coroutine_threadsafe(_answer(app, scope, body), loop)
        try:
            return task.result(ANSWER_S)
        except TimeoutError:
            task.cancel()
            raise UnavailableError(f"the API did not answer within {ANSWER_S:.0f} s") from None

    def stop(self) -> None:
        """Leave in good order, if that does not take too long."""
        if self.pid == os.getpid():  # not in a fork of the process that it is of
            self._stop()
            self._thread.join(STOP_S)

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._main())
        except Exception as fault:  # noqa: BLE001 - logged, and told to whoever waits
            _LOG.exception("wsgi engine ended")
            if not self._ready.done():
                self._ready.set_exception(UnavailableError(f"the API cannot start: {fault}"))

    async def _main(self) -> None:
        loop, stopping = asyncio.get_running_loop(), asyncio.Event()
        async with self._opened() as app, _living(app):
            self._stop = lambda: loop.call_soon_threadsafe(stopping.set)
            self._ready.set_result((loop, app))
            await stopping.wait()
            self._stop = lambda: None


class WsgiApplication:
    """PEP 3333 over an ASGI application. Any number of threads may call it."""

    def __init__(self, opened: Opened) -> None:
        self._opened = opened
        self._lock = threading.Lock()
        self._engine: Engine | None = None

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        try:
            answer = self._running().answer(_scope(environ), _body(environ))
        except HoldfastError as fault:
            answer = _refusal(fault)
        except Exception:  # noqa: BLE001 - logged; no traceback leaves the process
            _LOG.exception("request crashed", path=environ.get("PATH_INFO"))
            answer = _refusal(HoldfastError("an internal error, which has been logged"))
        headers = [
            (name.decode("latin-1"), value.decode("latin-1"))
            for name, value in answer.headers
            if name.lower() not in _HOP_BY_HOP
        ]
        start_response(f"{answer.status} {HTTPStatus(answer.status).phrase}", headers)
        return [bytes(answer.body)]

    def _running(self) -> Engine:
        """This process's engine; a new one after a fork, or when the last could not start."""
        with self._lock:
            engine = self._engine
            if engine is None or engine.pid != os.getpid() or engine.failed:
                engine = self._engine = Engine(self._opened)
            return engine


def _refusal(fault: HoldfastError) -> Answer:
    body = msgspec.json.encode({"code": fault.code, "message": fault.message})
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    if fault.transient:
        headers.append((b"retry-after", b"1"))
    return Answer(status=fault.status, headers=headers, body=bytearray(body))


async def _answer(app: AsgiApp, scope: Scope, body: bytes) -> Answer:
    answer, over = Answer(), asyncio.Event()
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        if messages:
            return messages.pop()
        await over.wait()
        return {"type": "http.disconnect"}

    try:
        await app(scope, receive, answer.send)
    except asyncio.CancelledError:
        if not answer.endless:
            raise
        raise StreamRefusedError(
            "event streams are not served here (WSGI): use an address of `holdfast run api`"
        ) from None
    finally:
        over.set()
    return answer


def _scope(environ: Environ) -> Scope:
    """The request as ASGI has it. Texts of the environ are bytes in latin-1 (PEP 3333)."""
    raw = str(environ.get("PATH_INFO") or "/").encode("latin-1")
    headers = [
        (name[5:].lower().replace("_", "-").encode("latin-1"), str(value).encode("latin-1"))
        for name, value in environ.items()
        if name.startswith("HTTP_")
    ]
    for name in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        if environ.get(name):
            header = name.lower().replace("_", "-").encode("latin-1")
            headers.append((header, str(environ[name]).encode("latin-1")))
    client = environ.get("REMOTE_ADDR")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": str(environ.get("SERVER_PROTOCOL", "HTTP/1.1")).rpartition("/")[2],
        "method": str(environ["REQUEST_METHOD"]).upper(),
        "scheme": str(environ.get("wsgi.url_scheme", "http")),
        "path": raw.decode("utf-8", "replace"),
        "raw_path": quote(raw, safe="/:@!$&'()*+,;=-._~%").encode("latin-1"),
        "query_string": str(environ.get("QUERY_STRING", "")).encode("latin-1"),
        "root_path": "",
        "headers": headers,
        "client": (client, int(environ.get("REMOTE_PORT") or 0)) if client else None,
        "server": (environ.get("SERVER_NAME", "localhost"), int(environ.get("SERVER_PORT") or 80)),
        "state": {},
    }


def _body(environ: Environ) -> bytes:
    """The body, as far as it may be large at all: the application refuses by its length."""
    said = str(environ.get("CONTENT_LENGTH") or "")
    if said.isdecimal():
        return environ["wsgi.input"].read(int(said)) if int(said) <= BODY_BYTES_MAX else b""
    if environ.get("wsgi.input_terminated"):  # chunked, from a server that says where it ends
        return environ["wsgi.input"].read(BODY_BYTES_MAX)
    return b""


@asynccontextmanager
async def _living(app: AsgiApp) -> AsyncGenerator[None]:
    """ASGI's lifespan: what the application does beside answering starts and ends with this."""
    told: asyncio.Queue[Message] = asyncio.Queue()
    said: asyncio.Queue[Message] = asyncio.Queue()

    async def tell(kind: str) -> None:
        await told.put({"type": f"lifespan.{kind}"})
        answered = await said.get()
        if answered["type"] != f"lifespan.{kind}.complete":
            raise UnavailableError(f"the API did not {kind}: {answered.get('message', '')}")

    scope: Scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
    task = asyncio.ensure_future(app(scope, told.get, said.put))
    await tell("startup")
    try:
        yield
    finally:
        await tell("shutdown")
        await task


@asynccontextmanager
async def _role() -> AsyncGenerator[AsgiApp]:
    """The API as configured on this host.

    What an API process is made of is chosen in ``ops``, which this package does not
    know: it is found by its name, as roles are.
    """
    module = importlib.import_module("holdfast.ops.roles.wsgi")
    opened = cast("Opened", module.opened)
    async with opened() as app:
        yield app


application = WsgiApplication(_role)
