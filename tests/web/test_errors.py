"""Every refusal has the shape of its API, a request id, and no traceback."""

from __future__ import annotations

import httpx
import pytest
from tests.identity.people import MASTER_KEY
from tests.web.conftest import assembled, client_of

from holdfast.identity.service import Identity
from holdfast.store.pg.database import Database
from holdfast.web.app import AppParts

WRONG_BODIES = [
    (b"", "missing"),
    (b"{", "truncated"),
    (b"\xff\xfe", "not UTF-8"),
    (b"[]", "not an object"),
    (b'{"name": 5}', "wrong type"),
    (b'{"name": "x", "size": "big"}', "wrong type"),
    (b'{"name": "x", "colour": 1}', "unknown field"),
    (b"[" * 4000, "nested too deeply"),
]


@pytest.mark.parametrize("body", [body for body, _ in WRONG_BODIES], ids=lambda body: body[:12])
async def test_a_malformed_body_is_400_in_the_apis_own_shape(admin: httpx.AsyncClient, body: bytes):
    answer = await admin.post("/things/v1/things", content=body)
    assert answer.status_code == 400
    error = answer.json()["thing_error"]
    assert error["status"] == 400
    assert error["message"]
    assert "Traceback" not in answer.text
    assert answer.headers["X-Things-Version"] == "1"


@pytest.mark.parametrize("path", ["auth/tokens", "projects", "users"])
@pytest.mark.parametrize("body", [body for body, _ in WRONG_BODIES[:4]], ids=lambda body: body[:12])
async def test_a_malformed_body_is_400_as_keystone_says_it(
    admin: httpx.AsyncClient, path: str, body: bytes
):
    answer = await admin.post(f"/identity/v3/{path}", content=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == 400
    assert answer.json()["error"]["title"] == "Bad Request"


async def test_a_faulty_field_is_named(admin: httpx.AsyncClient):
    answer = await admin.post("/things/v1/things", json={"name": "x", "size": "big"})
    assert "size" in answer.json()["thing_error"]["message"]


async def test_an_oversized_body_is_413(admin: httpx.AsyncClient):
    for url in ("/things/v1/things", "/identity/v3/auth/tokens"):
        answer = await admin.post(url, content=b'{"name": "' + b"x" * 5000 + b'"}')
        assert answer.status_code == 413, answer.text

    async def chunks():
        for _ in range(50):
            yield b" " * 100

    answer = await admin.post("/things/v1/things", content=chunks())  # of no announced length
    assert answer.status_code == 413
    assert answer.json()["thing_error"]["code"] == "too_large"


async def test_other_media_types_are_415_unless_the_api_reads_them(admin: httpx.AsyncClient):
    for kind, status in (
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("multipart/form-data; boundary=x", 415),
        ("application/json; charset=utf-8", 201),
        ("application/merge-patch+json", 201),
        ("application/x-things", 201),
    ):
        answer = await admin.post(
            "/things/v1/things", content=b'{"name":"x"}', headers={"Content-Type": kind}
        )
        assert answer.status_code == status, kind


@pytest.mark.parametrize(
    ("url", "shape"),
    [
        ("/things/nowhere", "thing_error"),
        ("/things/v1/things/x", "thing_error"),
        ("/identity/v3/nowhere", "error"),
        ("/cluster/nowhere", "code"),
        ("/nowhere", "code"),
        ("/things-not", "code"),
        ("/", "code"),
    ],
)
async def test_unknown_paths_are_404_in_the_shape_of_the_prefix(
    admin: httpx.AsyncClient, url: str, shape: str
):
    answer = await admin.get(url)
    assert answer.status_code == 404
    assert shape in answer.json()
    assert answer.headers["X-Openstack-Request-Id"].startswith("req-")


async def test_a_wrong_method_is_405_with_the_allowed_ones(admin: httpx.AsyncClient):
    answer = await admin.put("/things/v1/things")
    assert answer.status_code == 405
    assert {"GET", "POST"} <= set(answer.headers["Allow"].split(", "))
    assert "PUT is not allowed" in answer.json()["thing_error"]["message"]


async def test_a_crash_is_500_and_keeps_its_secrets(client: httpx.AsyncClient):
    answer = await client.get("/things/v1/fail/crash")
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert answer.headers["X-Openstack-Request-Id"] in answer.json()["thing_error"]["message"]


async def test_an_error_carries_its_own_headers(client: httpx.AsyncClient):
    answer = await client.get("/things/v1/fail/conflict")
    assert answer.status_code == 409
    assert answer.headers["X-Why"] == "busy"


async def test_database_gone_is_503_with_retry_after_in_every_shape(parts: AppParts):
    async with await Database.open("postgresql://x@/x?host=/nonexistent") as gone:
        app = assembled(parts, identity=Identity(gone, MASTER_KEY))
        async with client_of(app) as client:
            client.headers["X-Auth-Token"] = "some token"
            auth = {"identity": {"methods": ["token"], "token": {"id": "x"}}}
            for answer, shape in (
                (await client.get("/things/v1/things"), "thing_error"),
                (await client.get("/identity/v3/projects"), "error"),
                (await client.post("/identity/v3/auth/tokens", json={"auth": auth}), "error"),
                (await client.get("/cluster/v1/status"), "code"),
            ):
                assert answer.status_code == 503
                assert answer.headers["Retry-After"] == "1"
                assert shape in answer.json()


async def test_a_nul_in_a_text_is_the_clients_fault(admin: httpx.AsyncClient):
    answer = await admin.get("/identity/v3/users", params={"name": "a\0b"})
    assert answer.status_code == 400
