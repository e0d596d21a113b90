"""Random graphs with reservations, ends, cancellations and deaths, on both stores."""

from __future__ import annotations

import asyncio
import functools
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from tests.database import create_database, server
from tests.store.schedules import Action, Play, schedule
from tests.store.stores import MemBench, PgBench

from holdfast.sim import memgraph
from holdfast.sim.memstore import MemStore
from holdfast.store.graph import Edge, Entry, Want
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


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
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


# The checks are checked: each of these, a known way to get it wrong, must be found.

_reserved = memgraph.reserved
_enter = memgraph.enter


def only_the_first(*args: Any) -> dict[UUID, list[UUID]]:
    return {job: before[:1] for job, before in _reserved(*args).items()}


def the_last_come_first(wants: list[Want], *args: Any) -> dict[UUID, list[UUID]]:
    return _reserved(wants[::-1], *args)


def children_on_their_own(
    jobs: Any, known: Any, parent: UUID | None
) -> tuple[list[Entry], list[Edge]]:
    entries, edges = _enter(jobs, known, parent)
    return entries, [edge for edge in edges if edge.succ != parent]


def passed_with_their_end(self: memgraph.MemGraph, job: UUID) -> bool:
    found = self._t.jobs.get(job)
    return found is not None and found.state.ended and not self._has_passed(job)


async def nobody_tends(_self: MemStore, limit: int = 0) -> int:
    return 0


@pytest.mark.parametrize(
    ("where", "name", "wrong"),
    [
        (memgraph, "reserved", only_the_first),
        (memgraph, "reserved", the_last_come_first),
        (memgraph, "enter", children_on_their_own),
        (memgraph.MemGraph, "_may_pass", passed_with_their_end),
        (MemStore, "tend", nobody_tends),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_wrong_rule_is_found(monkeypatch: pytest.MonkeyPatch, where: Any, name: str, wrong: Any):
    monkeypatch.setattr(where, name, wrong)

    @settings(max_examples=200, deadline=None, database=None, phases=[Phase.generate])
    @given(schedule)
    def play(actions: list[Action]) -> None:
        asyncio.run(Play(MemBench()).act_out(actions))

    with pytest.raises(AssertionError):
        play()


@functools.cache
def _database() -> str:
    server()
    return asyncio.run(create_database())
