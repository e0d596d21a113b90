"""Connections that heal, faults that are named, transactions that are repeated."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from datetime import UTC, datetime
from uuid import uuid4

import asyncpg
import pytest
from sqlalchemy import Column, DateTime, Integer, MetaData, Table, Text, Uuid, func, insert, select
from sqlalchemy.dialects.postgresql import JSONB
from tests.store.pg.waiting import blocked
from tests.store.stores import PgBench

from holdfast.errors import (
    ConfigError,
    ConflictError,
    InvalidInputError,
    StoreUnavailableError,
)
from holdfast.store.pg.database import ATTEMPTS_MAX, Connection, Database

THING = Table(
    "thing",
    MetaData(),
    Column("id", Uuid(), primary_key=True),
    Column("n", Integer()),
    Column("label", Text()),
    Column("doc", JSONB()),
    Column("at", DateTime(timezone=True)),
)
CREATE = """
create table thing (
    id uuid primary key, n integer unique, label text, doc jsonb, at timestamptz,
    parent uuid references thing (id), check (n > 0)
)
"""


@pytest.fixture
async def db(pg: PgBench) -> Database:
    await pg.db.execute(CREATE)
    return pg.db


async def test_values_come_back_as_they_went_in(db: Database):
    row = {"id": uuid4(), "n": 1, "label": "é", "doc": {"a": [1, None]}, "at": 1_700_000_000.5}
    await db.execute(
        "insert into thing (id, n, label, doc, at) values ($1, $2, $3, $4, $5)", *row.values()
    )
    found = await db.fetchrow("select id, n, label, doc, at from thing")
    assert found is not None
    assert dict(found) == row
    assert await db.fetchval("select null::jsonb") is None
    assert await db.fetchval("select 'null'::jsonb") is None
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    assert await db.fetchval("select $1::timestamptz", noon) == noon.timestamp()
    assert await db.fetchval("select $1::jsonb", {"id": row["id"]}) == {"id": str(row["id"])}


async def test_microseconds_are_not_lost(db: Database):
    at = 1_795_221_702.123457
    assert await db.fetchval("select $1::timestamptz", at) == at


async def test_core_statements_run_on_the_same_connections(db: Database):
    ids = [uuid4() for _ in range(3)]
    rows = [
        {"id": key, "n": n + 1, "doc": {"n": n}, "at": 1_000.25, "label": "x"}
        for n, key in enumerate(ids)
    ]
    assert await db.execute(insert(THING).values(rows)) == 3
    at = datetime.fromtimestamp(1_000.25, UTC)
    query = (
        select(THING.c.id, THING.c.doc, THING.c.at)
        .where(THING.c.id.in_(ids[:2]), THING.c.doc["n"].astext == "1", THING.c.at == at)
        .limit(5)
    )
    assert [tuple(row.values()) for row in await db.fetch(query)] == [(ids[1], {"n": 1}, 1_000.25)]
    assert await db.fetchval(select(func.count()).where(THING.c.id.in_([]))) == 0
    async with db.transaction() as conn:
        assert await conn.fetchval(select(func.count()).select_from(THING)) == 3


async def test_a_transaction_is_undone_by_any_error_which_comes_out_as_it_is(db: Database):
    async def failing(error: Exception) -> None:
        async with db.transaction() as conn:
            await conn.execute("insert into thing (id) values ($1)", uuid4())
            raise error

    for error in (OSError("the caller's own"), TimeoutError(), ValueError()):
        with pytest.raises(type(error)) as raised:
            await failing(error)
        assert raised.value is error
    assert await db.fetchval("select count(*) from thing") == 0


async def test_a_failed_statement_cannot_be_ignored(db: Database):
    async def careless() -> None:
        async with db.transaction() as conn:
            await conn.execute("insert into thing (id) values ($1)", uuid4())
            with suppress(InvalidInputError):
                await conn.execute("insert into thing (id, n) values ($1, 0)", uuid4())

    with pytest.raises(RuntimeError):
        await careless()
    assert await db.fetchval("select count(*) from thing") == 0


async def test_broken_constraints_are_named(db: Database):
    insert_n = "insert into thing (id, n) values ($1, $2)"
    await db.execute(insert_n, uuid4(), 1)
    with pytest.raises(ConflictError) as twice:
        await db.execute(insert_n, uuid4(), 1)
    assert twice.value.details == {"kind": "duplicate", "constraint": "thing_n_key"}
    with pytest.raises(ConflictError) as dangling:
        await db.execute("insert into thing (id, parent) values ($1, $2)", uuid4(), uuid4())
    assert dangling.value.details["kind"] == "reference"
    with pytest.raises(InvalidInputError):
        await db.execute(insert_n, uuid4(), 0)
    with pytest.raises(InvalidInputError):
        await db.execute(insert_n, uuid4(), "one")


async def test_a_mistake_of_ours_is_seen_as_such(db: Database):
    with pytest.raises(asyncpg.PostgresSyntaxError):
        await db.execute("selekt")
    with pytest.raises(asyncpg.InterfaceError):
        await db.execute("select $1::text", "a", "too many")


async def test_a_deadlock_is_run_again(db: Database):
    first, second = uuid4(), uuid4()
    for key in (first, second):
        await db.execute("insert into thing (id, label) values ($1, '')", key)
    both = asyncio.Barrier(2)

    def crossing(*order: object):
        tries = 0

        async def work(conn: Connection) -> int:
            nonlocal tries
            tries += 1
            for n, key in enumerate(order):
                await conn.execute("update thing set label = label || 'x' where id = $1", key)
                if n == 0 and tries == 1:
                    await both.wait()
            return tries

        return work

    tries = await asyncio.gather(db.run(crossing(first, second)), db.run(crossing(second, first)))
    assert sorted(tries) == [1, 2]
    assert [row["label"] for row in await db.fetch("select label from thing")] == ["xx", "xx"]


async def test_running_again_has_an_end(db: Database):
    tries = 0

    async def work(conn: Connection) -> None:
        nonlocal tries
        tries += 1
        await conn.execute("do $$ begin raise exception using errcode = '40001'; end $$")

    with pytest.raises(StoreUnavailableError):
        await db.run(work)
    assert tries == ATTEMPTS_MAX


async def test_a_lost_connection_is_reported_and_replaced(db: Database):
    killing = "select pg_terminate_backend(pg_backend_pid())"
    with pytest.raises(StoreUnavailableError):
        await db.execute(killing)
    with pytest.raises(StoreUnavailableError):
        async with db.transaction() as conn:
            await conn.execute(killing)
    assert await db.fetchval("select 1") == 1


async def test_a_connection_that_was_lost_while_idle_costs_one_statement_at_most(
    pg: PgBench, fresh_database_url: str
):
    async with await Database.open(fresh_database_url, max=1) as db:
        backend = await db.fetchval("select pg_backend_pid()")
        await pg.db.execute("select pg_terminate_backend($1)", backend)
        with suppress(StoreUnavailableError):
            await db.fetchval("select 1")
        assert await db.fetchval("select 1") == 1


async def too_long(conn: Connection) -> None:
    await conn.execute("set local statement_timeout = 1")
    await conn.execute("select pg_sleep(10)")


async def test_a_statement_the_server_gives_up_leaves_the_pool_whole(fresh_database_url: str):
    async with await Database.open(fresh_database_url, max=1) as db:
        for _ in range(3):
            with pytest.raises(StoreUnavailableError):
                await db.run(too_long)
        assert await db.fetchval("select 1") == 1


async def test_who_is_cancelled_does_not_wait_for_a_server_that_hangs(fresh_database_url: str):
    async with await Database.open(fresh_database_url, max=1) as db:
        backend: int = await db.fetchval("select pg_backend_pid()")
        os.kill(backend, signal.SIGSTOP)
        try:
            statement = asyncio.create_task(db.execute("select 1"))
            await asyncio.sleep(0.01)  # until it has been sent
            statement.cancel()
            async with asyncio.timeout(3):
                with pytest.raises(asyncio.CancelledError):
                    await statement
                assert await db.fetchval("select pg_backend_pid()") != backend
        finally:
            os.kill(backend, signal.SIGCONT)


async def test_a_waiting_statement_can_be_given_up(db: Database):
    await db.execute("insert into thing (id) values ($1)", uuid4())
    async with db.transaction() as conn:
        await conn.execute("select from thing for update")
        waiting = asyncio.create_task(db.execute("update thing set n = 1"))
        await blocked(db)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await blocked(db, 0)  # the server has ended it, too
    assert await db.fetchval("select n from thing") is None


async def test_a_database_that_is_away_is_met_at_the_first_statement():
    nowhere = "postgresql://u:p@127.0.0.1:1/none"
    async with await Database.open(nowhere) as db:
        with pytest.raises(StoreUnavailableError):
            await db.fetchval("select 1")
    with pytest.raises(StoreUnavailableError):
        await Database.open(nowhere, min=1)


async def test_a_refused_login_is_a_fault_of_the_configuration(fresh_database_url: str):
    wrong = fresh_database_url.replace("holdfast:", "holdfast:x")
    async with await Database.open(wrong) as db:
        with pytest.raises(ConfigError):
            await db.fetchval("select 1")
