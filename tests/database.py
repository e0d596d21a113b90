"""A real PostgreSQL for tests: one server for the whole run, a database of its own per test.

The server is Holdfast's embedded one, durable settings off. A database is a copy of a
migrated template, which costs some 30 ms. Fixtures (import them into a ``conftest``):
``database_url`` for one database shared by a package, ``fresh_database_url`` for a test's own.
"""

from __future__ import annotations

import asyncio
import atexit
import functools
import shutil
import subprocess
import tempfile
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from holdfast.store.embedded import DATABASE, ROLE, EmbeddedPostgres
from holdfast.store.pg.migrate import migrate

FAST = ["-c", "fsync=off", "-c", "full_page_writes=off", "-c", "synchronous_commit=off"]


@functools.cache
def server() -> EmbeddedPostgres:
    """The server, started at the first call and stopped at the end of the run."""
    home = Path(tempfile.mkdtemp(prefix="holdfast-test-"))
    home.chmod(0o755)
    postgres = EmbeddedPostgres.prepare(home / "data")
    with (home / "postgres.log").open("w") as log:
        process = subprocess.Popen([*postgres.argv, *FAST], stderr=log, **postgres.spawn_options)

    def stop() -> None:
        process.send_signal(postgres.stop_signal)
        process.wait(timeout=30)
        shutil.rmtree(home)

    atexit.register(stop)

    async def make_template() -> None:
        await postgres.wait_ready()
        await migrate(postgres.dsn)

    # On a thread, for whoever asks first may be on an event loop.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, make_template()).result()
    return postgres


async def create_database(template: str = DATABASE) -> str:
    """An empty database, migrated unless another template is named; returns its DSN."""
    name = f"t_{uuid4().hex}"
    await _admin(f"create database {name} template {template} owner {ROLE}")
    return server().dsn.replace(f"/{DATABASE}?", f"/{name}?")


async def drop_database(dsn: str) -> None:
    name = dsn.split("@/", 1)[1].split("?", 1)[0]
    await _admin(f"drop database if exists {name} with (force)")


async def _admin(statement: str) -> None:
    conn = await asyncpg.connect(server().admin_dsn)
    try:
        await conn.execute(statement)
    finally:
        await conn.close()


@pytest.fixture(scope="session")
def database_url() -> str:
    """One database for all tests that import this into their conftest."""
    server()
    return asyncio.run(create_database())


@pytest.fixture
async def fresh_database_url() -> AsyncGenerator[str]:
    """A database for one test."""
    server()
    dsn = await create_database()
    yield dsn
    await drop_database(dsn)
