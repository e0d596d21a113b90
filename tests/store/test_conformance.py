"""What ``store.port`` promises, held against PostgreSQL and the simulator's store alike.

This file: members and claims. Jobs: ``test_conformance_jobs.py``; their steps:
``test_conformance_steps.py``; objects and routes: ``test_conformance_objects.py``.
"""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest
from tests.store.stores import LEASE_S, Bench, Scene, fence_of

from holdfast.errors import ConflictError
from holdfast.store.model import Fence, Member, MemberSpec, MemberState, Renewal

# Members and leases


async def test_a_member_registers_with_what_it_says_of_itself(bench: Bench):
    spec = MemberSpec(
        id=uuid4(),
        role="conductor",
        slot="conductor-1",
        host="h1",
        zone="z",
        group="g",
        version="1.2",
        address="10.0.0.1:1",
    )
    member = await bench.store.register(spec, LEASE_S)
    said = {name: getattr(member, name) for name in spec.__struct_fields__}
    assert said == {name: getattr(spec, name) for name in spec.__struct_fields__}
    assert member.state is MemberState.UP
    assert not member.drain_requested
    assert member.lease_until == pytest.approx(member.registered_at + LEASE_S, abs=1)
    assert await bench.store.members() == [member]


async def test_every_registration_has_a_higher_epoch(scene: Scene):
    first = await scene.member("a")
    second = await scene.member("b")
    await scene.store.end_lease(first.id, first.epoch, "stopped")
    again = await scene.member("a", again=first.id)
    assert first.epoch < second.epoch < again.epoch
    assert again.state is MemberState.UP
    assert again.gone_reason is None


async def test_nobody_registers_while_an_earlier_incarnation_is_not_gone(scene: Scene):
    member = await scene.member()
    with pytest.raises(ConflictError):
        await scene.member(again=member.id)
    await scene.bench.pass_time(LEASE_S * 2)  # expired is not gone
    with pytest.raises(ConflictError):
        await scene.member(again=member.id)


async def test_an_expired_lease_can_be_renewed_until_it_is_marked_over(scene: Scene):
    member = await scene.member()
    await scene.store.reap()
    await scene.bench.pass_time(LEASE_S * 2)
    renewal = await scene.store.renew(member.id, member.epoch, LEASE_S)
    assert renewal == Renewal(state=MemberState.UP, drain_requested=False)
    assert await scene.store.reap() == []

    await scene.bench.pass_time(LEASE_S * 2)
    [gone] = await scene.store.reap()
    assert (gone.id, gone.epoch, gone.state) == (member.id, member.epoch, MemberState.GONE)
    assert gone.gone_reason
    assert await scene.store.renew(member.id, member.epoch, LEASE_S) is None
    assert await scene.store.reap() == []


async def test_only_a_lease_that_still_runs_as_it_was_seen_to_is_marked_over(scene: Scene):
    member, other = await scene.member("a"), await scene.member("b")
    await scene.store.reap()
    await scene.bench.pass_time(LEASE_S + 1)
    assert await scene.store.reap([]) == []
    seen = {one.id: one for one in await scene.store.members()}
    moved = (member.id, member.epoch, seen[member.id].lease_until - 1)
    earlier = (member.id, member.epoch - 1, seen[member.id].lease_until)
    still = (other.id, other.epoch, seen[other.id].lease_until)
    assert [gone.id for gone in await scene.store.reap([moved, earlier, still])] == [other.id]
    assert [gone.id for gone in await scene.store.reap()] == [member.id]


async def test_a_lease_that_has_not_run_out_is_not_reaped(scene: Scene):
    await scene.member()
    await scene.store.reap()
    await scene.bench.pass_time(LEASE_S * 0.9)
    assert await scene.store.reap() == []


async def test_only_the_present_incarnation_can_renew_drain_or_leave(scene: Scene):
    member = await scene.member()
    for epoch in (member.epoch - 1, member.epoch + 1):
        assert await scene.store.renew(member.id, epoch, LEASE_S) is None
        assert not await scene.store.mark_draining(member.id, epoch)
        assert not await scene.store.end_lease(member.id, epoch, "obituary")
    assert await scene.store.renew(uuid4(), member.epoch, LEASE_S) is None
    assert [m.state for m in await scene.store.members()] == [MemberState.UP]


async def test_nobody_is_reaped_until_a_lease_has_passed_since_the_reapers_began(scene: Scene):
    await scene.member()
    await scene.bench.pass_time(LEASE_S * 5)
    assert await scene.store.reap() == []  # notices the database for the first time
    await scene.bench.pass_time(LEASE_S * 0.9)
    assert await scene.store.reap() == []
    await scene.bench.pass_time(LEASE_S * 0.2)
    assert len(await scene.store.reap()) == 1


async def test_nobody_is_reaped_until_a_lease_has_passed_since_the_database_came_back(
    scene: Scene,
):
    member = await scene.member()
    await scene.store.reap()
    await scene.bench.pass_time(LEASE_S * 3)  # an outage: nobody could renew
    await scene.bench.restart()
    assert await scene.store.reap() == []
    await scene.bench.pass_time(LEASE_S * 0.9)
    assert await scene.store.reap() == []
    await scene.bench.pass_time(LEASE_S * 0.2)
    assert [m.id for m in await scene.store.reap()] == [member.id]


async def test_an_obituary_ends_a_lease_at_once(scene: Scene):
    member = await scene.member()
    assert await scene.store.end_lease(member.id, member.epoch, "killed by signal 9")
    assert not await scene.store.end_lease(member.id, member.epoch, "again")
    assert await scene.store.members() == []
    [gone] = await scene.store.members(gone=True)
    assert (gone.state, gone.gone_reason) == (MemberState.GONE, "killed by signal 9")


async def test_a_drain_request_is_learnt_with_the_next_renewal(scene: Scene):
    member = await scene.member()
    assert await scene.store.request_drain(member.id)
    renewal = await scene.store.renew(member.id, member.epoch, LEASE_S)
    assert renewal == Renewal(state=MemberState.UP, drain_requested=True)
    assert await scene.store.mark_draining(member.id, member.epoch)
    renewal = await scene.store.renew(member.id, member.epoch, LEASE_S)
    assert renewal == Renewal(state=MemberState.DRAINING, drain_requested=True)


async def test_a_gone_member_cannot_be_drained(scene: Scene):
    member = await scene.member()
    await scene.store.end_lease(member.id, member.epoch, "stopped")
    assert not await scene.store.request_drain(member.id)
    assert not await scene.store.request_drain(uuid4())
    assert not await scene.store.mark_draining(member.id, member.epoch)


async def test_the_last_of_a_role_and_group_is_spared(scene: Scene):
    async def asked(member: Member) -> bool:
        return await scene.store.request_drain(member.id, spare_last=True)

    async def living(role: str, group: str) -> Member:
        spec = MemberSpec(id=uuid4(), role=role, slot="x", host="h", group=group)
        return await scene.store.register(spec, LEASE_S)

    first, second = [await living("apinode", "") for _ in range(2)]
    other = await living("apinode", "of its own")
    assert await asked(first)
    assert not await asked(second)
    assert not await asked(other)
    assert await asked(first)  # it was asked before: nothing is lost by that
    assert await scene.store.request_drain(second.id)


async def test_of_two_that_are_asked_at_once_one_stays(scene: Scene):
    specs = [MemberSpec(id=uuid4(), role="apinode", slot=f"n{n}", host="h") for n in range(2)]
    for _ in range(5):
        both = [await scene.store.register(spec, LEASE_S) for spec in specs]
        told = await asyncio.gather(
            *[scene.store.request_drain(one.id, spare_last=True) for one in both]
        )
        assert sorted(told) == [False, True]
        for one in both:
            await scene.store.end_lease(one.id, one.epoch, "over")


async def test_a_new_incarnation_is_not_asked_to_drain(scene: Scene):
    member = await scene.member()
    await scene.store.request_drain(member.id)
    await scene.store.end_lease(member.id, member.epoch, "drained")
    assert not (await scene.member(again=member.id)).drain_requested


async def test_members_come_by_slot_and_role(bench: Bench):
    for slot, role in (("b", "conductor"), ("c", "api"), ("a", "conductor")):
        await bench.store.register(MemberSpec(id=uuid4(), role=role, slot=slot, host="h"), LEASE_S)
    assert [m.slot for m in await bench.store.members()] == ["a", "b", "c"]
    assert [m.slot for m in await bench.store.members("conductor")] == ["a", "b"]
    assert await bench.store.members("engine") == []


# Claims


async def test_a_group_gets_its_shards_once(bench: Bench):
    assert await bench.store.groups() == []
    assert await bench.store.ensure_shards("b", 8) == 8
    assert await bench.store.ensure_shards("b", 16) == 8
    assert await bench.store.ensure_shards("", 2) == 2
    assert await bench.store.groups() == ["", "b"]
    claims = await bench.store.claims("b")
    assert [c.shard for c in claims] == list(range(8))
    assert {(c.owner, c.epoch, c.objects) for c in claims} == {(None, 0, 0)}
    assert await bench.store.claims("nowhere") == []


async def test_free_shards_are_taken_each_with_a_fresh_epoch(scene: Scene):
    await scene.store.ensure_shards("", 4)
    member = await scene.member()
    taken = await scene.store.take("", [2, 0, 99], member.id, member.epoch)
    assert [c.shard for c in taken] == [0, 2]
    assert {(c.owner, c.incarnation, c.previous) for c in taken} == {
        (member.id, member.epoch, None)
    }
    epochs = [c.epoch for c in taken]
    assert len(set(epochs)) == 2
    assert min(epochs) > member.epoch
    claims = {c.shard: c for c in await scene.store.claims("")}
    assert [claims[0], claims[2]] == taken
    assert claims[1].owner is None


async def test_nothing_is_taken_from_a_living_owner_however_expired(scene: Scene):
    owner = await scene.owner()
    other = await scene.member("conductor-2")
    assert await scene.store.take("", range(4), other.id, other.epoch) == []
    await scene.store.mark_draining(owner.id, owner.epoch)
    await scene.bench.pass_time(LEASE_S * 5)
    assert await scene.store.take("", range(4), other.id, other.epoch) == []
    assert await scene.store.take("", range(4), owner.id, owner.epoch) == []  # nor by itself


async def test_what_a_gone_owner_held_is_free_and_remembers_it(scene: Scene):
    owner = await scene.owner()
    before = await scene.store.claims("")
    other = await scene.member("conductor-2")
    await scene.store.end_lease(owner.id, owner.epoch, "killed")
    taken = await scene.store.take("", range(4), other.id, other.epoch)
    assert {c.previous for c in taken} == {owner.id}
    assert min(c.epoch for c in taken) > max(c.epoch for c in before)


async def test_what_an_earlier_incarnation_held_is_free_for_its_successor(scene: Scene):
    owner = await scene.owner()
    await scene.store.end_lease(owner.id, owner.epoch, "killed")
    again = await scene.member(again=owner.id)
    assert len(await scene.store.take("", range(4), again.id, again.epoch)) == 4


async def test_only_a_member_that_is_up_with_that_epoch_takes(scene: Scene):
    await scene.store.ensure_shards("", 4)
    member = await scene.member()
    assert await scene.store.take("", [0], member.id, member.epoch + 1) == []
    assert await scene.store.take("", [0], uuid4(), member.epoch) == []
    await scene.store.mark_draining(member.id, member.epoch)
    assert await scene.store.take("", [0], member.id, member.epoch) == []
    await scene.store.end_lease(member.id, member.epoch, "stopped")
    assert await scene.store.take("", [0], member.id, member.epoch) == []


async def test_claims_are_handed_over_with_fresh_epochs(scene: Scene):
    owner = await scene.owner()
    other = await scene.member("conductor-2")
    before = await scene.store.claims("")
    fences = [fence_of(c) for c in before[:2]]
    moved = await scene.store.hand_over(fences, other.id, other.epoch)
    assert [c.shard for c in moved] == [0, 1]
    assert {(c.owner, c.incarnation, c.previous) for c in moved} == {
        (other.id, other.epoch, owner.id)
    }
    assert min(c.epoch for c in moved) > max(c.epoch for c in before)
    assert (await scene.store.claims(""))[2:] == before[2:]


async def test_a_hand_over_skips_what_is_no_longer_the_callers(scene: Scene):
    owner = await scene.owner()
    other = await scene.member("conductor-2")
    claims = await scene.store.claims("")
    stale = Fence("", 0, owner.id, claims[0].epoch - 1)
    stranger = Fence("", 1, uuid4(), claims[1].epoch)
    nowhere = Fence("", 77, owner.id, 1)
    mine = fence_of(claims[2])
    moved = await scene.store.hand_over([stale, stranger, mine, nowhere], other.id, other.epoch)
    assert [c.shard for c in moved] == [2]
    assert await scene.store.hand_over([mine], other.id, other.epoch) == []
    assert await scene.store.hand_over([], other.id, other.epoch) == []


async def test_nothing_is_handed_to_a_member_that_is_not_up(scene: Scene):
    await scene.owner()
    other = await scene.member("conductor-2")
    fences = [fence_of(c) for c in await scene.store.claims("")]
    assert await scene.store.hand_over(fences, other.id, other.epoch + 1) == []
    await scene.store.mark_draining(other.id, other.epoch)
    assert await scene.store.hand_over(fences, other.id, other.epoch) == []


async def test_a_draining_member_hands_over_but_a_gone_one_does_not(scene: Scene):
    owner = await scene.owner()
    other = await scene.member("conductor-2")
    fences = [fence_of(c) for c in await scene.store.claims("")]
    await scene.store.mark_draining(owner.id, owner.epoch)
    assert len(await scene.store.hand_over(fences[:1], other.id, other.epoch)) == 1
    await scene.store.end_lease(owner.id, owner.epoch, "stopped")
    assert await scene.store.hand_over(fences[1:], other.id, other.epoch) == []
