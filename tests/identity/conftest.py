"""An identity service over a real PostgreSQL, empty but for what bootstrap makes."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from tests.database import database_url  # noqa: F401
from tests.identity.people import ADMIN_PASSWORD, MASTER_KEY

from holdfast.identity.bootstrap import bootstrap
from holdfast.identity.service import Identity
from holdfast.identity.settings import IdentitySettings
from holdfast.store.pg.database import Database


@pytest.fixture
async def db(database_url: str) -> AsyncGenerator[Database]:  # noqa: F811
    async with await Database.open(database_url) as database:
        await database.execute("truncate project, account, role, role_grant, token cascade")
        yield database


@pytest.fixture
async def identity(db: Database, tmp_path: Path) -> Identity:
    await bootstrap(db, tmp_path, "http://127.0.0.1:8080", password=ADMIN_PASSWORD)
    return Identity(db, MASTER_KEY, IdentitySettings())
