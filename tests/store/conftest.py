"""Both stores, each empty for every test."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest
from tests.database import create_database, drop_database, fresh_database_url  # noqa: F401
from tests.store.stores import MAKE_NOTE, Bench, MemBench, PgBench, Scene

from holdfast.store.pg.database import Database


@pytest.fixture
async def pg(fresh_database_url: str) -> AsyncGenerator[PgBench]:  # noqa: F811
    """PostgreSQL alone, for what only it can do."""
    async with await Database.open(fresh_database_url) as db:
        yield PgBench(db)


@pytest.fixture(params=["pg", "memory"])
async def bench(request: pytest.FixtureRequest) -> AsyncGenerator[Bench]:
    """One store, then the other."""
    if request.param == "memory":
        yield MemBench()
        return
    dsn = await create_database()
    async with await Database.open(dsn) as db:
        await db.execute(MAKE_NOTE)
        yield PgBench(db)
    await drop_database(dsn)


@pytest.fixture
async def scene(bench: Bench) -> Scene:
    return Scene(bench)
