"""The trust window ends before anybody may judge a member dead (promise 1, reliability.md)."""

from __future__ import annotations

import asyncio
from uuid import UUID

import pytest

from holdfast.core.lease import LeaseKeeper, Progress, TrustWindow
from holdfast.errors import LeaseLostError, StoreUnavailableError
from holdfast.sim.loop import SimLoop
from holdfast.store.model import Member, MemberState, Renewal

LEASE_S, MARGIN_S, STALL_S = 5.0, 1.0, 30.0


class LoopClock:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def now(self) -> float:
        return self._loop.time()


class Renewals:
    """A member store that only answers renewals, each after ``delay_s``."""

    def __init__(self) -> None:
        self.delay_s = 0.0
        self.away = False
        self.over = False
        self.at: list[float] = []

    async def renew(self, member: UUID, epoch: int, lease_s: float) -> Renewal | None:
        self.at.append(asyncio.get_running_loop().time())
        await asyncio.sleep(self.delay_s)
        if self.away:
            raise StoreUnavailableError("away")
        return None if self.over else Renewal(state=MemberState.UP, drain_requested=False)


def member() -> Member:
    return Member(
        id=UUID(int=1),
        role="conductor",
        slot="conductor-1",
        host="h",
        zone="z",
        group="",
        version="",
        address="",
        epoch=3,
        state=MemberState.UP,
        drain_requested=False,
        lease_until=0.0,
        registered_at=0.0,
    )


class Rig:
    def __init__(self) -> None:
        self.loop = SimLoop(1)
        self.clock = LoopClock(self.loop)
        self.store = Renewals()
        self.window = TrustWindow(self.clock, LEASE_S, MARGIN_S)
        self.progress = Progress(self.clock)
        self.renewals: list[Renewal] = []
        self.keeper = LeaseKeeper(
            self.store,  # pyright: ignore[reportArgumentType]
            member(),
            self.window,
            self.progress,
            clock=self.clock,
            lease_s=LEASE_S,
            stall_s=STALL_S,
            on_renewal=self.renewals.append,
        )

    def run_for(self, seconds: float) -> None:
        async def main() -> None:
            task = asyncio.create_task(self.keeper.run())
            await asyncio.sleep(seconds)
            task.cancel()

        self.loop.run(main())


def test_trust_counts_from_before_the_renewal_was_sent() -> None:
    rig = Rig()
    rig.store.delay_s = 2.0
    rig.run_for(2.1)
    assert rig.window.remaining_s() == pytest.approx(LEASE_S - MARGIN_S - 2.1)


def test_a_lease_is_renewed_every_third() -> None:
    rig = Rig()
    rig.run_for(10.0)
    gaps = [b - a for a, b in zip(rig.store.at, rig.store.at[1:], strict=False)]
    assert gaps
    assert all(gap == pytest.approx(LEASE_S / 3) for gap in gaps)


def test_past_the_window_every_guarded_effect_raises_and_trust_returns_with_the_store() -> None:
    rig = Rig()
    rig.run_for(0.1)
    rig.store.away = True
    rig.run_for(6.0)
    with pytest.raises(LeaseLostError):
        rig.window.guard()
    rig.store.away = False
    rig.run_for(2.0)
    rig.window.guard()


def test_a_lease_that_is_over_is_never_trusted_again() -> None:
    rig = Rig()
    rig.run_for(0.1)
    rig.store.over = True
    rig.run_for(5.0)
    assert rig.window.over
    rig.window.renewed(rig.clock.now())
    with pytest.raises(LeaseLostError):
        rig.window.guard()


def test_a_stalled_main_loop_loses_its_lease_though_the_keeper_lives() -> None:
    rig = Rig()
    rig.run_for(STALL_S + 10)  # nobody beats
    assert not rig.window.open()
    assert rig.store.at[-1] <= STALL_S + 1
    assert rig.window.over, "the keeper has ended: what is stuck can be ended, too"


def test_a_request_to_drain_arrives_with_a_renewal() -> None:
    rig = Rig()
    rig.run_for(0.1)
    assert rig.renewals == [Renewal(state=MemberState.UP, drain_requested=False)]
