"""Waits for what the database says, never for the clock."""

from __future__ import annotations

import asyncio

from holdfast.store.pg.database import Database

WAITING = "select count(*) from pg_locks where not granted"


async def blocked(db: Database, count: int = 1) -> None:
    """Return once so many statements wait for a lock in this database's server."""
    async with asyncio.timeout(10):
        while await db.fetchval(WAITING) != count:
            await asyncio.sleep(0)
