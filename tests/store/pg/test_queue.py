"""Unbound jobs under real concurrency, and what their statements follow in the database."""

from __future__ import annotations

import asyncio
import random
from uuid import UUID, uuid4

import pytest
from tests.store.lines import Line, ended, tiny
from tests.store.pg.waiting import blocked
from tests.store.stores import PgBench

from holdfast.errors import ConflictError, FenceLostError
from holdfast.store.model import Hold, JobState, QueuedJob
from holdfast.store.pg.queue import CLAIM

JOBS = 240
WORKERS = 4
RESOURCES = 3
DEADLOCKS = "select deadlocks from pg_stat_database where datname = current_database()"
EDGELESS = """
select count(*) from job j
 where not passed or remaining <> 0
    or successors <> (select count(*) from job_edge e where e.pred = j.id)
"""


class Traffic:
    """Enqueuers, workers and somebody who cancels, all at once on one database."""

    def __init__(self, pg: PgBench, seed: int) -> None:
        self.line = Line(pg)
        self.store = pg.store
        self.chance = random.Random(seed)
        self.jobs: list[QueuedJob] = []
        self.there: list[UUID] = []
        self.running: dict[UUID, QueuedJob] = {}
        self.over: set[UUID] = set()
        self.breaches: list[str] = []

    def _some(self) -> tuple[UUID, ...]:
        count = min(len(self.there), self.chance.randrange(4))
        return tuple(set(self.chance.choices(self.there[-20:], k=count))) if count else ()

    async def enqueue(self) -> None:
        while len(self.jobs) < JOBS:
            name = f"r{self.chance.randrange(RESOURCES)}"
            wants = self.chance.choice([{}, {"shared": (name,)}, {"exclusive": (name, "x" + name)}])
            batch = [
                tiny(after_end=self._some(), **wants) for _ in range(self.chance.randrange(1, 4))
            ]
            self.jobs += batch
            await self.store.enqueue(batch)
            self.there += [job.id for job in batch]

    async def work(self, hold: Hold) -> None:
        by_id = {job.id: job for job in self.jobs}
        while len(self.jobs) < JOBS or await self.store.jobs(active=True, limit=1):
            held = await self.line.claim(hold, self.chance.randrange(1, 8))
            by_id = by_id if len(by_id) == len(self.jobs) else {job.id: job for job in self.jobs}
            for one in held:
                self._check(by_id[one.job.id])
                self.running[one.job.id] = by_id[one.job.id]
            await asyncio.sleep(0)
            for one in held:
                del self.running[one.job.id]
                self.over.add(one.job.id)
            assert await self.store.end_many(hold, [ended(one) for one in held]) == {
                one.job.id for one in held
            }
            if not held:
                await self.store.tend()

    async def cancel(self) -> None:
        while len(self.jobs) < JOBS:
            if self.there:
                await self.store.cancel(self.chance.choice(self.there))
            await asyncio.sleep(0)

    def _check(self, job: QueuedJob) -> None:
        for other in self.running.values():
            mine, others = {*job.exclusive, *job.shared}, {*other.exclusive, *other.shared}
            if mine & set(other.exclusive) or others & set(job.exclusive):
                self.breaches.append(f"{job} beside {other}")
        self.breaches += [f"{job} before {one}" for one in job.after_end if one in self.running]


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_at_once_nothing_is_lost_overlaps_or_locks_up(pg: PgBench, seed: int):
    traffic = Traffic(pg, seed)
    holds = [await traffic.line.worker(f"worker-{n}") for n in range(WORKERS)]
    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        for hold in holds:
            tasks.create_task(traffic.work(hold))
        for _ in range(3):
            tasks.create_task(traffic.enqueue())
        tasks.create_task(traffic.cancel())
    assert traffic.breaches == []
    jobs = await pg.store.jobs(limit=2 * JOBS)
    assert {job.id for job in jobs if job.state is JobState.SUCCEEDED} == traffic.over
    assert {job.state for job in jobs} <= {JobState.SUCCEEDED, JobState.CANCELLED}
    assert await pg.db.fetchval(EDGELESS) == 0
    assert await pg.db.fetchval(DEADLOCKS) == 0


async def test_a_claim_follows_the_line_however_many_are_blocked_or_asleep(pg: PgBench):
    line = Line(pg)
    hold = await line.worker()
    first = await line.put(queue="elsewhere")
    await pg.store.enqueue([tiny(after=(first,)) for _ in range(2_000)])
    await pg.store.enqueue([tiny() for _ in range(2_000)])
    await pg.db.execute(
        "update job set state = 'waiting', due_at = due_at + interval '1 day'"
        " where state = 'queued'"
    )
    due = await line.put()
    await pg.db.execute("analyze job")
    args = (hold.owner, hold.epoch, ["work"], [50], ["tiny"], ["only"], [])
    rows = await pg.db.fetch(f"explain (analyze, timing off) {CLAIM}", *args)
    plan = "\n".join(row[0] for row in rows)
    [found] = [part for part in plan.split("CTE ") if part.startswith("picked")]
    assert "using job_line" in found
    assert "Rows Removed" not in found
    assert (await line.job(due)).state is JobState.RUNNING


async def test_to_enqueue_the_same_jobs_at_once_makes_them_once(pg: PgBench):
    jobs = [tiny(), tiny()]
    made = await asyncio.gather(*(pg.store.enqueue(jobs) for _ in range(6)))
    assert sorted(made) == [0, 0, 0, 0, 0, 2]


async def test_a_product_writes_under_the_hold_of_its_job(pg: PgBench):
    line = Line(pg)
    hold = await line.worker()
    job = await line.put()
    held = await line.one(hold)
    async with pg.db.transaction() as conn:
        await pg.store.hold_in(conn, hold, job)
        await conn.execute("insert into chassis (uuid) values ($1)", uuid4())
    await line.end(held)
    with pytest.raises(FenceLostError):
        async with pg.db.transaction() as conn:
            await pg.store.hold_in(conn, hold, job)


async def test_jobs_are_enqueued_in_the_transaction_of_the_request(pg: PgBench):
    line, job = Line(pg), tiny(exclusive=("r",))

    async def refused() -> None:
        async with pg.db.transaction() as conn:
            assert await pg.store.enqueue_in(conn, [job]) == 1
            raise ConflictError("the request is refused")

    with pytest.raises(ConflictError):
        await refused()
    assert await pg.store.job(job.id) is None
    async with pg.db.transaction() as conn:
        assert await pg.store.enqueue_in(conn, [job]) == 1
        await conn.execute("insert into chassis (uuid) values ($1)", uuid4())
    pg.store.hint_queues(["work"])
    assert await line.states(job.id) == ["queued"]


async def test_an_edge_that_comes_while_its_job_is_being_ended_is_opened_too(pg: PgBench):
    """The end's snapshot does not have the edge; the count on the job's row tells it."""
    line, after = Line(pg), tiny()
    hold = await line.worker()
    job = await line.put()
    held = await line.one(hold)
    async with pg.db.transaction() as conn:
        await pg.store.enqueue_in(conn, [tiny(id=after.id, after=(job,))])
        ending = asyncio.create_task(line.end(held))
        await blocked(pg.db)
    await ending
    assert await line.states(job, after.id) == ["succeeded", "queued"]
    assert await pg.store.tend() == 0


async def test_of_a_late_end_and_a_takeover_one_wins(pg: PgBench):
    """The takeover holds the job's row first: the end waits, looks again, and writes nothing."""
    line = Line(pg)
    hold, other = await line.worker(), await line.worker("worker-2")
    job = await line.put()
    held = await line.one(hold)
    async with pg.db.transaction() as conn:
        await conn.execute("update job set state = 'queued' where id = $1", job)
        ending = asyncio.create_task(pg.store.end_many(hold, [ended(held)]))
        await blocked(pg.db)
    assert await ending == set()
    assert await line.ids(other) == [job]


async def test_a_job_claimed_anew_is_not_taken_from_a_member_newer_than_the_look(pg: PgBench):
    line = Line(pg)
    hold = await line.worker()
    job = await line.put()
    await line.claim(hold)
    await pg.store.end_lease(hold.owner, hold.epoch, "killed")
    async with pg.db.transaction() as conn:
        await conn.execute("update job set progress_message = 'locked' where id = $1", job)
        assert await pg.store.tend() == 0  # whoever has the row sees to it
    assert await pg.store.tend() == 1
    new = await line.worker("worker-2")
    assert await line.ids(new) == [job]
    assert await pg.store.tend() == 0


async def test_a_tail_is_not_purged_from_under_one_who_has_just_come(pg: PgBench):
    line = Line(pg)
    hold = await line.worker()
    await line.put(exclusive=("r",))
    await line.end(await line.one(hold))
    async with pg.db.transaction() as conn:
        await conn.execute("select from resource_tail for update")
        assert await pg.store.purge_jobs(1e6, 10) == 0  # stepped over
    assert await pg.db.fetchval("select count(*) from resource_tail") == 1
    async with pg.db.transaction() as conn:
        first = tiny(exclusive=("r",))
        assert await pg.store.enqueue_in(conn, [first]) == 1
        await pg.store.purge_jobs(1e6, 10)
    await pg.store.purge_jobs(1e6, 10)
    second = await line.put(exclusive=("r",))
    assert await line.states(first.id, second) == ["queued", "blocked"]
    await line.end(await line.one(hold))
    await line.end(await line.one(hold))
    await pg.store.purge_jobs(1e6, 10)
    assert await pg.db.fetchval("select count(*) from resource_tail") == 0


async def test_plans_kept_from_when_the_table_was_small_do_not_walk_through_it(pg: PgBench):
    line = Line(pg)
    hold = await line.worker()
    async with pg.db.connection() as conn:
        types = "uuid, bigint, text[], integer[], text[], text[], uuid[]"
        await conn.execute("set plan_cache_mode = force_generic_plan")
        await conn.execute(f"prepare claim ({types}) as {CLAIM}")
        values = (
            f"'{hold.owner}', {hold.epoch}, '{{work}}', '{{9}}', '{{tiny}}', '{{only}}', '{{}}'"
        )
        await conn.execute(f"execute claim ({values})")
        await pg.store.enqueue([tiny() for _ in range(2_000)])
        rows = await conn.fetch(f"explain (analyze, timing off) execute claim ({values})")
        await conn.execute("reset plan_cache_mode; deallocate claim")
    assert "Seq Scan on job" not in "\n".join(row[0] for row in rows)
