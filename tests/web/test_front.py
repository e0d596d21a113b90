"""What every request gets, whichever API it is for."""

from __future__ import annotations

import httpx
import pytest
from tests.web.conftest import assembled, client_of

from holdfast.web.app import Application, AppParts
from holdfast.web.front import _address


@pytest.mark.parametrize(
    "path", ["/things/v1/things/", "//things//v1/things", "/things/things", "/things/v1/things//"]
)
async def test_slashes_and_aliases_lead_to_the_same_route(admin: httpx.AsyncClient, path: str):
    assert (await admin.get(f"http://hf:8080{path}")).status_code == 200


async def test_head_is_get_without_a_body(admin: httpx.AsyncClient):
    answer = await admin.head("/things/v1/things")
    assert answer.status_code == 200
    assert answer.content == b""
    assert int(answer.headers["Content-Length"]) > 0


async def test_each_answer_has_a_request_id_of_its_own(client: httpx.AsyncClient):
    ids = {(await client.get("/livez")).headers["X-Openstack-Request-Id"] for _ in range(3)}
    assert len(ids) == 3


async def test_urls_follow_the_address_the_client_used(client: httpx.AsyncClient):
    answer = await client.get("/things")
    assert answer.json() == {"api": "http://hf:8080/things", "address": "http://hf:8080"}


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        ("cloud.example:6385", "cloud.example:6385"),
        ("[2001:db8::1]:80", "[2001:db8::1]:80"),
        ('x"onload=1', "127.0.0.1:8080"),
        ("evil@elsewhere", "127.0.0.1:8080"),
        ("a/b", "127.0.0.1:8080"),
        ("h:99999999", "127.0.0.1:8080"),
        ("", "127.0.0.1:8080"),
    ],
)
def test_what_is_no_host_is_not_repeated(host: str, shown: str):
    scope = {
        "scheme": "http",
        "headers": [(b"host", host.encode())],
        "server": ("127.0.0.1", 8080),
    }
    assert _address(scope) == f"http://{shown}"  # pyright: ignore[reportArgumentType]


async def test_a_configured_public_url_wins(parts: AppParts):
    app = assembled(parts, public_url="https://cloud.example/")
    async with client_of(app) as client:
        answer = await client.get("/things")
    assert answer.json()["api"] == "https://cloud.example/things"


async def test_an_own_port_serves_its_api_at_the_root_and_the_rest_as_ever(
    application: Application,
):
    async with client_of(application, "http://hf:6385") as client:
        assert (await client.get("/")).json()["api"] == "http://hf:6385"
        assert (await client.get("/v1/things")).status_code == 401
        assert (await client.get("/things/v1/things")).status_code == 401
        assert (await client.get("/identity/v3")).status_code == 200
        assert (await client.get("/livez")).status_code == 200
        unknown = await client.get("/nowhere")
        assert "thing_error" in unknown.json()


async def test_a_draining_process_asks_clients_to_reconnect(
    application: Application, client: httpx.AsyncClient
):
    assert "Connection" not in (await client.get("/livez")).headers
    application.health.draining = True
    assert (await client.get("/livez")).headers["Connection"] == "close"
    assert (await client.get("/livez")).status_code == 200


async def test_requests_are_counted_by_route_and_never_by_path(
    admin: httpx.AsyncClient, client: httpx.AsyncClient
):
    for number in (1, 2, 3):
        await admin.get(f"/things/v1/things/{number}")
        await client.get(f"/things/secret-{number}")
    text = (await client.get("/metrics")).text
    route = 'api="things",method="GET",route="/things/v1/things/{number}"'
    assert f'holdfast_http_requests_total{{{route},status="200"}} 1.0' in text
    assert f'holdfast_http_requests_total{{{route},status="404"}} 2.0' in text
    assert f"holdfast_http_request_seconds_count{{{route}}} 3.0" in text
    assert "secret" not in text


async def test_an_invalid_host_is_refused(client: httpx.AsyncClient):
    answer = await client.get("/identity/v3", headers={"Host": 'evil"><script>'})
    assert answer.status_code == 400
