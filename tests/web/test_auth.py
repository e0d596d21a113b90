"""Who gets past the door."""

from __future__ import annotations

import httpx
import msgspec
import pytest
from litestar import Router, get
from tests.identity.people import MASTER_KEY, project_user, user_token
from tests.web.conftest import assembled, client_of

from holdfast.errors import ConfigError
from holdfast.identity.service import Identity
from holdfast.store.pg.database import Database
from holdfast.web.apis import Api
from holdfast.web.app import Application, AppParts
from holdfast.web.auth import OPEN_HERE


def api_with(opt: dict[str, object] | None) -> Api:
    @get("/v1/open", opt=opt)
    async def door() -> None:
        return None

    router = Router(path="/", route_handlers=[door])
    return Api(name="doors", prefix="/doors", router=router, policies=())


@pytest.mark.parametrize("opt", [None, {"policy": "doors:open"}, {"policy": None}])
def test_a_route_without_a_known_policy_does_not_start(
    parts: AppParts, opt: dict[str, object] | None
):
    with pytest.raises(ConfigError, match=r"/doors/v1/open \(door\) has"):
        assembled(parts, apis=(api_with(opt),), ports={})


def test_every_route_is_closed_unless_declared_public(application: Application):
    """Proof by enumeration that nothing is open by accident: this list is the whole of it."""
    routes = application.litestar.routes
    public = {
        (route.path, method)
        for route in routes
        for handler in route.route_handlers  # pyright: ignore[reportAttributeAccessIssue]
        for method in handler.http_methods
        if handler.opt["policy"] == "public" and method != "OPTIONS"
    }
    assert public == {
        ("/identity", "GET"),
        ("/identity/v3", "GET"),
        ("/identity/v3/auth/tokens", "POST"),
        ("/livez", "GET"),
        ("/readyz", "GET"),
        ("/things", "GET"),
        ("/things/v1/fail/{how:str}", "GET"),
    }
    handlers = [(r.path, h) for r in routes for h in r.route_handlers]  # pyright: ignore[reportAttributeAccessIssue]
    assert {path for path, handler in handlers if handler.opt.get(OPEN_HERE)} == {"/metrics"}


async def test_no_token_and_an_unknown_one_are_401_with_the_way_in(client: httpx.AsyncClient):
    for headers in ({}, {"X-Auth-Token": "nonsense"}, {"X-Auth-Token": ""}):
        answer = await client.get("/things/v1/things", headers=headers)
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == 'Keystone uri="http://hf:8080/identity"'
        assert answer.json()["thing_error"]["code"] == "not_authenticated"


async def test_an_expired_token_is_401(db: Database, parts: AppParts, admin: httpx.AsyncClient):
    assert (await admin.get("/things/v1/things")).status_code == 200
    await db.execute("update token set expires_at = clock_timestamp() - interval '1 s'")
    elsewhere = assembled(parts, identity=Identity(db, MASTER_KEY))
    async with client_of(elsewhere) as client:
        answer = await client.get("/things/v1/things", headers=admin.headers)
    assert answer.status_code == 401
    assert "expired" in answer.json()["thing_error"]["message"]


@pytest.mark.parametrize(
    ("role", "read", "write", "rule"),
    [("reader", 200, 403, 403), ("member", 200, 201, 403), ("admin", 200, 201, 403)],
)
async def test_roles_decide_and_a_project_admin_does_not_rule(
    client: httpx.AsyncClient, identity: Identity, role: str, read: int, write: int, rule: int
):
    user, _ = await project_user(identity, role=role)
    client.headers["X-Auth-Token"] = await user_token(identity, user)
    assert (await client.get("/things/v1/things")).status_code == read
    assert (await client.post("/things/v1/things", json={"name": "x"})).status_code == write
    assert (await client.get("/things/v1/rule")).status_code == rule


async def test_the_admin_project_rules(admin: httpx.AsyncClient):
    assert (await admin.get("/things/v1/rule")).status_code == 200
    assert (await admin.get("/things/v1/things")).json() == {"caller": "admin@admin"}


async def test_a_refused_body_is_not_read(client: httpx.AsyncClient):
    """An unauthenticated caller learns nothing from how its body would have been judged."""
    answer = await client.post("/things/v1/things", content=b"{" * 100_000)
    assert answer.status_code == 401


async def test_metrics_from_elsewhere_need_a_token_that_may_read_everything(
    application: Application, identity: Identity, admin: httpx.AsyncClient
):
    user, _ = await project_user(identity)
    async with client_of(application, client="192.0.2.7") as client:
        assert (await client.get("/metrics")).status_code == 401
        tenant = {"X-Auth-Token": await user_token(identity, user)}
        assert (await client.get("/metrics", headers=tenant)).status_code == 403
        assert (await client.get("/metrics", headers=admin.headers)).status_code == 200


@pytest.mark.parametrize(
    ("client", "headers", "status"),
    [
        ("127.0.0.1", {}, 200),
        ("::1", {}, 200),
        ("127.0.0.1", {"X-Forwarded-For": "192.0.2.7"}, 401),
        ("127.0.0.1", {"Forwarded": "for=127.0.0.1"}, 401),
        ("127.0.0.1", {"Via": "1.1 proxy"}, 401),
        ("/run/a.sock", {}, 401),
    ],
)
async def test_metrics_are_open_to_whoever_is_on_this_host_and_to_no_proxy_there(
    application: Application, client: str, headers: dict[str, str], status: int
):
    async with client_of(application, client=client) as asking:
        assert (await asking.get("/metrics", headers=headers)).status_code == status
        assert (await asking.get("/things/v1/things", headers=headers)).status_code == 401


async def test_metrics_may_be_public(parts: AppParts):
    public = assembled(parts, settings=msgspec.structs.replace(parts.settings, metrics_public=True))
    async with client_of(public, client="192.0.2.7") as client:
        assert (await client.get("/metrics")).status_code == 200


async def test_options_shows_methods_and_nothing_else(client: httpx.AsyncClient):
    answer = await client.request("OPTIONS", "/things/v1/things")
    assert answer.status_code == 204
    assert "GET" in answer.headers["Allow"]
