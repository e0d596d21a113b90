"""Membership of one process: register, keep the lease, reap others, leave."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from uuid import UUID

import structlog

from holdfast.core.clock import Clock
from holdfast.core.lease import Keeper, LeaseKeeper, Progress, TrustWindow
from holdfast.core.retention import purge_for_ever
from holdfast.core.settings import CoreSettings
from holdfast.errors import ConflictError, StoreUnavailableError
from holdfast.store.model import Member, MemberSpec, MemberState, Renewal
from holdfast.store.port import Store

log = structlog.get_logger(__name__)


LOOKS = 10  # at everybody's lease, per lease time


class Sightings:
    """Whose lease has been seen to move, by this process's own clock.

    Leases are judged by the database's clock; when somebody sets that ahead, all of them
    look over at once. So a lease is over only if, on top of that, whoever says so has
    watched it stand still for longer than its holder trusts it. Of the margin that the
    holder leaves, three quarters are for two clocks that run at different rates, and the
    rest is not waited for: a renewal is seen up to a look later than it happened.
    """

    def __init__(self, clock: Clock, lease_s: float, margin_s: float) -> None:
        self._clock = clock
        self._watch_s = lease_s - margin_s / 4
        self._known: dict[tuple[UUID, int], tuple[float, float]] = {}  # lease_until, moved at

    def note(self, members: Iterable[Member]) -> None:
        """Look at the leases as they are now."""
        now, before = self._clock.now(), self._known
        self._known = {}
        for member in members:
            key = (member.id, member.epoch)
            until, moved_at = before.get(key, (None, now))
            if member.lease_until != until:
                moved_at = now
            self._known[key] = (member.lease_until, moved_at)

    def still(self) -> list[tuple[UUID, int, float]]:
        """Whose lease has stood still for long enough, as (id, epoch, lease_until)."""
        since = self._clock.now() - self._watch_s
        return [
            (*key, until) for key, (until, moved_at) in self._known.items() if moved_at <= since
        ]


class Membership:
    """One incarnation of this process among the members.

    ``keeper_on_thread`` moves the renewal onto a thread with a connection of its
    own (``core.lease_thread``); without it the renewal is a task of this loop,
    which is how the simulator runs it.
    """

    def __init__(
        self,
        store: Store,
        spec: MemberSpec,
        settings: CoreSettings,
        clock: Clock,
        *,
        keeper_on_thread: Callable[[LeaseKeeper], Keeper] | None = None,
        on_registered: Callable[[Member], None] | None = None,
    ) -> None:
        self._store = store
        self._spec = spec
        self._settings = settings
        self._clock = clock
        self._on_thread = keeper_on_thread
        self._on_registered = on_registered
        self.window = TrustWindow(clock, settings.lease_s, settings.lease_margin_s)
        self.progress = Progress(clock)
        self.drain_wanted = False
        self._sightings = Sightings(clock, settings.lease_s, settings.lease_margin_s)
        self._member: Member | None = None

    @property
    def member(self) -> Member:
        """Who this process is; only after ``register``."""
        if self._member is None:
            raise RuntimeError("Membership.register() has not returned yet")
        return self._member

    async def register(self) -> Member:
        """Register, waiting until an earlier incarnation is over and the store is there."""
        while True:
            sent_at = self._clock.now()
            try:
                self._member = await self._store.register(self._spec, self._settings.lease_s)
                break
            except ConflictError:
                # Our predecessor's lease runs until it is reaped; nobody else may be left to.
                await self._reap_once()
            except StoreUnavailableError as fault:
                log.warning("member.store_unavailable", fault=str(fault))
            await asyncio.sleep(self._settings.lease_s / LOOKS)
        self.window.renewed(sent_at)
        log.info("member.registered", slot=self._spec.slot, epoch=self._member.epoch)
        if self._on_registered is not None:
            self._on_registered(self._member)
        return self._member

    async def keep(self) -> None:
        """Renew the lease and reap others; returns when the own lease is over."""
        keeper: Keeper = LeaseKeeper(
            self._store,
            self.member,
            self.window,
            self.progress,
            clock=self._clock,
            lease_s=self._settings.lease_s,
            stall_s=self._settings.stall_s,
            on_renewal=self._renewed,
        )
        if self._on_thread is not None:
            keeper = self._on_thread(keeper)
        async with asyncio.TaskGroup() as tasks:
            beating = tasks.create_task(self._beat())
            reaping = tasks.create_task(self._reap())
            purging = tasks.create_task(purge_for_ever(self._store, self._settings))
            await keeper.run()
            for task in (beating, reaping, purging):
                task.cancel()

    def request_drain(self) -> None:
        """This process was told to drain (a signal)."""
        self.drain_wanted = True

    async def mark_draining(self) -> None:
        """Tell all: no new share for this member. Tried again by the caller on a fault."""
        await self._store.mark_draining(self.member.id, self.member.epoch)

    async def leave(self, reason: str) -> None:
        """End the own lease; what was still owned is free at once."""
        self.window.end()
        try:
            await self._store.end_lease(self.member.id, self.member.epoch, reason)
        except StoreUnavailableError as fault:
            log.warning("member.leave_unconfirmed", fault=str(fault))

    def _renewed(self, renewal: Renewal) -> None:
        if renewal.drain_requested or renewal.state is MemberState.DRAINING:
            self.drain_wanted = True

    async def _beat(self) -> None:
        while True:
            self.progress.beat()
            await asyncio.sleep(self._settings.lease_s / 5)

    async def _reap(self) -> None:
        while True:
            await asyncio.sleep(self._settings.lease_s / LOOKS)
            await self._reap_once()

    async def _reap_once(self) -> None:
        await attempt(self._judge, "member.reap")

    async def _judge(self) -> None:
        self._sightings.note(await self._store.members())
        await self._store.reap(self._sightings.still())


async def attempt(call: Callable[[], Awaitable[object]], what: str) -> bool:
    """Run a level-triggered call; a store that is away only means: next time."""
    try:
        await call()
    except StoreUnavailableError as fault:
        log.warning("store_unavailable", during=what, fault=str(fault))
        return False
    return True
