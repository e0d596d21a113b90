"""The referee: judges what happened at the database and at the machines, not what anybody says.

It stands in front of the simulated database and looks at each transaction with its
own eyes: at the tables before and after, and at the processes, whose clocks it can
read. Breaches are sentences; a run without any is a good run.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Coroutine
from typing import Any, Protocol, cast
from uuid import UUID

from holdfast.sim.loop import SimLoop
from holdfast.sim.machines import Effect
from holdfast.sim.memstore import MemStore
from holdfast.store.model import (
    Claim,
    Fence,
    Job,
    JobState,
    Member,
    ObjectRef,
    StepEnd,
    StepSleep,
)
from holdfast.store.port import Store


class Incarnation(Protocol):
    """One life of a conductor, as the referee may look into it."""

    name: str

    def trusts(self) -> bool:
        """Alive, and inside its trust window by its own clock."""
        ...

    def breaks_off(self, fence: Fence) -> bool:
        """Whether it hands that claim over now, though it runs a step there."""
        ...


class Referee:
    """Collects breaches. ``lives`` maps (member, epoch) to who that is."""

    def __init__(self, loop: SimLoop, trace: Callable[[str], None]) -> None:
        self._loop = loop
        self._trace = trace
        self.breaches: list[str] = []
        self.effects: list[Effect] = []
        self.lives: dict[tuple[UUID, int], Incarnation] = {}
        self.handed_over = 0
        self.taken = 0
        self._highest: dict[UUID, Effect] = {}

    def breach(self, what: str) -> None:
        """Record that a promise was broken."""
        line = f"{self._loop.now:9.3f} {what}"
        self.breaches.append(line)
        self._trace(f"BREACH {what}")

    # -- at the machines ---------------------------------------------------------------

    def effect(self, effect: Effect) -> None:
        """A machine was told something. A lower token after a higher one is the worst there is."""
        self.effects.append(effect)
        if effect.action not in ("observe", "agent_commands"):
            self._trace(str(effect))
        before = self._highest.get(effect.machine)
        if before is not None and effect.token < before.token:
            self.breach(f"stale effect: {effect}; before it came token {before.token}")
        else:
            self._highest[effect.machine] = effect

    # -- at the database ---------------------------------------------------------------

    def life(self, member: UUID | None, epoch: int) -> Incarnation | None:
        return None if member is None else self.lives.get((member, epoch))

    def ended(self, members: list[Member], why: str) -> None:
        """These leases are over now: nobody may trust one of them any more (promise 1)."""
        for member in members:
            life = self.life(member.id, member.epoch)
            if life is not None and life.trusts():
                self.breach(f"{why}: {life.name} still trusts its lease")

    def step(self, fence: Fence, job: UUID, what: str) -> None:
        """A job took a step, as the database has it."""
        self._trace(f"job {str(job)[:8]} {what} (epoch {fence.epoch})")

    def passed(self, before: Claim, after: Claim, *, by_hand: bool) -> None:
        """A shard changed hands."""
        giver = self.life(before.owner, before.incarnation)
        taker = self.life(after.owner, after.incarnation)
        names = f"{giver.name if giver else before.owner} -> {taker.name if taker else after.owner}"
        self._trace(f"shard {after.shard}: {names}, epoch {after.epoch}")
        if after.epoch <= before.epoch:
            self.breach(f"shard {after.shard} passed without a higher epoch")
        if by_hand:
            self.handed_over += 1
            if (
                before.owner is not None
                and giver is not None
                and giver.breaks_off(Fence(before.group, before.shard, before.owner, before.epoch))
            ):
                self.breach(f"shard {after.shard} handed over in mid-step by {giver.name}")
            return
        self.taken += 1
        if giver is not None and giver.trusts():
            self.breach(f"shard {after.shard} taken while {giver.name} still trusts its claim")


class RefereedStore:
    """The database as the network reaches it: every call of ``store`` under the referee's eyes.

    ``truth`` is the store whose tables hold what is; ``store`` may be a faulty
    version of it (``tests/sim/bugs.py``).
    """

    def __init__(self, truth: MemStore, store: Store, referee: Referee, lease_s: float) -> None:
        self._tables = truth.tables
        self._store = store
        self._referee = referee
        self._lease_s = lease_s
        self._seen_seq: dict[tuple[UUID, str, int], int] = {}

    def __getattr__(self, name: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        return getattr(self._store, name)

    async def reap(self, still: Collection[tuple[UUID, int, float]] | None = None) -> list[Member]:
        reaped = await self._store.reap(still)
        self._referee.ended(reaped, "reaped")
        since_s = self._tables.clock() - self._tables.life.started_at
        if reaped and since_s < self._lease_s:
            self._referee.breach(f"{len(reaped)} reaped {since_s:.2f} s after the database's start")
        return reaped

    async def end_lease(self, member: UUID, epoch: int, reason: str) -> bool:
        row = self._tables.living(member, epoch)
        before = [] if row is None else [row.value()]
        done = await self._store.end_lease(member, epoch, reason)
        if done:
            self._referee.ended(before, reason)
        return done

    async def take(self, group: str, shards: list[int], member: UUID, epoch: int) -> list[Claim]:
        before = {shard: self._tables.claim(group, shard) for shard in shards}
        taken = await self._store.take(group, shards, member, epoch)
        self._compare(before, taken, by_hand=False)
        return taken

    async def hand_over(self, fences: list[Fence], to: UUID, to_epoch: int) -> list[Claim]:
        before = {f.shard: self._tables.claim(f.group, f.shard) for f in fences}
        moved = await self._store.hand_over(fences, to, to_epoch)
        self._compare(before, moved, by_hand=True)
        for fence in fences:
            claim = self._tables.claim(fence.group, fence.shard)
            if claim is None or claim.owner is None:
                self._referee.breach(f"shard {fence.shard} was let go by a living owner")
        return moved

    def _compare(
        self, before: dict[int, Claim | None], after: list[Claim], *, by_hand: bool
    ) -> None:
        for claim in after:
            was = before.get(claim.shard)
            if was is not None:
                self._referee.passed(was, claim, by_hand=by_hand)

    # -- writes under a fence ------------------------------------------------------------

    async def begin_step(self, fence: Fence, job: UUID, step: str) -> Job:
        held = self._held(fence)
        begun = await self._store.begin_step(fence, job, step)
        self._fenced(held, fence, f"beginning of {step}")
        self._referee.step(fence, job, f"begins {step}/{begun.attempt}")
        self._seen_seq[job, step, begun.attempt] = begun.signal_seq
        return begun

    async def end_step(self, fence: Fence, job: UUID, end: StepEnd) -> Job:
        held = self._held(fence)
        ended = await self._store.end_step(fence, job, end)
        self._fenced(held, fence, f"end of {end.step}")
        then = end.next_step or end.state.value
        self._referee.step(fence, job, f"ends {end.step}/{end.attempt}, then {then}")
        return ended

    async def sleep_step(self, fence: Fence, job: UUID, sleep: StepSleep) -> Job:
        held = self._held(fence)
        asleep = await self._store.sleep_step(fence, job, sleep)
        self._fenced(held, fence, f"sleep in {sleep.step}")
        self._referee.step(fence, job, f"sleeps in {sleep.step}/{sleep.attempt}")
        seen = self._seen_seq.get((job, sleep.step, sleep.attempt), asleep.signal_seq)
        overslept = asleep.signal_seq > seen and asleep.state is JobState.WAITING
        if overslept and (asleep.wake_at or 0) > self._tables.clock():
            self._referee.breach(f"job {job} slept through a signal in {sleep.step}")
        return asleep

    async def patch_object(self, fence: Fence, obj: ObjectRef, patch: dict[str, Any]) -> None:
        held = self._held(fence)
        await self._store.patch_object(fence, obj, patch)
        self._fenced(held, fence, "patch")

    async def patch_idle(
        self, fence: Fence, obj: ObjectRef, patch: dict[str, Any], seen: dict[str, Any]
    ) -> bool:
        held = self._held(fence)
        written = await self._store.patch_idle(fence, obj, patch, seen)
        if written:
            self._fenced(held, fence, "patch of an idle object")
        return written

    def _held(self, fence: Fence) -> bool:
        return self._tables.holds(fence)

    def _fenced(self, held: bool, fence: Fence, what: str) -> None:
        if not held:
            self._referee.breach(f"{what} written under a lost claim (epoch {fence.epoch})")


def refereed(truth: MemStore, store: Store, referee: Referee, lease_s: float) -> Store:
    """``store``, watched."""
    return cast("Store", RefereedStore(truth, store, referee, lease_s))
