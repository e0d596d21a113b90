"""The schema: applied once, in halves, by whoever comes first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest
from tests.database import create_database, drop_database

from holdfast.errors import StoreUnavailableError
from holdfast.store.pg import migrations
from holdfast.store.pg.database import Database
from holdfast.store.pg.migrate import current, migrate, pending

ALL = tuple(sorted(path.stem for path in migrations.HERE.glob("*.sql")))


@pytest.fixture
async def empty() -> AsyncGenerator[str]:
    """A database without a schema."""
    dsn = await create_database(template="template1")
    yield dsn
    await drop_database(dsn)


async def test_a_second_migration_is_a_no_op(empty: str):
    assert await current(empty) == ()
    assert await pending(empty) == ALL
    assert await migrate(empty) == ALL
    assert await migrate(empty) == ()
    assert await current(empty) == ALL
    assert await pending(empty) == ()


async def test_of_many_at_once_one_migrates(empty: str):
    done = await asyncio.gather(*(migrate(empty) for _ in range(4)))
    assert sorted(done) == [(), (), (), ALL]


async def test_the_halves_make_the_whole(empty: str):
    assert await migrate(empty, "pre") == ALL
    assert await migrate(empty, "post") == ()
    assert await pending(empty) == ()


async def test_every_sql_file_is_a_revision(empty: str):
    assert await migrate(empty) == ALL
    async with await Database.open(empty) as db:
        tables = await db.fetch(
            "select tablename from pg_tables where schemaname = 'public' order by 1"
        )
        extensions = await db.fetchval("select array_agg(extname order by 1) from pg_extension")
    names = {row["tablename"] for row in tables}
    assert {"member", "shard_claim", "job", "account", "node", "port"} <= names
    assert extensions == ["plpgsql"]  # no contrib module is needed


async def test_a_failed_migration_leaves_nothing_behind(empty: str):
    async with await Database.open(empty) as db:
        await db.execute("create table port (squatter integer)")
        with pytest.raises(Exception, match="port"):
            await migrate(empty)
        assert await current(empty) == ()
        assert await db.fetchval("select to_regclass('member')") is None
        await db.execute("drop table port")
    assert await migrate(empty) == ALL


async def test_without_a_database_there_is_no_migration():
    with pytest.raises(StoreUnavailableError):
        await migrate("postgresql://u:p@127.0.0.1:1/none")
