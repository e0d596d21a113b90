"""The small HTTP face every role has: /livez, /readyz, /metrics, /status.

On a Unix socket in the data directory, where only the owner can reach it; the
supervisor's own page for the whole host is on a loopback port.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
from aiohttp import web
from prometheus_client import CollectorRegistry

from holdfast.errors import ConfigError
from holdfast.ops import metrics

Document = dict[str, Any]
Waiting = Callable[[], Awaitable[list[str]]]


class Face:
    """What a role shows. ``waiting`` names what it still waits for; nothing: ready."""

    def __init__(
        self,
        *,
        waiting: Waiting,
        registry: CollectorRegistry,
        status: Callable[[], Document],
    ) -> None:
        self._waiting = waiting
        self._registry = registry
        self._status = status

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/livez", self._livez)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/status", self._show_status)
        return app

    async def _livez(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, _request: web.Request) -> web.Response:
        waiting = await self._waiting()
        body = {"ready": not waiting, "waiting_for": waiting}
        return web.json_response(body, status=503 if waiting else 200)

    async def _metrics(self, _request: web.Request) -> web.Response:
        body = metrics.page(self._registry)
        return web.Response(body=body, headers={"Content-Type": metrics.CONTENT_TYPE})

    async def _show_status(self, _request: web.Request) -> web.Response:
        body = msgspec.json.encode(self._status())
        return web.Response(body=body, content_type="application/json")


@contextlib.asynccontextmanager
async def serving(app: web.Application, where: Path | tuple[str, int]) -> AsyncGenerator[int, None]:
    """Serve on a Unix socket (yields 0) or on host and port (yields the port)."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        if isinstance(where, Path):
            where.unlink(missing_ok=True)
            await web.UnixSite(runner, str(where)).start()
            yield 0
        else:
            yield await _listen(runner, *where)
    finally:
        await runner.cleanup()


async def _listen(runner: web.AppRunner, host: str, port: int) -> int:
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {host}:{port} ({error.strerror}); "
            "stop what listens there, or set another port"
        ) from error
    return int(runner.addresses[0][1])


class Asker:
    """Asks the faces of a host's roles, over their Unix sockets."""

    def __init__(self, timeout_s: float = 2.0) -> None:
        self._timeout_s = timeout_s

    async def waiting_for(self, socket: Path) -> list[str]:
        """What the role waits for; empty: it is ready."""
        status, body = await self._get(socket, "/readyz")
        if status == 0:
            return ["its process to answer"]
        try:
            document = msgspec.json.decode(body, type=_Readiness)
        except msgspec.DecodeError:
            return ["an answer that makes sense"]
        return document.waiting_for

    async def metrics(self, where: Path | str) -> str | None:
        """The metrics page behind a Unix socket or URL, if it answers."""
        status, body = await self._get(where, "/metrics")
        return body.decode() if status == 200 else None

    async def _get(self, where: Path | str, path: str) -> tuple[int, bytes]:
        timeout = aiohttp.ClientTimeout(total=self._timeout_s)
        root = where if isinstance(where, str) else "http://localhost"
        connector = aiohttp.UnixConnector(path=str(where)) if isinstance(where, Path) else None
        try:
            async with (
                aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
                session.get(f"{root}{path}") as response,
            ):
                return response.status, await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError):
            return 0, b""


class _Readiness(msgspec.Struct):
    waiting_for: list[str] = []
