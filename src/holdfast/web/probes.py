"""/livez, /readyz and /metrics: what balancers, supervisors and Prometheus ask.

Live: this process answers. Ready: it should be sent requests, which needs the database,
the process's own registration, and that it does not drain.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from litestar import Response, get
from litestar.handlers import HTTPRouteHandler
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from holdfast.errors import HoldfastError
from holdfast.identity.policy import PUBLIC, Policy, Role
from holdfast.store.port import Store
from holdfast.web.auth import OPEN_HERE

METRICS = Policy("web:metrics", Role.READER, everywhere=True)
_FRESH_S = 0.25  # probes may come from many balancers: ask the database at most so often


class Health:
    """What this process says of itself. ``draining`` is set once, by the server."""

    def __init__(
        self, store: Store, *, registered: Callable[[], bool], ready_check_s: float
    ) -> None:
        self._store = store
        self._registered = registered
        self._ready_check_s = ready_check_s
        self._database_fault: str | None = None
        self._asked_at = float("-inf")
        self._asking = asyncio.Lock()
        self.draining = False

    async def faults(self) -> list[str]:
        """Why this process is not ready; empty when it is."""
        found: list[str] = []
        if self.draining:
            found.append("draining: this process is about to stop")
        if not self._registered():
            found.append("not registered as a member")
        async with self._asking:
            if time.monotonic() - self._asked_at >= _FRESH_S:
                self._database_fault = await self._ask()
                self._asked_at = time.monotonic()
        if self._database_fault is not None:
            found.append(self._database_fault)
        return found

    async def _ask(self) -> str | None:
        try:
            await asyncio.wait_for(self._store.groups(), self._ready_check_s)
        except TimeoutError:
            return f"the database did not answer within {self._ready_check_s:g} s"
        except HoldfastError as error:
            return error.message
        return None


def handlers(
    health: Health, registry: CollectorRegistry, *, metrics_public: bool
) -> list[HTTPRouteHandler]:
    """The probes' routes."""

    @get("/livez", opt={"policy": PUBLIC.name})
    async def livez() -> dict[str, str]:
        return {"status": "alive"}

    @get("/readyz", opt={"policy": PUBLIC.name})
    async def readyz() -> Response[dict[str, object]]:
        faults = await health.faults()
        if faults:
            return Response({"status": "not ready", "faults": faults}, status_code=503)
        return Response({"status": "ready", "faults": []})

    guard = {"policy": METRICS.name, OPEN_HERE: True}

    @get("/metrics", opt={"policy": PUBLIC.name} if metrics_public else guard)
    async def metrics() -> Response[bytes]:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return [livez, readyz, metrics]
