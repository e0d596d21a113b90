"""Runs an application on listening sockets until it is drained or stopped.

The supervisor binds the sockets and hands each API process the same file descriptors, so
a process that dies takes no connection with it but its own. Drain (architecture.md): the
probe says no and answers carry ``Connection: close`` for ``drain_s``, then nothing more is
accepted, and requests in hand get ``finish_s`` to finish.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Generator, Sequence
from typing import Any, cast

import structlog
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from holdfast.errors import ConfigError
from holdfast.web.app import Application
from holdfast.web.settings import WebSettings

_LOG = structlog.get_logger("holdfast.web")
_BACKLOG = 2048


def listen(host: str, port: int) -> socket.socket:
    """A listening TCP socket (port 0: any free one). Raises ``ConfigError`` if it is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        raise ConfigError(
            f"cannot listen on {host}:{port} ({error.strerror}): stop what does, or choose another"
        ) from error
    sock.setblocking(False)
    return sock


def inherited(fd: int) -> socket.socket:
    """The listening socket that the parent process opened as file descriptor ``fd``."""
    try:
        sock = socket.socket(fileno=fd)
    except OSError as error:
        raise ConfigError(f"file descriptor {fd} is not a socket: {error.strerror}") from error
    sock.setblocking(False)
    return sock


class ApiServer:
    """One process's HTTP server, on the running event loop (uvloop where the process set it)."""

    def __init__(
        self,
        application: Application,
        sockets: Sequence[socket.socket],
        settings: WebSettings | None = None,
    ) -> None:
        self._settings = settings or WebSettings()
        self._application = application
        self._sockets = list(sockets)
        self._server = _Server(self._config())

    def _config(self) -> uvicorn.Config:
        settings = self._settings

        class Protocol(LimitedProtocol):
            head_bytes_max = settings.head_bytes_max

        return uvicorn.Config(
            self._application.asgi,
            http=Protocol,
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=True,
            forwarded_allow_ips=settings.trusted_proxies,
            timeout_keep_alive=max(1, round(settings.keep_alive_s)),
            timeout_graceful_shutdown=max(1, round(settings.finish_s)),
            backlog=_BACKLOG,
        )

    @property
    def started(self) -> bool:
        """Whether requests are being accepted."""
        return self._server.started

    async def run(self) -> None:
        """Serve until ``drain`` or ``stop``; returns when all connections are closed."""
        await self._server.serve(sockets=self._sockets)

    async def drain(self) -> None:
        """Say no on /readyz for a while, then stop accepting and let ``run`` finish."""
        _LOG.info("api drains", drain_s=self._settings.drain_s)
        self._application.health.draining = True
        await asyncio.sleep(self._settings.drain_s)
        self.stop()

    def stop(self) -> None:
        """Accept nothing more; ``run`` returns once requests in hand are done."""
        self._application.health.draining = True
        self._server.should_exit = True


class _Server(uvicorn.Server):
    """Signals are the process's business, not the HTTP server's."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


class WholeWrites:
    """A transport that sends what is written in one turn of the loop together.

    So a head and its body leave in one piece: of a process that is killed in between a
    client has all of an answer or nothing, and nothing is what a balancer may repeat.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> None:
        if not self._parts:
            asyncio.get_running_loop().call_soon(self._flush)
        self._parts.append(data)

    def _flush(self) -> None:
        parts, self._parts = self._parts, []
        if parts:
            self._transport.write(parts[0] if len(parts) == 1 else b"".join(parts))

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class LimitedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with a limit on a request's head, which it lacks, and whole writes."""

    head_bytes_max = 64 * 1024
    _head_bytes = 0
    _in_head = True  # between messages, or inside a head

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(cast("asyncio.Transport", WholeWrites(transport)))

    def data_received(self, data: bytes) -> None:
        in_head, self._ended = self._in_head, False
        super().data_received(data)
        if not in_head or not self._in_head or self._ended:
            self._head_bytes = 0
            return
        self._head_bytes += len(data)
        if self._head_bytes > self.head_bytes_max and not self.transport.is_closing():
            self.send_400_response("The request's head is too large.")

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_head = self._ended = True
        super().on_message_complete()


async def serve(
    application: Application, sockets: Sequence[socket.socket], settings: WebSettings | None = None
) -> None:
    """Serve until cancelled, then stop in good order."""
    server = ApiServer(application, sockets, settings)
    task = asyncio.ensure_future(server.run())
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        server.stop()
        await task
        raise
