"""The gateway's own process: ``GatewayCore`` behind HTTP (``wire``), on loopback."""

from __future__ import annotations

import asyncio
import hmac
import math
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import TypeVar
from uuid import UUID

import msgspec
import structlog
from aiohttp import web

from holdfast.bmc import wire
from holdfast.bmc.commands import Command
from holdfast.bmc.drivers import Drivers
from holdfast.bmc.gateway import GatewayCore
from holdfast.bmc.memory import SqliteMemory
from holdfast.bmc.metrics import GatewayMetrics
from holdfast.bmc.observatory import Observations
from holdfast.bmc.settings import BmcSettings
from holdfast.bmc.untrusted import words
from holdfast.errors import HoldfastError, InvalidInputError, NotAuthenticatedError, NotFoundError

log = structlog.get_logger()

OPEN_PATHS = frozenset({"/livez", "/readyz", "/metrics"})
JSON = "application/json"
LINES = "application/x-ndjson"

T = TypeVar("T")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class GatewayApp:
    """Routes, authentication and errors around one core."""

    def __init__(
        self, core: GatewayCore, metrics: GatewayMetrics, secret: str, settings: BmcSettings
    ) -> None:
        if not secret:
            raise InvalidInputError("The gateway needs a secret that its clients must present.")
        self._core = core
        self._observatory = Observations(core, settings.observations_max)
        self._metrics = metrics
        self._bearer = f"Bearer {secret}".encode()
        self.app = web.Application(
            client_max_size=settings.request_bytes_max, middlewares=[self._guard]
        )
        self.app.router.add_get(wire.IDENTITY, self._identity)
        self.app.router.add_put(wire.floor_path("{bmc}"), self._floor)
        self.app.router.add_post(wire.COMMANDS, self._command)
        self.app.router.add_post(wire.OBSERVATIONS, self._observations)
        self.app.router.add_get(wire.STATUS, self._status)
        self.app.router.add_get("/livez", self._livez)
        self.app.router.add_get("/readyz", self._readyz)
        self.app.router.add_get("/metrics", self._show_metrics)

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Authenticate, and turn every error into a ``wire.Problem``."""
        try:
            if request.path not in OPEN_PATHS:
                given = request.headers.get("Authorization", "").encode()
                if not hmac.compare_digest(given, self._bearer):
                    raise NotAuthenticatedError("Present the gateway's secret as bearer token.")
            return await handler(request)
        except HoldfastError as error:
            return _problem(error)
        except web.HTTPRequestEntityTooLarge:
            return _problem(InvalidInputError("The request is larger than bmc.request_bytes_max."))
        except web.HTTPException as error:
            if error.status == NotFoundError.status:
                return _problem(NotFoundError(f"The gateway has nothing at {request.path}."))
            return _problem(InvalidInputError(f"{request.method} {request.path}: {error.reason}."))
        except Exception:  # a bug of ours: logged in full, told in one sentence
            log.exception("bmc.request_failed", path=request.path)
            return _problem(HoldfastError("The gateway failed at this; see its log."))

    async def _identity(self, _: web.Request) -> web.Response:
        return _answer(await self._core.identity())

    async def _floor(self, request: web.Request) -> web.Response:
        try:
            bmc = UUID(request.match_info["bmc"])
        except ValueError:
            raise InvalidInputError("The BMC in the path must be a UUID.") from None
        message = _decode(await request.read(), wire.Floor)
        await self._core.floor(
            bmc, incarnation=message.incarnation, term=message.term, floor=message.floor
        )
        return web.Response(status=204)

    async def _command(self, request: web.Request) -> web.Response:
        return _answer(await self._core.command(_decode(await request.read(), Command)))

    async def _observations(self, request: web.Request) -> web.StreamResponse:
        """A line for each observation, as it comes."""
        commands = _decode(await request.read(), list[Command])
        response = web.StreamResponse(headers={"Content-Type": LINES})
        async with aclosing(self._observatory.observe(commands)) as results:
            async for together in results:
                if not response.prepared:
                    await response.prepare(request)
                lines = [
                    msgspec.json.encode(wire.sighting_of(one), enc_hook=str) for one in together
                ]
                await response.write(b"\n".join([*lines, b""]))
        if not response.prepared:
            await response.prepare(request)
        await response.write_eof()
        return response

    async def _status(self, _: web.Request) -> web.Response:
        return _answer(self._core.status())

    async def _livez(self, _: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, _: web.Request) -> web.Response:
        if self._core.draining:
            return web.Response(status=503, text="draining\n")
        return web.Response(text="ok\n")

    async def _show_metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=self._metrics.text(), headers={"Content-Type": "text/plain"})


async def serve(
    settings: BmcSettings,
    state_dir: Path,
    secret: str,
    host: str,
    port: int,
    ready: Callable[[str], None],
    stop: asyncio.Event,
) -> None:
    """Run a gateway until ``stop`` is set; then finish what was accepted, and leave.

    ``state_dir`` is the gateway's own. ``port`` 0 takes a free one. ``ready`` is
    called with the URL once commands are accepted. A stop refuses new commands
    (503) and waits up to ``settings.drain_s`` for the others. Raises
    ``GateStateError`` when the state cannot be used.
    """
    memory = SqliteMemory(state_dir)
    metrics = GatewayMetrics()
    drivers = Drivers(settings, metrics.connected)
    try:
        core = await GatewayCore.open(
            memory=memory,
            device=drivers,
            unseal=memory.unseal,
            settings=settings,
            watcher=metrics,
        )
        metrics.show(core)
        app = GatewayApp(core, metrics, secret, settings).app
        # The core bounds every command; a connection that lingers must not hold up the stop.
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            # What a predecessor sent just before it died may still be on its way to a BMC.
            await asyncio.sleep(settings.late_s)
            site = web.TCPSite(runner, host, port, backlog=1024)
            await site.start()
            ready(_url(host, runner))
            log.info("bmc.gateway_ready", url=_url(host, runner))
            await stop.wait()
            await core.close(settings.drain_s)
        finally:
            await runner.cleanup()
    finally:
        await drivers.close()
        await memory.close()


def _url(host: str, runner: web.AppRunner) -> str:
    port = int(runner.addresses[0][1])
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _decode(body: bytes, shape: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        said = words(str(error))
        raise InvalidInputError(f"The body is no {shape.__name__}: {said}.") from None


def _answer(value: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type=JSON)


def _problem(error: HoldfastError) -> web.Response:
    body = msgspec.json.encode(wire.problem_of(error), enc_hook=str)
    headers: dict[str, str] = {}
    retry_after_s = error.details.get("retry_after_s")
    if isinstance(retry_after_s, int | float):
        headers["Retry-After"] = str(math.ceil(retry_after_s))
    return web.Response(body=body, status=error.status, content_type=JSON, headers=headers)
