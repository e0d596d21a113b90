"""Stacks on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest
from tests.database import fresh_database_url  # noqa: F401

from holdfast.stacks.pgstore import PgStacks
from holdfast.stacks.tables import ROWS
from holdfast.store.pg.database import Database
from holdfast.store.pg.store import PgStore
from holdfast.store.secrets import Vault


@pytest.fixture
async def db(fresh_database_url: str) -> AsyncGenerator[Database]:  # noqa: F811
    """An empty database of the test's own."""
    async with await Database.open(fresh_database_url) as opened:
        yield opened


@pytest.fixture
def vault() -> Vault:
    return Vault(b"k" * 32)


@pytest.fixture
def store(db: Database) -> PgStore:
    return PgStore(db, {}, ROWS)


@pytest.fixture
def stacks(store: PgStore, vault: Vault) -> PgStacks:
    return PgStacks(store, vault)
