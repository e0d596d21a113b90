"""The lease as a member sees it: the trust window, and the loop that keeps it open.

The trust window runs on the local clock from *before* a renewal was sent, so the
member stops trusting itself before anybody else may judge it dead, however long
the answer took.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

import structlog

from holdfast.core.clock import Clock
from holdfast.errors import LeaseLostError, StoreUnavailableError
from holdfast.store.model import Member, Renewal
from holdfast.store.port import MemberStore

log = structlog.get_logger(__name__)


class TrustWindow:
    """Until when this member may act. Read from any thread; written by the keeper only."""

    def __init__(self, clock: Clock, lease_s: float, margin_s: float) -> None:
        self._clock = clock
        self._span_s = lease_s - margin_s
        self._until = float("-inf")
        self._over = False

    def renewed(self, sent_at: float) -> None:
        """A renewal sent at ``sent_at`` (local clock) was confirmed."""
        self._until = max(self._until, sent_at + self._span_s)

    def end(self) -> None:
        """The lease is over for good: the database said so."""
        self._over = True

    @property
    def over(self) -> bool:
        return self._over

    def remaining_s(self) -> float:
        """Seconds of trust left; zero or less: none."""
        return float("-inf") if self._over else self._until - self._clock.now()

    def open(self) -> bool:
        return self.remaining_s() > 0

    def guard(self) -> None:
        """Raise ``LeaseLostError`` unless this member may act right now."""
        if not self.open():
            raise LeaseLostError(
                "this member's lease cannot be trusted any more; the work stops here "
                "and goes on at whoever owns it"
            )


class Progress:
    """When the main loop last showed that it runs. A stalled one loses its lease."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._at = clock.now()

    def beat(self) -> None:
        self._at = self._clock.now()

    def stalled_s(self) -> float:
        return self._clock.now() - self._at


class Keeper(Protocol):
    """Keeps a lease until it is over. In production on a thread of its own."""

    async def run(self) -> None: ...


class LeaseKeeper:
    """Renews a lease every third of it; returns when it is over."""

    def __init__(
        self,
        store: MemberStore,
        member: Member,
        window: TrustWindow,
        progress: Progress,
        *,
        clock: Clock,
        lease_s: float,
        stall_s: float,
        on_renewal: Callable[[Renewal], None],
    ) -> None:
        self._store = store
        self._member = member
        self._window = window
        self._progress = progress
        self._clock = clock
        self._lease_s = lease_s
        self._stall_s = stall_s
        self._on_renewal = on_renewal

    def using(self, store: MemberStore) -> LeaseKeeper:
        """The same keeper on another connection (``core.lease_thread``)."""
        self._store = store
        return self

    async def run(self) -> None:
        """Renew until the database says that the lease is over, or it was let run out."""
        while True:
            renewed = await self._renew_once()
            if self._window.over:
                return
            # After a failure: soon again, while the lease may still be saved.
            await asyncio.sleep(self._lease_s / (3 if renewed else 15))

    async def _renew_once(self) -> bool:
        if self._progress.stalled_s() > self._stall_s:
            log.warning("lease.stalled", member=self._member.slot, stall_s=self._stall_s)
            if not self._window.open():
                self._window.end()  # whenever the main loop wakes up: that was it
            return False
        sent_at = self._clock.now()
        try:
            async with asyncio.timeout(self._lease_s / 2):
                renewal = await self._store.renew(
                    self._member.id, self._member.epoch, self._lease_s
                )
        except (StoreUnavailableError, TimeoutError) as fault:
            log.warning("lease.renewal_failed", member=self._member.slot, fault=str(fault))
            return False
        if renewal is None:
            log.error("lease.over", member=self._member.slot, epoch=self._member.epoch)
            self._window.end()
            return False
        self._window.renewed(sent_at)
        self._on_renewal(renewal)
        return True
