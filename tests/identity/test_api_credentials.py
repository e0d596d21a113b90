"""Application credentials on the wire: some of a user's roles, in one project, for a time."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from tests.identity.people import project_user
from tests.identity.test_api import ADMIN_PROJECT, URL, by_password, by_token, log_in
from tests.web.conftest import admin, application, client, parts, store  # noqa: F401

from holdfast.identity.models import User
from holdfast.identity.service import Identity
from holdfast.store.pg.database import Database


@pytest.fixture
def api(client: httpx.AsyncClient) -> httpx.AsyncClient:  # noqa: F811
    client.base_url = httpx.URL(URL)
    return client


@pytest.fixture
async def bob(api: httpx.AsyncClient, identity: Identity) -> User:
    """Logged in, with the role member (which implies reader) in the project demo."""
    user, _ = await project_user(identity)
    await log_in(api, by_password("bob", "bob password"))
    return user


def by_credential(made: dict[str, Any], **changes: Any) -> dict[str, Any]:
    proof = {"id": made["id"], "secret": made["secret"], **changes}
    proof = {name: value for name, value in proof.items() if value is not None}
    return {
        "auth": {
            "identity": {"methods": ["application_credential"], "application_credential": proof}
        }
    }


async def make(api: httpx.AsyncClient, user: User, **fields: Any) -> dict[str, Any]:
    body = {"application_credential": {"name": "robot", **fields}}
    answer = await api.post(f"/users/{user.id}/application_credentials", json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()["application_credential"]


async def test_it_is_made_listed_shown_without_its_secret_and_deleted(
    api: httpx.AsyncClient, bob: User
):
    made = await make(api, bob, description="for the robot")
    assert len(made["secret"]) >= 64
    assert {role["name"] for role in made["roles"]} == {"member", "reader"}
    assert made["unrestricted"] is False
    assert made["expires_at"] is None
    url = f"/users/{bob.id}/application_credentials"
    (listed,) = (await api.get(url)).json()["application_credentials"]
    shown = (await api.get(f"{url}/{made['id']}")).json()["application_credential"]
    assert listed == shown == {k: v for k, v in made.items() if k != "secret"}
    assert (await api.get(url, params={"name": "other"})).json()["application_credentials"] == []
    assert (await api.get(f"{url}/robot")).status_code == 404  # then clients look by name
    again = await api.post(url, json={"application_credential": {"name": "robot"}})
    assert again.status_code == 409
    assert (await api.delete(f"{url}/{made['id']}")).status_code == 204
    assert (await api.delete(f"{url}/{made['id']}")).status_code == 404


async def test_its_secret_is_stored_as_a_hash(api: httpx.AsyncClient, bob: User, db: Database):
    made = await make(api, bob, secret="chosen by the user")
    assert made["secret"] == "chosen by the user"
    stored = await db.fetchval("select secret_hash from application_credential")
    assert stored.startswith("$argon2id$")


async def test_one_logs_in_with_it_by_id_or_by_name_into_its_project_alone(
    api: httpx.AsyncClient, bob: User
):
    made = await make(api, bob, roles=[{"name": "reader"}])
    for proof in (
        {},
        {"id": None, "name": "robot", "user": {"id": bob.id}},
        {"id": None, "name": "robot", "user": {"name": "bob", "domain": {"id": "default"}}},
    ):
        token = await log_in(api, by_credential(made, **proof))
        assert token["methods"] == ["application_credential"]
        assert token["user"]["id"] == bob.id
        assert token["project"]["name"] == "demo"
        assert [role["name"] for role in token["roles"]] == ["reader"]
        assert token["application_credential"] == {
            "id": made["id"], "name": "robot", "restricted": True,
        }  # fmt: skip
    scoped = by_credential(made)
    scoped["auth"]["scope"] = ADMIN_PROJECT
    assert (await api.post("/auth/tokens", json=scoped)).status_code == 401


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"secret": "wrong"}, 401),
        ({"id": "unknown"}, 401),
        ({"id": None, "name": "robot", "user": {"name": "admin"}}, 401),
        ({"id": None, "name": "robot"}, 400),
        ({"id": None}, 400),
        ({"secret": None}, 400),
    ],
)
async def test_what_proves_nothing_is_refused(
    api: httpx.AsyncClient, bob: User, changes: dict[str, Any], status: int
):
    made = await make(api, bob)
    answer = await api.post("/auth/tokens", json=by_credential(made, **changes))
    assert answer.status_code == status, answer.text


async def test_guessing_a_secret_is_limited(api: httpx.AsyncClient, bob: User):
    made = await make(api, bob)
    for _ in range(10):
        await api.post("/auth/tokens", json=by_credential(made, secret="wrong"))
    assert (await api.post("/auth/tokens", json=by_credential(made))).status_code == 429


async def test_it_expires_and_its_tokens_with_it(
    api: httpx.AsyncClient, bob: User, db: Database, identity: Identity
):
    made = await make(api, bob, expires_at="2999-01-01T00:00:00")
    assert made["expires_at"].startswith("2999-01-01T00:00:00")
    await db.execute("update application_credential set expires_at = now() + interval '1 min'")
    token = await log_in(api, by_credential(made))
    assert token["expires_at"] < made["expires_at"]
    left = await db.fetchval(
        "select max(extract(epoch from expires_at - now()))::float from token"
        " where credential is not null"
    )
    assert left <= 60
    await db.execute("update application_credential set expires_at = now() - interval '1 s'")
    assert (await api.post("/auth/tokens", json=by_credential(made))).status_code == 401


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"name": ""}, 400),
        ({"expires_at": "yesterday"}, 400),
        ({"expires_at": "2001-01-01T00:00:00Z"}, 400),
        ({"expires_at": "9999-12-31T23:59:59-23:59"}, 400),
        ({"expires_at": "0001-01-01T00:00:00+23:59"}, 400),
        ({"secret": "short"}, 400),
        ({"project_id": "another"}, 400),
        ({"roles": [{}]}, 400),
        ({"roles": [{"name": "operator"}]}, 404),
        ({"roles": [{"name": "admin"}]}, 403),
        ({"access_rules": [{"method": "GET", "path": "/v1/nodes", "service": "baremetal"}]}, 400),
        ({"colour": "red"}, 400),
    ],
)
async def test_what_it_cannot_be_is_refused(
    api: httpx.AsyncClient, bob: User, fields: dict[str, Any], status: int
):
    body = {"application_credential": {"name": "robot", **fields}}
    answer = await api.post(f"/users/{bob.id}/application_credentials", json=body)
    assert answer.status_code == status, answer.text
    if "access_rules" in fields:
        assert "access_rules are not supported" in answer.json()["error"]["message"]


async def test_a_restricted_one_manages_no_credentials_and_an_unrestricted_one_does(
    api: httpx.AsyncClient, bob: User
):
    restricted = await make(api, bob)
    free = await make(api, bob, name="free", unrestricted=True)
    url = f"/users/{bob.id}/application_credentials"
    await log_in(api, by_credential(restricted))
    body = {"application_credential": {"name": "third"}}
    assert (await api.post(url, json=body)).status_code == 403
    assert (await api.delete(f"{url}/{free['id']}")).status_code == 403
    assert (await api.get(url)).status_code == 200
    await log_in(api, by_credential(free))
    assert (await api.post(url, json=body)).status_code == 201


async def test_its_token_cannot_be_exchanged_for_a_wider_one(api: httpx.AsyncClient, bob: User):
    made = await make(api, bob, roles=[{"name": "reader"}])
    await log_in(api, by_credential(made))
    answer = await api.post("/auth/tokens", json=by_token(api.headers["X-Auth-Token"]))
    assert answer.status_code == 403


async def test_it_never_allows_more_than_its_user_still_may(
    api: httpx.AsyncClient, bob: User, identity: Identity
):
    made = await make(api, bob, roles=[{"name": "member"}])
    await log_in(api, by_credential(made))
    token = api.headers["X-Auth-Token"]
    directory = identity.directory
    project = await directory.find_project("demo")
    (member,) = await directory.roles(name="member")
    (reader,) = await directory.roles(name="reader")
    assert project is not None
    await directory.grant(bob.id, project.id, reader.id)
    await directory.revoke_grant(bob.id, project.id, member.id)
    found = await identity.token(token)
    assert found is not None
    assert found.caller.roles == {"reader"}
    await directory.revoke_grant(bob.id, project.id, reader.id)
    assert await identity.token(token) is None
    assert (await api.post("/auth/tokens", json=by_credential(made))).status_code == 401


@pytest.mark.parametrize("end", ["credential", "user", "disabled", "project"])
async def test_its_tokens_end_with_it_with_its_user_and_with_its_project(
    api: httpx.AsyncClient, bob: User, identity: Identity, end: str
):
    made = await make(api, bob, unrestricted=True)
    await log_in(api, by_credential(made))
    token = api.headers["X-Auth-Token"]
    assert await identity.token(token) is not None
    directory = identity.directory
    project = await directory.find_project("demo")
    assert project is not None
    if end == "credential":
        await api.delete(f"/users/{bob.id}/application_credentials/{made['id']}")
    elif end == "user":
        await directory.delete_user(bob.id)
    elif end == "disabled":
        await directory.update_user(bob.id, enabled=False)
    else:
        await directory.update_project(project.id, None, None, enabled=False)
    assert await identity.token(token) is None
    assert (await api.post("/auth/tokens", json=by_credential(made))).status_code == 401


async def test_they_are_each_users_own_and_administrators_can_end_them(
    api: httpx.AsyncClient, bob: User, identity: Identity
):
    made = await make(api, bob)
    url = f"/users/{bob.id}/application_credentials"
    await project_user(identity, "eve", role="admin", project="other")
    await log_in(api, by_password("eve", "eve password"))
    assert (await api.get(url)).status_code == 404
    assert (await api.delete(f"{url}/{made['id']}")).status_code == 404
    assert (await api.post(url, json={"application_credential": {"name": "x"}})).status_code == 403
    await log_in(api)
    assert (await api.get(f"{url}/{made['id']}")).status_code == 200
    assert (await api.delete(f"{url}/{made['id']}")).status_code == 204


async def test_it_needs_a_project(api: httpx.AsyncClient):
    token = await log_in(api, by_password(system={"all": True}))
    url = f"/users/{token['user']['id']}/application_credentials"
    answer = await api.post(url, json={"application_credential": {"name": "x"}})
    assert answer.status_code == 400
    assert (await api.get(f"/users/{token['user']['id']}/access_rules")).json()[
        "access_rules"
    ] == []
