"""A member that owns shards and runs their jobs: membership, claims and runner as one process.

Drain (one verb for all): no new share, hand over at step boundaries, leave.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeAlias

import msgspec
import structlog

from holdfast.core.claims import ClaimKeeper
from holdfast.core.clock import Clock
from holdfast.core.jobs import Handler
from holdfast.core.lease import TrustWindow
from holdfast.core.members import Membership, attempt
from holdfast.core.runner import JobRunner
from holdfast.core.settings import CoreSettings
from holdfast.store.model import JobLimit, Member
from holdfast.store.port import Store, Waker

log = structlog.get_logger(__name__)


class Tenure(msgspec.Struct, frozen=True, kw_only=True):
    """One incarnation of an owner. ``moves`` counts the changes of what it owns."""

    member: Member
    window: TrustWindow
    moves: Callable[[], int]


Duty: TypeAlias = Callable[[Tenure], Awaitable[None]]
"""What an owner does besides jobs, for as long as its tenure lasts. It never returns."""


class Worker:
    """Runs until its lease is over or it has drained; ``run`` says which."""

    def __init__(
        self,
        store: Store,
        membership: Membership,
        handlers: Callable[[], Mapping[str, Handler]],
        settings: CoreSettings,
        clock: Clock,
        waker: Waker,
        *,
        limits: Sequence[JobLimit] = (),
        duties: Sequence[Duty] = (),
    ) -> None:
        self._store = store
        self.membership = membership
        self._handlers = handlers
        self._settings = settings
        self._clock = clock
        self._waker = waker
        self._limits = limits
        self._duties = duties
        self.keeper: ClaimKeeper | None = None
        self.runner: JobRunner | None = None

    @property
    def ready(self) -> bool:
        """Owning (or able to own): the first tick is done and the lease is trusted."""
        keeper = self.keeper
        return keeper is not None and keeper.ring is not None and self.membership.window.open()

    async def run(self) -> str:
        """Work; returns "drained" or "lease_lost"."""
        me = await self.membership.register()
        window = self.membership.window
        keeper = ClaimKeeper(self._store, me, window, self._settings.shards)
        runner = JobRunner(
            self._store,
            me,
            window,
            self._clock,
            self._handlers(),
            lambda: keeper.departing,
            self._settings.running_jobs_max,
            self._limits,
        )
        self.keeper, self.runner = keeper, runner
        leasing = asyncio.create_task(self.membership.keep())
        working = asyncio.create_task(self._work(keeper, runner))
        draining = asyncio.create_task(self._drained(keeper, runner))
        tenure = Tenure(member=me, window=window, moves=lambda: keeper.moves)
        duties = [asyncio.ensure_future(duty(tenure)) for duty in self._duties]
        try:
            await asyncio.wait(
                {leasing, working, draining, *duties}, return_when=asyncio.FIRST_COMPLETED
            )
            for task in (working, *duties):
                if task.done():
                    task.result()  # a bug: let it be seen, and the process end
            verdict = "drained" if draining.done() else "lease_lost"
        finally:
            for task in (working, draining, *duties):
                task.cancel()
            await runner.stop()
            await self.membership.leave("drained" if draining.done() else "stopped")
            leasing.cancel()
            await asyncio.gather(leasing, working, draining, *duties, return_exceptions=True)
        return verdict

    async def _work(self, keeper: ClaimKeeper, runner: JobRunner) -> None:
        """Tick and poll for ever.

        A hint brings the poll forward; a tick, which reads all claims, only a
        hint about members or claims.
        """
        while not await attempt(keeper.prepare, "claims.prepare"):
            await asyncio.sleep(self._settings.tick_s)
        tick_at = self._clock.now()
        while True:
            if self._clock.now() >= tick_at:
                await attempt(lambda: keeper.tick(runner.active_shards()), "claims.tick")
                # Whatever still waits for a step boundary is looked at again soon.
                tick_at = self._clock.now() + self._settings.tick_s / (5 if keeper.departing else 1)
            await attempt(runner.poll, "jobs.poll")
            hints = await self._waker.wait(max(0.0, tick_at - self._clock.now()))
            if hints & {"members", "claims"}:
                tick_at = self._clock.now()

    async def _drained(self, keeper: ClaimKeeper, runner: JobRunner) -> None:
        """Return once asked to drain and nothing is left here (or the time is up)."""
        step_s = self._settings.tick_s / 5
        while not self.membership.drain_wanted:
            await asyncio.sleep(step_s)
        log.info("member.draining", slot=self.membership.member.slot)
        started = self._clock.now()
        announced = False
        while self._clock.now() - started < self._settings.drain_s:
            if not announced:
                announced = await attempt(self.membership.mark_draining, "member.drain")
            alone = keeper.ring is not None and not keeper.ring.members
            empty = announced and keeper.ring is not None and not keeper.held
            if (empty or (alone and announced)) and not runner.running:
                return
            await asyncio.sleep(step_s)
