"""An assembled application over a real PostgreSQL, with one small API to misuse."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry
from tests.database import database_url  # noqa: F401
from tests.identity.conftest import db, identity  # noqa: F401
from tests.identity.people import admin_token
from tests.web.things import things

from holdfast.identity.service import Identity
from holdfast.sim.memstore import MemStore
from holdfast.web.app import Application, AppParts, create_app
from holdfast.web.settings import WebSettings

SETTINGS = WebSettings(body_bytes_max=4096, access_log=False)


@pytest.fixture
def store() -> MemStore:
    return MemStore(time.time, {"node": None})


@pytest.fixture
def parts(identity: Identity, store: MemStore) -> AppParts:  # noqa: F811
    return AppParts(
        identity=identity,
        store=store,
        apis=(things(),),
        settings=SETTINGS,
        ports={6385: "things"},
    )


@pytest.fixture
def application(parts: AppParts) -> Application:
    return create_app(parts)


def assembled(parts: AppParts, **changes: Any) -> Application:
    """An application of other parts, with metrics of its own."""
    return create_app(replace(parts, registry=CollectorRegistry(), **changes))


def client_of(
    application: Application, base_url: str = "http://hf:8080", *, client: str = "127.0.0.1"
) -> httpx.AsyncClient:
    """Requests from the address ``client``."""
    transport = httpx.ASGITransport(
        app=application.asgi, raise_app_exceptions=True, client=(client, 50000)
    )
    return httpx.AsyncClient(transport=transport, base_url=base_url)


@pytest.fixture
async def client(application: Application) -> AsyncGenerator[httpx.AsyncClient]:
    """Nobody's requests."""
    async with client_of(application) as client:
        yield client


@pytest.fixture
async def admin(
    application: Application,
    identity: Identity,  # noqa: F811
) -> AsyncGenerator[httpx.AsyncClient]:
    """The administrator's requests."""
    async with client_of(application) as client:
        client.headers["X-Auth-Token"] = await admin_token(identity)
        yield client
