"""Random graphs with reservations, ends, cancellations and deaths, on both stores."""

from __future__ import annotations

import asyncio
import functools
from typing import Any

from hypothesis import HealthCheck, given, settings
from tests.database import create_database, server
from tests.store.schedules import Action, Play, schedule
from tests.store.stores import MemBench, PgBench

from holdfast.store.pg.database import Database

EVERYTHING = "job, job_edge, job_step, resource_tail, resource_shared, event, member"
MISCOUNTED = """
select count(*) from job j
 where not passed
    or successors <> (select count(*) from job_edge e where e.pred = j.id)
    or remaining <> 0
"""


@settings(max_examples=150, deadline=None)
@given(schedule)
def test_nothing_runs_before_its_turn_and_everything_ends(actions: list[Action]):
    asyncio.run(Play(MemBench()).act_out(actions))


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(schedule)
def test_postgresql_does_the_same_step_by_step(actions: list[Action]):
    dsn = _database()
    in_memory = Play(MemBench())

    async def both() -> list[Any]:
        await in_memory.act_out(actions)
        async with await Database.open(dsn, max=2) as db:
            await db.execute(f"truncate {EVERYTHING} cascade")
            play = Play(PgBench(db))
            await play.act_out(actions)
            assert await db.fetchval(MISCOUNTED) == 0
            return play.trace

    assert asyncio.run(both()) == in_memory.trace


@functools.cache
def _database() -> str:
    server()
    return asyncio.run(create_database())
