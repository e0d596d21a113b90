"""Obituaries: the lease of a child that is surely dead ends now, not when it runs out.

Only a parent can know (``waitpid``), and only once all descendants are dead too
(architecture: "Members and leases"). While the database is away they are kept and
sent when it is back; if the supervisor dies first, expiry decides.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final
from uuid import UUID

import structlog

from holdfast.errors import StoreUnavailableError
from holdfast.ops.children import Incarnation

log = structlog.get_logger(__name__)

EndLease = Callable[[UUID, int, str], Awaitable[bool]]

_RETRY_MIN_S: Final = 0.02
_RETRY_MAX_S: Final = 1.0


class Obituaries:
    """Sends each until the database has confirmed it."""

    def __init__(self, end_lease: EndLease, announce: Callable[[str], None]) -> None:
        self._end_lease = end_lease
        self._announce = announce
        self._sending: set[asyncio.Task[None]] = set()

    def send(self, slot: str, dead: list[Incarnation], cause: str) -> None:
        """Begin to report the death of whatever the child had registered as."""
        for incarnation in dead:
            task = asyncio.create_task(self._send(slot, incarnation, cause))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    async def settle(self, within_s: float) -> None:
        """Wait for those under way, for a while; what is left then is left to expiry."""
        if self._sending:
            _, late = await asyncio.wait(set(self._sending), timeout=within_s)
            for task in late:
                task.cancel()

    async def _send(self, slot: str, dead: Incarnation, cause: str) -> None:
        began = time.monotonic()
        pause_s = _RETRY_MIN_S
        while True:
            try:
                ended = await self._end_lease(dead.member, dead.epoch, f"obituary: {cause}")
            except StoreUnavailableError as fault:
                log.warning("obituary.postponed", slot=slot, fault=str(fault))
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, _RETRY_MAX_S)
                continue
            took_ms = (time.monotonic() - began) * 1000
            log.info("obituary.sent", slot=slot, epoch=dead.epoch, ended=ended, took_ms=took_ms)
            if ended:
                self._announce(f"{slot}: its lease was ended {took_ms:.0f} ms after its death")
            return
