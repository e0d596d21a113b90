"""Bare metal over a real PostgreSQL, and its API as an assembled application."""

from __future__ import annotations

import functools
import time
from collections.abc import AsyncGenerator
from typing import cast

import httpx
import pytest
from prometheus_client import CollectorRegistry
from tests.baremetal.people import BaremetalFixture, KnownCallers
from tests.database import database_url  # noqa: F401

from holdfast.baremetal.models import KINDS
from holdfast.baremetal.service import Baremetal
from holdfast.baremetal.settings import BaremetalSettings
from holdfast.identity.service import Identity
from holdfast.sim.memstore import MemStore
from holdfast.store.pg.database import Database
from holdfast.store.pg.store import PgStore
from holdfast.store.secrets import Vault
from holdfast.web.app import Application, AppParts, create_app
from holdfast.web.products import baremetal_api
from holdfast.web.settings import WebSettings

TABLES = "node, port, job, shard_claim, member, chassis, allocation, deploy_template, runbook"
MASTER_KEY = b"a master key for tests, 32 bytes"


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
    return Baremetal(store, vault, BaremetalSettings(page_max=50, locked_wait_s=0), shards=8)


@pytest.fixture
def fixture(db: Database, store: PgStore, baremetal: Baremetal, vault: Vault) -> BaremetalFixture:
    return BaremetalFixture(db, store, baremetal, vault)


@functools.cache
def application() -> tuple[Application, Baremetal]:
    """The assembled API, made once, as that is slow; and the service it runs on, to be filled."""
    service = Baremetal.__new__(Baremetal)
    parts = AppParts(
        identity=cast("Identity", KnownCallers()),
        store=MemStore(time.time, {"node": None}),
        apis=(baremetal_api(service),),
        settings=WebSettings(access_log=False),
        registry=CollectorRegistry(),
    )
    return create_app(parts), service


@pytest.fixture
async def client(baremetal: Baremetal) -> AsyncGenerator[httpx.AsyncClient]:
    """The administrator's requests to the API's root, speaking 1.95."""
    app, service = application()
    vars(service).update(vars(baremetal))
    transport = httpx.ASGITransport(app=app.asgi, raise_app_exceptions=True)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://hf:8080/baremetal"
    ) as client:
        client.headers["X-Auth-Token"] = "admin"
        client.headers["X-OpenStack-Ironic-API-Version"] = "1.95"
        yield client
