"""Who is not taken for dead, whatever the database's clock says."""

from __future__ import annotations

from uuid import UUID

import pytest

from holdfast.core.members import Sightings
from holdfast.sim.memstore import MemStore
from holdfast.store.model import Member, MemberSpec, MemberState

LEASE_S, MARGIN_S = 5.0, 1.0


class Clock:
    at_s = 1_000.0

    def now(self) -> float:
        return self.at_s


def member(lease_until: float, epoch: int = 1) -> Member:
    return Member(
        id=UUID(int=1),
        role="conductor",
        slot="c",
        host="h",
        zone="z",
        group="",
        version="",
        address="",
        epoch=epoch,
        state=MemberState.UP,
        drain_requested=False,
        lease_until=lease_until,
        registered_at=0.0,
    )


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sightings(clock: Clock) -> Sightings:
    return Sightings(clock, LEASE_S, MARGIN_S)


def test_a_lease_is_still_once_watched_for_longer_than_its_holder_trusts_it(
    clock: Clock, sightings: Sightings
) -> None:
    sightings.note([member(10.0)])
    clock.at_s += 100
    sightings.note([member(11.0)])
    clock.at_s += LEASE_S - MARGIN_S / 4 - 0.01
    sightings.note([member(11.0)])
    assert sightings.still() == []
    clock.at_s += 0.02
    sightings.note([member(11.0)])
    assert sightings.still() == [(UUID(int=1), 1, 11.0)]


def test_who_has_just_begun_to_look_judges_nobody(clock: Clock, sightings: Sightings) -> None:
    sightings.note([member(10.0)])
    assert sightings.still() == []
    clock.at_s += LEASE_S
    sightings.note([member(10.0, epoch=2)])  # another incarnation is another member
    assert sightings.still() == []
    clock.at_s += LEASE_S
    assert sightings.still() == [(UUID(int=1), 2, 10.0)]
    sightings.note([])
    assert sightings.still() == []


async def test_a_leap_of_the_databases_clock_ends_no_lease_that_is_kept(
    clock: Clock, sightings: Sightings
) -> None:
    store = MemStore(clock.now, {"node": None})
    made = []
    for n in (1, 2):
        spec = MemberSpec(id=UUID(int=n), role="conductor", slot=f"c{n}", host="h")
        made.append(await store.register(spec, LEASE_S))
    await store.reap()
    for _ in range(20):
        clock.at_s += 1
        await store.renew(made[0].id, made[0].epoch, LEASE_S)
        sightings.note(await store.members())
    ahead = MemStore(lambda: clock.at_s + 3_600.0, {"node": None})
    ahead.tables.members = store.tables.members
    ahead.tables.life = store.tables.life
    assert [gone.slot for gone in await ahead.reap(sightings.still())] == ["c2"]
    assert [gone.slot for gone in await ahead.reap()] == ["c1"]
