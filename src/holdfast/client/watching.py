"""Beside the queries: finds the instances anew, and asks each whether it wants queries (D7, D17).

Without it a client would have to lose a connection to learn of a death, and would not see that an
operator takes a node out by its probe.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
import time
from collections.abc import Callable
from typing import Final

from holdfast.client.course import Dispatch
from holdfast.client.discovery import Source, get
from holdfast.client.errors import LostError
from holdfast.client.instances import Instance

NONE_FOUND: Final = (
    "No instance was found within the query's deadline: the name has no address, or no node told "
    "of any."
)
_TOGETHER: Final = 32
_AGAIN_S: Final = 1.0


class Watch:
    """One client's. ``service`` None: nodes are asked for their own probe only."""

    def __init__(
        self,
        dispatch: Dispatch,
        lock: threading.Lock,
        source: Source,
        service: str | None,
        tls: ssl.SSLContext | None,
        tidy: Callable[[], None],
    ) -> None:
        self._dispatch = dispatch
        self._lock = lock
        self._source = source
        self._service = service
        self._tls = tls
        self._tidy = tidy
        self._together = asyncio.Semaphore(_TOGETHER)

    async def run(self, found: Callable[[], None]) -> None:
        """For ever; ``found`` is called when instances are known."""
        settings = self._dispatch.settings
        refresh_at = probe_at = time.monotonic()
        while True:
            now = time.monotonic()
            if now >= refresh_at:
                await self.refresh()
                some = bool(self._dispatch.instances.all)
                if some:
                    found()
                refresh_at = now + ((settings.refresh_s if some else 0.0) or _AGAIN_S)
            if settings.probe_s and now >= probe_at:
                await self.probe()
                # Spread: many clients started at once shall not probe at once for ever.
                probe_at = now + settings.probe_s * (0.8 + 0.4 * self._dispatch.chance.random())
            next_at = min(refresh_at, probe_at) if settings.probe_s else refresh_at
            await asyncio.sleep(max(0.0, next_at - time.monotonic()))

    async def refresh(self) -> None:
        """Ask where the instances are."""
        try:
            addresses = await self._source.find(self._tls)
        except Exception:  # noqa: BLE001 - anybody's source: its fault must not end the watch
            addresses = []
        with self._lock:
            if addresses:
                self._dispatch.instances.replace(addresses)
        self._tidy()

    async def probe(self) -> None:
        """Ask all of them."""
        await asyncio.gather(*[self._probe(one) for one in list(self._dispatch.instances.all)])

    async def _probe(self, instance: Instance) -> None:
        silent = False
        async with self._together:
            try:
                fault = await self._fault(instance)
            except LostError as error:
                fault, silent = error.message, error.sent or "timed out" in error.message
        with self._lock:
            now = time.monotonic()
            self._dispatch.instances.probed(instance, fault, now, silent=silent)

    async def _fault(self, instance: Instance) -> str:
        """Why it wants no queries; empty if it does."""
        timeout_s = self._dispatch.settings.probe_timeout_s
        if self._service is not None:
            path = f"/public/api/v1/{self._service}/isReady"
            answer = await get(instance.address, path, timeout_s, self._tls)
            if answer.status != 404:
                return "" if answer.status < 300 else f"is not ready ({answer.status})"
            if answer.error_type() == "UnknownServiceError":
                return "does not have the service"
        # A node of another make knows no probe of a service, but its own.
        answer = await get(instance.address, "/isAlive/", timeout_s, self._tls)
        return "" if answer.status < 300 else f"says it is not alive ({answer.status})"
