"""What a step's one statement does while others write the same rows."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest
from tests.store.pg.waiting import blocked
from tests.store.stores import PgBench, Scene

from holdfast.errors import ConflictError, FenceLostError
from holdfast.store.model import Job, JobState, NewJob, StepEnd, StepSleep, Submission
from holdfast.store.pg.claims import HAND_OVER

PATCHING = StepEnd(step="first", attempt=1, next_step="second", patch={"power_state": "power on"})
SLEEP = StepSleep(step="first", attempt=1, seen_seq=0, wake_in_s=30.0)


async def test_a_write_that_waited_behind_a_hand_over_writes_nothing(pg: PgBench):
    scene = Scene(pg)
    owned = await scene.begun(await scene.owner())
    other = await scene.member("conductor-2")
    fence = owned.fence
    async with pg.db.transaction() as conn:
        await conn.execute(
            HAND_OVER, other.id, other.epoch, [""], [fence.shard], [fence.owner], [fence.epoch]
        )
        ending = asyncio.create_task(pg.store.end_step(fence, owned.job.id, PATCHING))
        patching = asyncio.create_task(
            pg.store.patch_object(fence, owned.job.object, {"power_state": "stale"})
        )
        await blocked(pg.db, 2)
    for late in (ending, patching):
        with pytest.raises(FenceLostError):
            await late
    assert await pg.store.job(owned.job.id) == owned.job
    assert await pg.store.journal(owned.job.id) == []
    assert await scene.field(owned.job.object, "power_state") is None


async def test_an_acquisition_that_waited_behind_a_hand_over_acquires_nothing(pg: PgBench):
    scene = Scene(pg)
    owner = await scene.owner()
    other = await scene.member("conductor-2")
    owned = await scene.running(owner)
    fence = owned.fence
    async with pg.db.transaction() as conn:
        await conn.execute(
            HAND_OVER, other.id, other.epoch, [""], [fence.shard], [owner.id], [fence.epoch]
        )
        acquiring = asyncio.create_task(scene.acquire(owner))
        await blocked(pg.db)
    assert await acquiring == []
    assert [one.job.id for one in await scene.acquire(other)] == [owned.job.id]


async def test_a_write_waits_for_an_object_placed_in_its_shard_and_then_happens(pg: PgBench):
    scene = Scene(pg)
    owned = await scene.begun(await scene.owner(shards=1))
    async with pg.db.transaction() as conn:
        await pg.store.place_object(conn, "", uuid4())
        ending = asyncio.create_task(pg.store.end_step(owned.fence, owned.job.id, PATCHING))
        await blocked(pg.db)
    assert (await ending).step == "second"
    assert len(await pg.store.journal(owned.job.id)) == 1
    assert await scene.field(owned.job.object, "power_state") == "power on"


async def test_a_step_and_a_change_of_its_object_at_the_same_time_both_count(pg: PgBench):
    scene = Scene(pg)
    owned = await scene.begun(await scene.owner())
    async with pg.db.transaction() as conn:
        await conn.execute(
            "update node set extra = $2, power_state = 'other' where uuid = $1",
            owned.job.object.id,
            {"by": "the API"},
        )
        ending = asyncio.create_task(pg.store.end_step(owned.fence, owned.job.id, PATCHING))
        await blocked(pg.db)
    assert (await ending).step == "second"
    assert await scene.field(owned.job.object, "extra") == {"by": "the API"}
    assert await scene.field(owned.job.object, "power_state") == "power on"
    assert len(await pg.store.journal(owned.job.id)) == 1


async def test_a_signal_on_its_way_keeps_a_step_from_sleeping(pg: PgBench):
    scene = Scene(pg)
    owned = await scene.begun(await scene.owner())
    async with pg.db.transaction() as conn:
        await conn.execute("update job set signal_seq = signal_seq + 1 where id = $1", owned.job.id)
        sleeping = asyncio.create_task(pg.store.sleep_step(owned.fence, owned.job.id, SLEEP))
        await blocked(pg.db)
    assert (await sleeping).state is JobState.QUEUED


async def test_of_two_ends_at_once_one_is_journalled(pg: PgBench):
    scene = Scene(pg)
    owned = await scene.begun(await scene.owner())
    ends = await asyncio.gather(
        *(pg.store.end_step(owned.fence, owned.job.id, PATCHING) for _ in range(5))
    )
    assert {job.step for job in ends} == {"second"}
    assert len(await pg.store.journal(owned.job.id)) == 1


async def test_of_two_submissions_at_once_one_gets_the_object(pg: PgBench):
    scene = Scene(pg)
    await scene.owner()
    node = await pg.add_node()
    tries = await asyncio.gather(*(scene.submit(node) for _ in range(6)), return_exceptions=True)
    assert sum(isinstance(one, Job) for one in tries) == 1
    refusals = [one for one in tries if not isinstance(one, Job)]
    assert {type(one) for one in refusals} == {ConflictError}


async def test_one_submission_repeated_at_once_makes_one_job(pg: PgBench):
    scene = Scene(pg)
    await scene.owner()
    new = NewJob(id=uuid4(), kind="node.deploy", object=await pg.add_node())
    jobs = await asyncio.gather(*(pg.store.submit(Submission(job=new)) for _ in range(6)))
    assert jobs == [jobs[0]] * 6


async def test_acquisitions_at_once_share_the_jobs_out(pg: PgBench):
    scene = Scene(pg)
    owner = await scene.owner()
    jobs = [await scene.submit(await pg.add_node()) for _ in range(12)]
    async with pg.db.transaction() as conn:  # somebody writes one of them just now
        await conn.execute("update job set updated_at = now() where id = $1", jobs[0].id)
        acquired = await scene.acquire(owner)
    assert [one.job.id for one in acquired] == [job.id for job in jobs[1:]]


async def test_placements_at_once_are_all_counted(pg: PgBench):
    scene = Scene(pg)
    await scene.store.ensure_shards("", 4)
    await asyncio.gather(*(pg.add_node() for _ in range(40)))
    counts = [c.objects for c in await pg.store.claims("")]
    assert sum(counts) == 40
    assert max(counts) - min(counts) <= 10  # whoever finds a shard locked takes another
    async with pg.db.transaction() as conn:
        await pg.store.unplace_object(conn, "", 0)
    assert (await pg.store.claims(""))[0].objects == counts[0] - 1


async def test_incarnations_at_once_get_terms_in_the_order_they_are_granted(pg: PgBench):
    scene = Scene(pg)
    await scene.store.ensure_shards("", 1)
    node = await pg.add_node()
    gateway = uuid4()
    grants = await asyncio.gather(*(pg.store.grant_route(node, gateway, uuid4()) for _ in range(8)))
    terms = [grant.term for grant in grants]
    assert len(set(terms)) == 8
    assert await pg.db.fetchval("select term from bmc_route") == max(terms)


async def test_all_routes_move_at_once_to_the_gateway_that_is_left(pg: PgBench):
    scene = Scene(pg)
    await scene.store.ensure_shards("", 1)
    nodes = [await pg.add_node() for _ in range(3)]
    old, new, incarnation = uuid4(), uuid4(), uuid4()
    before = [await pg.store.grant_route(node, old, uuid4()) for node in nodes[:2]]
    kept = await pg.store.grant_route(nodes[2], new, incarnation)
    assert await pg.store.gateways() == {old: 2, new: 1}
    assert await pg.store.move_routes(new, incarnation) == 2
    assert await pg.store.move_routes(new, incarnation) == 0
    after = [await pg.store.grant_route(node, new, incarnation) for node in nodes]
    assert after[2] == kept
    assert all(a.term > b.term for a, b in zip(after, before, strict=False))
    assert await pg.store.gateways() == {new: 3}


async def test_a_job_inserted_by_a_product_obeys_the_reservation(pg: PgBench):
    scene = Scene(pg)
    await scene.owner()
    node = await pg.add_node()
    new = NewJob(id=uuid4(), kind="node.verify", object=node)
    async with pg.db.transaction() as conn:
        job = await pg.store.insert_job(conn, new, "", await scene.field(node, "shard"))
    assert await pg.store.active_job(node) == job
    with pytest.raises(ConflictError):
        async with pg.db.transaction() as conn:
            await pg.store.insert_job(conn, NewJob(id=uuid4(), kind="x", object=node), "", 0)
