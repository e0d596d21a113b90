"""Bare metal over a real PostgreSQL, and its API as an assembled application."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import httpx
import pytest
from prometheus_client import CollectorRegistry
from tests.baremetal.people import BaremetalFixture
from tests.database import database_url  # noqa: F401
from tests.identity.people import ADMIN_PASSWORD, MASTER_KEY, admin_token

from holdfast.baremetal import api
from holdfast.baremetal.models import KINDS
from holdfast.baremetal.service import Baremetal
from holdfast.baremetal.settings import BaremetalSettings
from holdfast.identity.bootstrap import bootstrap
from holdfast.identity.service import Identity
from holdfast.store.pg.database import Database
from holdfast.store.pg.store import PgStore
from holdfast.store.secrets import Vault
from holdfast.web.apis import Api
from holdfast.web.app import AppParts, create_app
from holdfast.web.settings import WebSettings

TABLES = "node, port, job, shard_claim, member, project, account, role, role_grant, token"


@pytest.fixture
async def db(database_url: str) -> AsyncGenerator[Database]:  # noqa: F811
    async with await Database.open(database_url) as database:
        await database.execute(f"truncate {TABLES} cascade")
        yield database


@pytest.fixture
def store(db: Database) -> PgStore:
    return PgStore(db, KINDS)


@pytest.fixture
def vault() -> Vault:
    return Vault(MASTER_KEY)


@pytest.fixture
def baremetal(store: PgStore, vault: Vault) -> Baremetal:
    return Baremetal(store, vault, BaremetalSettings(page_max=50), shards=8)


@pytest.fixture
def fixture(db: Database, store: PgStore, baremetal: Baremetal, vault: Vault) -> BaremetalFixture:
    return BaremetalFixture(db, store, baremetal, vault)


@pytest.fixture
async def identity(db: Database, tmp_path: Path) -> Identity:
    await bootstrap(db, tmp_path, "http://hf:8080", password=ADMIN_PASSWORD)
    return Identity(db, MASTER_KEY)


def mounted(baremetal: Baremetal) -> Api:
    return Api(
        name="baremetal",
        prefix=api.PREFIX,
        router=api.router(baremetal),
        policies=api.POLICIES,
        error_body=api.error_body,
        error_headers=api.error_headers,
        service=api.SERVICE,
        rewrite=api.rewrite,
    )


@pytest.fixture
async def client(
    identity: Identity, store: PgStore, baremetal: Baremetal
) -> AsyncGenerator[httpx.AsyncClient]:
    """The administrator's requests to the API's root, speaking 1.95."""
    parts = AppParts(
        identity=identity,
        store=store,
        apis=(mounted(baremetal),),
        settings=WebSettings(access_log=False),
        registry=CollectorRegistry(),
    )
    transport = httpx.ASGITransport(app=create_app(parts).asgi, raise_app_exceptions=True)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://hf:8080/baremetal"
    ) as client:
        client.headers["X-Auth-Token"] = await admin_token(identity)
        client.headers["X-OpenStack-Ironic-API-Version"] = "1.95"
        yield client
