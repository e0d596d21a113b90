"""Services, endpoints and regions as ``openstack service|endpoint|region`` ask for them."""

from __future__ import annotations

import httpx
import pytest
from tests.identity.test_api import URL, log_in
from tests.web.conftest import admin, application, client, parts, store  # noqa: F401


@pytest.fixture
async def api(client: httpx.AsyncClient) -> httpx.AsyncClient:  # noqa: F811
    client.base_url = httpx.URL(URL)
    await log_in(client)
    return client


async def test_services_are_found_by_type_and_name(api: httpx.AsyncClient):
    """The CLI asks by type, and takes two answers for an ambiguity."""
    every = (await api.get("/services")).json()["services"]
    assert len(every) == 2
    for service in every:
        (by_type,) = (await api.get(f"/services?type={service['type']}")).json()["services"]
        (by_name,) = (await api.get(f"/services?name={service['name']}")).json()["services"]
        assert by_type == by_name == service
    assert (await api.get("/services?type=none")).json()["services"] == []


async def test_endpoints_are_found_by_service_and_interface(api: httpx.AsyncClient):
    (service,) = (await api.get("/services?type=identity")).json()["services"]
    found = (await api.get(f"/endpoints?service_id={service['id']}")).json()["endpoints"]
    assert {endpoint["interface"] for endpoint in found} == {"public", "internal", "admin"}
    (public,) = (await api.get(f"/endpoints?service_id={service['id']}&interface=public")).json()[
        "endpoints"
    ]
    assert (await api.get(f"/endpoints/{public['id']}")).json()["endpoint"] == public


async def test_each_is_shown_by_its_id_and_what_is_none_is_not_found(api: httpx.AsyncClient):
    for plural, kind in (("services", "service"), ("endpoints", "endpoint"), ("regions", "region")):
        first = (await api.get(f"/{plural}")).json()[plural][0]
        shown = (await api.get(f"/{plural}/{first['id']}")).json()[kind]
        assert shown == first
        assert shown["links"]["self"].endswith(f"/v3/{plural}/{first['id']}")
        assert (await api.get(f"/{plural}/nothing")).status_code == 404
