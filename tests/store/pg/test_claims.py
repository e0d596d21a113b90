"""Races for claims, with the interleavings forced by locks held open."""

from __future__ import annotations

import asyncio
from uuid import uuid4

from tests.store.pg.waiting import blocked
from tests.store.stores import LEASE_S, PgBench, Scene, fence_of

from holdfast.store.pg.claims import CREATE_SHARDS, LOCK_GROUP
from holdfast.store.pg.fence import HOLDS, arguments


async def test_of_two_that_race_for_shards_each_shard_goes_to_exactly_one(pg: PgBench):
    scene = Scene(pg)
    await scene.store.ensure_shards("", 64)
    members = [await scene.member(f"conductor-{n}") for n in range(4)]
    shards = list(range(64))
    for _ in range(5):
        taken = await asyncio.gather(
            *(pg.store.take("", shards, m.id, m.epoch) for m in members for _ in range(2))
        )
        claims = [claim for some in taken for claim in some]
        assert sorted(c.shard for c in claims) == shards
        assert len({c.epoch for c in claims}) == 64
        assert await pg.store.claims("") == sorted(claims, key=lambda c: c.shard)
        await pg.db.execute("update shard_claim set owner = null")


async def test_a_taker_that_waited_does_not_take_from_one_that_registered_meanwhile(pg: PgBench):
    """Its snapshot does not know the new member; the claim's epoch tells it."""
    scene = Scene(pg)
    await scene.store.ensure_shards("", 2)
    waiter = await scene.member("waiter")
    async with pg.db.transaction() as conn:
        await conn.execute("select from shard_claim where shard = 0 for update")
        taking = asyncio.create_task(pg.store.take("", [0, 1], waiter.id, waiter.epoch))
        await blocked(pg.db)
        late = await scene.member("late")
        assert len(await pg.store.take("", [1], late.id, late.epoch)) == 1
    assert [c.shard for c in await taking] == [0]
    assert [c.owner for c in await pg.store.claims("")] == [waiter.id, late.id]


async def test_a_member_marked_over_while_it_waits_takes_nothing(pg: PgBench):
    scene = Scene(pg)
    await scene.store.ensure_shards("", 2)
    member = await scene.member()
    async with pg.db.transaction() as conn:
        await conn.execute("update member set state = 'gone' where id = $1", member.id)
        taking = asyncio.create_task(pg.store.take("", [0, 1], member.id, member.epoch))
        await blocked(pg.db)
    assert await taking == []


async def test_a_hand_over_waits_for_a_write_under_the_fence(pg: PgBench):
    scene = Scene(pg)
    await scene.owner(shards=1)
    other = await scene.member("conductor-2")
    [claim] = await pg.store.claims("")
    async with pg.db.transaction() as conn:
        assert await conn.fetchval(HOLDS, *arguments(fence_of(claim)))
        passing = asyncio.create_task(pg.store.hand_over([fence_of(claim)], other.id, other.epoch))
        await blocked(pg.db)
        assert not passing.done()
    assert [c.owner for c in await passing] == [other.id]


async def test_hand_overs_in_opposite_order_do_not_lock_each_other_out(pg: PgBench):
    scene = Scene(pg)
    await scene.owner(shards=32)
    others = [await scene.member(f"other-{n}") for n in range(2)]
    fences = [fence_of(c) for c in await pg.store.claims("")]
    orders = (fences, fences[::-1])
    moved = await asyncio.gather(
        *(
            pg.store.hand_over(order, to.id, to.epoch)
            for order, to in zip(orders, others, strict=True)
        )
    )
    assert sorted(len(some) for some in moved) == [0, 32]


async def test_two_that_start_at_once_agree_on_the_number_of_shards(pg: PgBench):
    async with pg.db.transaction() as conn:
        await conn.execute(LOCK_GROUP, "g")
        second = asyncio.create_task(pg.store.ensure_shards("g", 16))
        await blocked(pg.db)
        await conn.execute(CREATE_SHARDS, "g", 8)
    assert await second == 8
    assert len(await pg.store.claims("g")) == 8


async def test_a_member_that_is_just_renewed_is_not_reaped(pg: PgBench):
    scene = Scene(pg)
    member = await scene.member()
    await pg.store.reap()
    await pg.pass_time(LEASE_S * 3)
    async with pg.db.transaction() as conn:
        await conn.execute(
            "update member set lease_until = clock_timestamp() + interval '1 h' where id = $1",
            member.id,
        )
        assert await pg.store.reap() == []  # and does not wait for it either
    assert await pg.store.reap() == []


async def test_one_identity_registers_once_however_many_try(pg: PgBench):
    scene = Scene(pg)
    again = uuid4()
    tries = await asyncio.gather(
        *(scene.member(f"c{n}", again=again) for n in range(6)), return_exceptions=True
    )
    assert sum(not isinstance(one, BaseException) for one in tries) == 1
