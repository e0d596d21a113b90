"""The Identity API v3 on the wire, as keystoneauth and the OpenStack client use it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import httpx
import pytest
from tests.identity.people import ADMIN_PASSWORD, project_user
from tests.web.conftest import admin, application, client, parts, store  # noqa: F401

from holdfast.identity.service import Identity

URL = "http://hf:8080/identity/v3"


@pytest.fixture
def api(client: httpx.AsyncClient) -> httpx.AsyncClient:  # noqa: F811
    client.base_url = httpx.URL(URL)
    return client


def by_password(name: str = "admin", password: str = ADMIN_PASSWORD, **scope: Any) -> Any:
    user = {"name": name, "domain": {"id": "default"}, "password": password}
    auth: dict[str, Any] = {"identity": {"methods": ["password"], "password": {"user": user}}}
    return {"auth": {**auth, "scope": scope} if scope else auth}


def by_token(token: str, **scope: Any) -> Any:
    identity = {"methods": ["token"], "token": {"id": token}}
    return {"auth": {"identity": identity, "scope": scope} if scope else {"identity": identity}}


ADMIN_PROJECT: dict[str, Any] = {"project": {"name": "admin", "domain": {"name": "Default"}}}


async def log_in(api: httpx.AsyncClient, body: Any = None) -> dict[str, Any]:
    """Log in, use the token from now on, and return its body."""
    answer = await api.post("/auth/tokens", json=body or by_password(**ADMIN_PROJECT))
    assert answer.status_code == 201, answer.text
    api.headers["X-Auth-Token"] = answer.headers["X-Subject-Token"]
    return answer.json()["token"]


async def test_versions_are_discovered_as_keystoneauth_does(api: httpx.AsyncClient):
    many = await api.get("http://hf:8080/identity")
    assert many.status_code == 300
    (value,) = many.json()["versions"]["values"]
    one = (await api.get("/")).json()["version"]
    assert value == one
    assert one["links"] == [{"rel": "self", "href": f"{URL}/"}]
    assert one["status"] == "stable"
    assert one["id"].startswith("v3.")


async def test_a_token_says_who_where_what_and_until_when(api: httpx.AsyncClient):
    token = await log_in(api)
    assert token["methods"] == ["password"]
    assert token["user"]["name"] == "admin"
    assert token["user"]["domain"] == {"id": "default", "name": "Default"}
    assert token["project"]["name"] == "admin"
    assert {role["name"] for role in token["roles"]} == {"admin", "member", "reader"}
    assert len(token["audit_ids"]) == 1
    issued, expires = (
        datetime.strptime(token[key], "%Y-%m-%dT%H:%M:%S.%f%z")
        for key in ("issued_at", "expires_at")
    )
    assert (expires - issued).total_seconds() == 3600


async def test_the_catalog_leads_to_every_api_on_every_interface(api: httpx.AsyncClient):
    token = await log_in(api)
    services = {service["type"]: service for service in token["catalog"]}
    assert set(services) == {"identity", "thing"}
    for kind, path in (("identity", "/identity"), ("thing", "/things")):
        endpoints = services[kind]["endpoints"]
        assert {endpoint["interface"] for endpoint in endpoints} == {"public", "internal", "admin"}
        assert {endpoint["url"] for endpoint in endpoints} == {f"http://hf:8080{path}"}
        assert {endpoint["region"] for endpoint in endpoints} == {"RegionOne"}
    assert (await api.get("/auth/catalog")).json()["catalog"] == token["catalog"]
    plain = await api.post("/auth/tokens?nocatalog", json=by_password(**ADMIN_PROJECT))
    assert "catalog" not in plain.json()["token"]


async def test_scopes_project_system_unscoped_and_default(
    api: httpx.AsyncClient, identity: Identity
):
    assert (await log_in(api, by_password(system={"all": True})))["system"] == {"all": True}
    bare = await log_in(api, by_password(unscoped={}))
    assert not {"project", "system", "roles", "catalog"} & set(bare)
    assert (await log_in(api, by_password()))["project"]["name"] == "admin"
    _, project = await project_user(identity)
    token = await log_in(api, by_password("bob", "bob password", project={"id": project.id}))
    assert token["project"]["id"] == project.id
    assert [role["name"] for role in token["roles"]] == ["member", "reader"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (by_password(password="wrong"), 401),
        (by_password(name="nobody"), 401),
        (by_password(project={"name": "nowhere", "domain": {"id": "default"}}), 401),
        (by_password(project={"name": "admin", "domain": {"id": "elsewhere"}}), 401),
        (by_password(project={}), 400),
        (by_password(system={"all": False}), 400),
        (by_password(domain={"id": "default"}), 400),
        (by_token("unknown"), 401),
        ({"auth": {"identity": {"methods": ["saml2"]}}}, 401),
        ({"auth": {"identity": {"methods": ["application_credential"]}}}, 400),
        ({"auth": {"identity": {"methods": []}}}, 401),
        ({"auth": {"identity": {"methods": ["password"]}}}, 400),
        ({"auth": {"identity": {"methods": ["token"]}}}, 400),
        ({"auth": {"identity": {"methods": "password"}}}, 400),
        ({"auth": {"identity": {"methods": ["password"], "password": {"user": {}}}}}, 400),
        ({"auth": None}, 400),
    ],
)
async def test_a_login_that_cannot_be_is_refused_in_keystones_shape(
    api: httpx.AsyncClient, body: Any, status: int
):
    answer = await api.post("/auth/tokens", json=body)
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error["code"] == status
    assert error["title"] in ("Unauthorized", "Bad Request")
    assert error["message"]
    assert "X-Subject-Token" not in answer.headers


async def test_too_many_failures_are_429_with_retry_after(api: httpx.AsyncClient):
    for _ in range(10):
        await api.post("/auth/tokens", json=by_password(password="wrong"))
    answer = await api.post("/auth/tokens", json=by_password())
    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) > 0


async def test_a_token_is_validated_rescoped_and_revoked(api: httpx.AsyncClient):
    await log_in(api, by_password(unscoped={}))
    unscoped = api.headers["X-Auth-Token"]
    token = await log_in(api, by_token(unscoped, **ADMIN_PROJECT))
    assert token["methods"] == ["password", "token"]
    scoped = api.headers["X-Auth-Token"]
    for method in (api.get, api.head):
        answer = await method("/auth/tokens", headers={"X-Subject-Token": scoped})
        assert answer.status_code == 200
        assert answer.headers["X-Subject-Token"] == scoped
    shown = await api.get("/auth/tokens", headers={"X-Subject-Token": scoped})
    assert shown.json()["token"]["project"]["name"] == "admin"
    answer = await api.delete("/auth/tokens", headers={"X-Subject-Token": unscoped})
    assert answer.status_code == 204
    answer = await api.get("/auth/tokens", headers={"X-Subject-Token": unscoped})
    assert answer.status_code == 404
    await api.delete("/auth/tokens", headers={"X-Subject-Token": scoped})
    assert (await api.get("/projects")).status_code == 401
    assert (await api.get("/auth/tokens")).status_code == 401


async def test_others_tokens_are_for_the_systems_readers_alone(
    api: httpx.AsyncClient, identity: Identity
):
    await log_in(api)
    admins = api.headers["X-Auth-Token"]
    await project_user(identity, role="admin")
    await log_in(api, by_password("bob", "bob password"))
    bobs = api.headers["X-Auth-Token"]
    for call in (api.get, api.delete):
        answer = await call("/auth/tokens", headers={"X-Subject-Token": admins})
        assert answer.status_code == 403
    api.headers["X-Auth-Token"] = admins
    answer = await api.get("/auth/tokens", headers={"X-Subject-Token": bobs})
    assert answer.json()["token"]["user"]["name"] == "bob"


async def test_projects_users_and_roles_have_a_life(api: httpx.AsyncClient):
    await log_in(api)
    made = await api.post("/projects", json={"project": {"name": "demo", "domain_id": "default"}})
    assert made.status_code == 201
    project = made.json()["project"]
    again = await api.post("/projects", json={"project": {"name": "demo"}})
    assert again.status_code == 409
    user = (
        await api.post("/users", json={"user": {"name": "ann", "password": "ann password"}})
    ).json()["user"]
    (role,) = (await api.get("/roles?name=member")).json()["roles"]
    grant = f"/projects/{project['id']}/users/{user['id']}/roles/{role['id']}"
    assert (await api.head(grant)).status_code == 404
    assert (await api.put(grant)).status_code == 204
    assert (await api.head(grant)).status_code == 204
    listed = await api.get(f"/role_assignments?user.id={user['id']}&include_names")
    (shown,) = listed.json()["role_assignments"]
    assert shown["scope"]["project"]["name"] == "demo"
    assert (await api.delete(grant)).status_code == 204
    changed = await api.patch(
        f"/projects/{project['id']}", json={"project": {"name": "trial", "description": "d"}}
    )
    assert changed.json()["project"]["name"] == "trial"
    assert (await api.get("/projects?name=trial")).json()["projects"][0]["description"] == "d"
    assert (await api.delete(f"/users/{user['id']}")).status_code == 204
    assert (await api.delete(f"/projects/{project['id']}")).status_code == 204
    assert (await api.get(f"/projects/{project['id']}")).status_code == 404


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("projects", {"project": {"name": ""}}),
        ("projects", {"project": {"name": "x" * 300}}),
        ("projects", {"project": {"name": "a\nb"}}),
        ("projects", {"project": {"name": "x", "colour": "red"}}),
        ("projects", {"project": {"name": "x", "domain_id": "other"}}),
        ("projects", {"project": {"name": "x", "enabled": "maybe"}}),
        ("users", {"user": {"name": "x"}}),
        ("users", {"user": {"name": "x", "password": "short"}}),
        ("users", {"user": {"name": "x", "password": "long enough", "options": {"a": 1}}}),
        ("users", {"user": {"name": "x", "password": "long enough", "email": "x" * 300}}),
        ("projects", {"project": {"name": "x", "tags": ["a,b"]}}),
    ],
)
async def test_what_cannot_be_kept_is_refused(api: httpx.AsyncClient, path: str, body: Any):
    await log_in(api)
    assert (await api.post(f"/{path}", json=body)).status_code == 400


async def test_the_admin_project_cannot_be_lost(api: httpx.AsyncClient):
    url = f"/projects/{(await log_in(api))['project']['id']}"
    assert (await api.delete(url)).status_code == 409
    for change in ({"name": "other"}, {"enabled": False}):
        assert (await api.patch(url, json={"project": change})).status_code == 409


async def test_a_project_admin_sees_itself_and_changes_nothing(
    api: httpx.AsyncClient, identity: Identity
):
    (admin_user,) = await identity.directory.users(name="admin")
    user, project = await project_user(identity, role="admin")
    await log_in(api, by_password("bob", "bob password"))
    assert (await api.get(f"/users/{user.id}")).status_code == 200
    assert (await api.get(f"/projects/{project.id}")).status_code == 200
    assert (await api.get(f"/users/{user.id}/projects")).json()["projects"][0]["name"] == "demo"
    assert (await api.get(f"/users/{admin_user.id}")).status_code == 404
    assert (await api.get(f"/users/{admin_user.id}/projects")).status_code == 404
    for path in ("users", "projects", "role_assignments", "endpoints"):
        assert (await api.get(f"/{path}")).status_code == 403
    (role,) = await identity.directory.roles(name="admin")
    for scope in ("system", f"projects/{project.id}"):
        answer = await api.put(f"/{scope}/users/{user.id}/roles/{role.id}")
        assert answer.status_code == 403
    answer = await api.post("/users", json={"user": {"name": "x", "password": "long enough"}})
    assert answer.status_code == 403


async def test_a_user_changes_its_own_password_and_its_tokens_end(
    api: httpx.AsyncClient, identity: Identity
):
    user, _ = await project_user(identity)
    (admin_user,) = await identity.directory.users(name="admin")
    await log_in(api, by_password("bob", "bob password"))
    change = {"original_password": "bob password", "password": "a new password"}
    wrong = {"user": {**change, "original_password": "wrong"}}
    assert (await api.post(f"/users/{user.id}/password", json=wrong)).status_code == 401
    answer = await api.post(f"/users/{admin_user.id}/password", json={"user": change})
    assert answer.status_code == 403
    answer = await api.post(f"/users/{user.id}/password", json={"user": change})
    assert answer.status_code == 204
    assert (await api.get(f"/users/{user.id}")).status_code == 401
    await log_in(api, by_password("bob", "a new password"))


async def test_answers_about_tokens_stay_out_of_caches(api: httpx.AsyncClient):
    answer = await api.post("/auth/tokens", json=by_password())
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Vary"] == "X-Auth-Token"
