"""Known bugs, each put back at a port of the simulated world. None of this is in production code.

Every one has hurt a predecessor or a prototype (reliability.md); the simulator must
catch each, or it proves nothing by staying silent about ours.
"""

from __future__ import annotations

import math
from typing import Any, cast
from uuid import UUID

import msgspec

from holdfast.bmc.gate import Gate, Mark
from holdfast.bmc.gateway import GatewayCore
from holdfast.core.clock import Clock
from holdfast.core.lease import TrustWindow
from holdfast.core.members import Membership
from holdfast.sim.memstore import MemStore
from holdfast.sim.processes import SimWaker
from holdfast.sim.world import Bugs
from holdfast.store.model import Claim, Fence, Job, Member, StepSleep
from holdfast.store.port import Store, Waker


class Decorated:
    """A store with some methods replaced by a subclass."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)


class NoFence(Bugs):
    """Writes of steps are not checked against the claim."""

    def store(self, truth: MemStore) -> Store:
        truth.tables.check = lambda fence: None
        cast("Any", truth)._in_hand = lambda job, fence, step, attempt: (
            job.state == "running" and job.step == step and job.step_open
        )
        return truth


class TakesOverEarly(Bugs):
    """A lease is taken for over before its holder's trust window ends."""

    def store(self, truth: MemStore) -> Store:
        class Hasty(Decorated):
            async def reap(self, still: Any = None) -> list[Member]:
                del still
                right = truth.tables.clock
                lease_s = max((row.lease_s for row in truth.tables.members.values()), default=0)
                truth.tables.clock = lambda: right() + lease_s / 2
                try:
                    return await self.store.reap()
                finally:
                    truth.tables.clock = right

        return cast("Store", Hasty(truth))


class HintsAreTruth(Bugs):
    """Nobody polls: what no NOTIFY announces is never seen (Pulp #7023)."""

    def waker(self, waker: SimWaker) -> Waker:
        class Trusting:
            async def wait(self, timeout_s: float) -> frozenset[str]:
                return await waker.wait(1e9)

        return Trusting()


class ReleasesAndRetakes(Bugs):
    """A shard is let go for another to take (Ironic story 2008167)."""

    def store(self, truth: MemStore) -> Store:
        class Letting(Decorated):
            async def hand_over(self, fences: list[Fence], to: UUID, to_epoch: int) -> list[Claim]:
                for fence in filter(truth.tables.holds, fences):
                    claim = truth.tables.shards[fence.group][fence.shard]
                    truth.tables.shards[fence.group][fence.shard] = msgspec.structs.replace(
                        claim, owner=None
                    )
                return []

        return cast("Store", Letting(truth))


class BlindGate(Gate):
    """Compares no tokens."""

    def judge(self, bmc: UUID, term: int, token: int) -> None:
        pass

    def begin(self, bmc: UUID, term: int, token: int) -> None:
        pass


class GatewayWithoutEpochs(Bugs):
    """The gateway passes on whatever comes."""

    def gateway(self, core: GatewayCore) -> None:
        cast("Any", core)._gate.__class__ = BlindGate


class TrustfulGate(Gate):
    """Takes the first token it sees for the highest."""

    def judge(self, bmc: UUID, term: int, token: int) -> None:
        if self.mark(bmc) is None:
            self._seen[bmc] = Mark(term, token)
        super().judge(bmc, term, token)


class GatewayWithoutFloor(Bugs):
    """A gateway that lost its state executes before it was told a floor."""

    def gateway(self, core: GatewayCore) -> None:
        cast("Any", core)._gate.__class__ = TrustfulGate


class SleepsThroughSignals(Bugs):
    """Going to sleep does not look for signals that came meanwhile (lost wake-up)."""

    def conductor_store(self, store: Store) -> Store:
        class Deaf(Decorated):
            async def sleep_step(self, fence: Fence, job: UUID, sleep: StepSleep) -> Job:
                deaf = msgspec.structs.replace(sleep, seen_seq=2**31)
                return await self.store.sleep_step(fence, job, deaf)

        return cast("Store", Deaf(store))


class TrustsFromTheReply(Bugs):
    """The trust window begins when the answer comes, not when the renewal was sent."""

    def membership(self, membership: Membership, clock: Clock) -> None:
        class Late(TrustWindow):
            def renewed(self, sent_at: float) -> None:
                super().renewed(clock.now())

        settings = membership._settings
        membership.window = Late(clock, settings.lease_s, settings.lease_margin_s)


class ReapsAtOnceAfterOutage(Bugs):
    """Nobody waits a lease after the database came back."""

    def store(self, truth: MemStore) -> Store:
        class Unguarded(Decorated):
            async def reap(self, still: Any = None) -> list[Member]:
                del still
                life = truth.tables.life
                life.noticed = (life.started_at, life.timeline)
                life.noticed_at = -math.inf
                return await self.store.reap()

        return cast("Store", Unguarded(truth))


class BeginsAnyStep(Bugs):
    """A request that was long under way leads a job back to a step that is over."""

    def store(self, truth: MemStore) -> Store:
        class Forgetful(Decorated):
            async def begin_step(self, fence: Fence, job: UUID, step: str) -> Job:
                found = truth.tables.jobs.get(job)
                if found is not None and found.step != step:
                    truth.tables.jobs[job] = msgspec.structs.replace(found, step=None)
                return await self.store.begin_step(fence, job, step)

        return cast("Store", Forgetful(truth))


class HandsOverWhatRuns(Bugs):
    """A hand-over takes along shards in which a step runs (Ironic story 2008200)."""

    def conductor_store(self, store: Store) -> Store:
        class Hurried(Decorated):
            async def hand_over(self, fences: list[Fence], to: UUID, to_epoch: int) -> list[Claim]:
                claims = await self.store.claims(fences[0].group)
                all_of_mine = [
                    Fence(claim.group, claim.shard, claim.owner, claim.epoch)
                    for claim in claims
                    if claim.owner is not None and claim.owner == fences[0].owner
                ]
                return await self.store.hand_over(all_of_mine, to, to_epoch)

        return cast("Store", Hurried(store))


class JudgesByTheDatabaseAlone(Bugs):
    """Who is over by the database's clock is taken for dead, though just seen to renew."""

    def conductor_store(self, store: Store) -> Store:
        class Credulous(Decorated):
            async def reap(self, still: Any = None) -> list[Member]:
                del still
                return await self.store.reap()

        return cast("Store", Credulous(store))
