"""Live and ready."""

from __future__ import annotations

import httpx
import pytest
from tests.web.conftest import assembled, client_of

from holdfast.errors import StoreUnavailableError
from holdfast.sim.memstore import MemStore
from holdfast.web.app import Application, AppParts


async def test_ready_when_registered_and_the_database_answers(client: httpx.AsyncClient):
    assert (await client.get("/livez")).json() == {"status": "alive"}
    answer = await client.get("/readyz")
    assert answer.status_code == 200
    assert answer.json() == {"status": "ready", "faults": []}


async def test_not_ready_while_draining_and_still_alive(
    application: Application, client: httpx.AsyncClient
):
    application.health.draining = True
    answer = await client.get("/readyz")
    assert answer.status_code == 503
    assert "draining" in answer.json()["faults"][0]
    assert (await client.get("/livez")).status_code == 200


async def test_not_ready_without_registration(parts: AppParts):
    app = assembled(parts, registered=lambda: False)
    async with client_of(app) as client:
        answer = await client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["faults"] == ["not registered as a member"]


async def test_not_ready_without_a_database(
    parts: AppParts, store: MemStore, monkeypatch: pytest.MonkeyPatch
):
    async def groups() -> list[str]:
        raise StoreUnavailableError("the database did not answer: gone")

    monkeypatch.setattr(store, "groups", groups)
    async with client_of(assembled(parts)) as client:
        answer = await client.get("/readyz")
        assert answer.status_code == 503
        assert answer.json()["faults"] == ["the database did not answer: gone"]
        assert (await client.get("/livez")).status_code == 200
