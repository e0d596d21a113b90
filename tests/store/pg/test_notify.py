"""Hints: collected, sent after the commit, and never needed."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest
import uvloop
from tests.store.stores import PgBench, Scene

from holdfast.store.pg.database import Database
from holdfast.store.pg.notify import CLAIMS, EVENTS, JOBS, MEMBERS, Hints, PgWaker


@pytest.fixture
async def waker(pg: PgBench):
    async with PgWaker(pg.db.dsn) as waker:
        await awake(waker)  # every new connection is a hint itself
        yield waker


async def awake(waker: PgWaker) -> None:
    """Return once hinted; far sooner than the limit."""
    async with asyncio.timeout(5):
        await waker.wait(60)


async def test_what_may_want_work_to_be_done_is_hinted_at(pg: PgBench, waker: PgWaker):
    scene = Scene(pg)
    owner = await scene.member()
    await awake(waker)
    await pg.store.ensure_shards("", 1)
    [claim] = await pg.store.take("", [0], owner.id, owner.epoch)
    await awake(waker)
    job = await scene.submit(await pg.add_node())
    await awake(waker)
    for wake in (
        lambda: pg.store.signal(job.id, "heartbeat", {}),
        lambda: pg.store.cancel(job.id),
        lambda: pg.store.request_drain(owner.id),
        lambda: pg.store.mark_draining(owner.id, owner.epoch),
        lambda: pg.store.end_lease(owner.id, owner.epoch, "stopped"),
    ):
        assert await wake()
        await awake(waker)
    assert claim.shard == 0


async def test_hints_of_ten_milliseconds_are_sent_as_one(pg: PgBench):
    async with await Database.open(pg.db.dsn) as db:
        heard: list[str] = []

        def hear(*said: str) -> None:
            heard.append(said[3])

        async with db.connection() as conn:
            await conn.raw.add_listener("holdfast", hear)
            for _ in range(50):
                pg.db.hint(JOBS)
                pg.db.hint(CLAIMS, JOBS)
            await pg.db.hints.flush()
            await pg.db.hints.flush()
            await conn.fetchval("select 1")
            await conn.raw.remove_listener("holdfast", hear)
        assert heard == ["claims,jobs"]


class Telling:
    """A database that notes what it is told."""

    def __init__(self) -> None:
        self.told: list[object] = []

    async def execute(self, _statement: str, *args: object) -> int:
        self.told.append(args[-1])
        return 1


def test_hints_are_collected_on_the_event_loop_that_roles_run_on():
    # uvloop gives a handle without a time for what is due at once; a hint is given after the
    # commit, where an error would deny what has been done.
    telling = Telling()

    async def main() -> None:
        hints = Hints(cast("Database", telling))
        hints.add(EVENTS)
        hints.add(JOBS)
        hints.add(CLAIMS)
        while not telling.told:
            await asyncio.sleep(0)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
    assert telling.told == ["claims,events,jobs"]


async def test_a_hint_while_nobody_waits_ends_the_next_wait(pg: PgBench, waker: PgWaker):
    async with PgWaker(pg.db.dsn) as other:
        await awake(other)
        pg.db.hint(JOBS)
        await awake(other)  # by now both have heard it
        await awake(waker)


async def test_other_topics_do_not_wake(pg: PgBench, waker: PgWaker):
    async with PgWaker(pg.db.dsn, topics=[JOBS]) as narrow:
        await awake(narrow)
        pg.db.hint(MEMBERS)
        await awake(waker)
        before = asyncio.get_running_loop().time()
        await narrow.wait(0.02)
        assert asyncio.get_running_loop().time() - before >= 0.02


async def test_a_listener_that_lost_its_connection_makes_another(pg: PgBench, waker: PgWaker):
    ended = await pg.db.fetchval(
        "select count(pg_terminate_backend(pid)) from pg_stat_activity"
        " where query ilike 'listen%' and datname = current_database()"
    )
    assert ended == 1
    await awake(waker)  # the new connection
    pg.db.hint(JOBS)
    await awake(waker)


async def test_without_a_database_a_wait_takes_its_time_and_no_more(pg: PgBench):
    async with PgWaker("postgresql://u:p@127.0.0.1:1/none") as waker:
        await waker.wait(0.01)
