"""The Orchestration API as an assembled application."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import httpx
import pytest
from prometheus_client import CollectorRegistry
from tests.stacks.people import IDENTITY, service

from holdfast.stacks.service import Stacks
from holdfast.store.pg.store import PgStore
from holdfast.store.secrets import Vault
from holdfast.web.app import AppParts, create_app
from holdfast.web.products import stacks_api
from holdfast.web.settings import WebSettings


@pytest.fixture
def all_stacks(store: PgStore, vault: Vault) -> Stacks:
    return service(store, vault)


@pytest.fixture
async def client(store: PgStore, all_stacks: Stacks) -> AsyncGenerator[httpx.AsyncClient]:
    """Alice's requests to her project."""
    parts = AppParts(
        identity=IDENTITY,
        store=store,
        apis=(stacks_api(all_stacks, IDENTITY),),
        settings=WebSettings(access_log=False),
        registry=CollectorRegistry(),
    )
    transport = httpx.ASGITransport(app=create_app(parts).asgi, raise_app_exceptions=True)
    base = "http://hf:8080/orchestration/v1/alice"
    async with httpx.AsyncClient(transport=transport, base_url=base) as one:
        one.headers["X-Auth-Token"] = "alice"
        yield one
