"""Brings the schema of a database up to this release. Safe to call from everywhere at once.

Each change comes in two halves: ``pre`` adds and is applied before any process of the
new release starts, ``post`` takes away and is applied once the last process of the old
one is gone. An advisory lock lets one caller through at a time.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any, Literal, TypeAlias

import structlog
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection as SyncConnection
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from holdfast.store.pg import hosts, migrations
from holdfast.store.pg.driver import asyncpg
from holdfast.store.pg.faults import translated

log: Any = structlog.get_logger(__name__)

Phase: TypeAlias = Literal["all", "pre", "post"]

VERSION_TABLE = "schema_revision"
CONNECT_S = 10.0
# Waiting for a table holds up everybody who comes later; then rather try again.
LOCK_WAIT = "10s"
LOCK = "select pg_advisory_lock(hashtextextended('holdfast.migrate', 0))"
UNLOCK = "select pg_advisory_unlock(hashtextextended('holdfast.migrate', 0))"


async def migrate(dsn: str, phase: Phase = "all") -> tuple[str, ...]:
    """Apply what is missing; returns the revisions applied now, oldest first.

    ``pre``: only what the last release can run beside. ``post`` applies the rest,
    and so is the same as ``all``. Raises ``StoreUnavailableError`` without a database.
    """
    config = _config()
    target = "pre@head" if phase == "pre" else "heads"
    async with _connected(dsn) as conn:
        await conn.execute(text(LOCK))
        await conn.execute(text(f"set lock_timeout = '{LOCK_WAIT}'"))
        await conn.commit()
        before = await conn.run_sync(_applied)
        await conn.run_sync(_upgrade(config, target))
        await conn.commit()
        after = await conn.run_sync(_applied)
        await conn.execute(text(UNLOCK))
        await conn.commit()
    done = tuple(name for name in after if name not in before)
    if done:
        log.info("schema.migrated", applied=list(done))
    return done


async def current(dsn: str) -> tuple[str, ...]:
    """The revisions a database has, oldest first; empty for one without a schema."""
    async with _connected(dsn) as conn:
        return await conn.run_sync(_applied)


async def pending(dsn: str) -> tuple[str, ...]:
    """The revisions of this release that a database lacks, oldest first."""
    there = await current(dsn)
    script = ScriptDirectory.from_config(_config())
    return tuple(name for name in _ancestors(script, script.get_heads()) if name not in there)


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(migrations.HERE).replace("%", "%%"))
    return config


@asynccontextmanager
async def _connected(dsn: str) -> AsyncGenerator[AsyncConnection]:
    """A connection of SQLAlchemy's over our own driver, so that every DSN of ours is understood."""

    async def creator() -> Any:
        return await hosts.connect(dsn, timeout=CONNECT_S)

    engine = create_async_engine("postgresql+asyncpg://", async_creator=creator, poolclass=NullPool)
    with translated():
        try:
            async with engine.connect() as conn:
                yield conn
        except DBAPIError as fault:
            # What asyncpg said is two causes down; without it nobody can tell what is wrong.
            raise _root(fault) from fault
        finally:
            await engine.dispose()


def _root(fault: BaseException) -> BaseException:
    cause = fault.__cause__
    while cause is not None and not isinstance(cause, asyncpg.PostgresError):
        cause = cause.__cause__
    return cause or fault


def _upgrade(config: Config, target: str) -> Callable[[SyncConnection], None]:
    def upgrade(conn: SyncConnection) -> None:
        config.attributes["connection"] = conn
        command.upgrade(config, target)

    return upgrade


def _applied(conn: SyncConnection) -> tuple[str, ...]:
    context = MigrationContext.configure(conn, opts={"version_table": VERSION_TABLE})
    heads = context.get_current_heads()
    conn.rollback()  # reading began a transaction
    return _ancestors(ScriptDirectory.from_config(_config()), heads)


def _ancestors(script: ScriptDirectory, heads: tuple[str, ...] | list[str]) -> tuple[str, ...]:
    """Those revisions and all before them, oldest first."""
    if not heads:
        return ()
    found: list[Any] = list(script.iterate_revisions(tuple(heads), "base"))
    return tuple(revision.revision for revision in reversed(found))
