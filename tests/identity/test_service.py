"""Logging in, and what ends a token."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.identity.people import MASTER_KEY, admin, admin_token, project_user, user_token

from holdfast.errors import ConflictError, NotAuthenticatedError, StoreUnavailableError
from holdfast.identity.bootstrap import bootstrap
from holdfast.identity.models import Scope, User
from holdfast.identity.passwords import TooManyAttemptsError
from holdfast.identity.policy import Role
from holdfast.identity.service import Identity
from holdfast.identity.settings import IdentitySettings
from holdfast.store.pg.database import Database


def other_process(db: Database) -> Identity:
    """A second API process: the same database and key, a memory of its own."""
    return Identity(db, MASTER_KEY, IdentitySettings(token_cache_s=0))


async def test_a_token_is_good_in_every_process_and_says_who_holds_it(
    db: Database, identity: Identity
):
    user, project = await project_user(identity)
    secret = await user_token(identity, user)
    for process in (identity, other_process(db)):
        caller = await process.caller(secret)
        assert (caller.user_name, caller.project_id) == ("bob", project.id)
        assert caller.roles == {Role.MEMBER, Role.READER}
        assert not caller.everywhere
        assert not caller.system


async def test_only_hashes_are_stored(db: Database, identity: Identity):
    secret = await admin_token(identity)
    rows = [
        *await db.fetch("select to_jsonb(t)::text as row from token t"),
        *await db.fetch("select to_jsonb(a)::text as row from account a"),
    ]
    text = "\n".join(row["row"] for row in rows)
    assert secret not in text
    assert secret.encode().hex() not in text
    assert "correct horse" not in text


async def test_without_the_deployments_key_a_token_is_unknown(db: Database, identity: Identity):
    secret = await admin_token(identity)
    with pytest.raises(NotAuthenticatedError):
        await Identity(db, b"another master key, 32 bytes too").caller(secret)


@pytest.mark.parametrize("bad", ["", "x", "x" * 100_000, "é\0"])
async def test_nonsense_is_not_a_token(identity: Identity, bad: str):
    with pytest.raises(NotAuthenticatedError):
        await identity.caller(bad)


async def test_a_revoked_token_ends_here_at_once_and_elsewhere_within_the_bound(
    db: Database, identity: Identity
):
    secret = await admin_token(identity)
    assert await identity.revoke(secret)
    assert not await identity.revoke(secret)
    for process in (identity, other_process(db)):
        with pytest.raises(NotAuthenticatedError):
            await process.caller(secret)


async def test_an_expired_token_is_refused_and_purged(db: Database, identity: Identity):
    secret, live = await admin_token(identity), await admin_token(identity)
    await db.execute(
        "update token set expires_at = clock_timestamp() - interval '1 s' where hash = $1",
        identity._hasher.hash(secret),
    )
    with pytest.raises(NotAuthenticatedError, match="expired"):
        await other_process(db).caller(secret)
    assert await identity.purge() == 1
    assert await other_process(db).caller(live)


@pytest.mark.parametrize("change", ["role", "user", "project", "password", "deleted", "no project"])
async def test_a_token_ends_with_what_it_stood_on(db: Database, identity: Identity, change: str):
    user, project = await project_user(identity)
    secret = await user_token(identity, user)
    directory = identity.directory
    (role,) = await directory.roles(name="member")
    assert await identity.caller(secret)
    if change == "role":
        await directory.revoke_grant(user.id, project.id, role.id)
    elif change == "user":
        await directory.update_user(user.id, enabled=False)
    elif change == "project":
        await directory.update_project(project.id, None, None, enabled=False)
    elif change == "password":
        await directory.update_user(user.id, password="another password")
    elif change == "deleted":
        await directory.delete_user(user.id)
    else:
        await directory.delete_project(project.id)
    for process in (identity, other_process(db)):
        with pytest.raises(NotAuthenticatedError):
            await process.caller(secret)


async def test_system_and_admin_project_reach_everywhere_and_other_projects_do_not(
    identity: Identity,
):
    user = await admin(identity)
    (own,) = await identity.directory.projects_of(user.id)
    for scope in (Scope(system=True), Scope(project_id=own.id), Scope(project_name="admin")):
        secret, _ = await identity.issue(user, scope, ["password"])
        assert (await identity.caller(secret)).everywhere
    bob, project = await project_user(identity, role="admin")
    secret = await user_token(identity, bob, Scope(project_id=project.id))
    assert not (await identity.caller(secret)).everywhere


async def test_no_scope_means_the_default_project_and_unscoped_means_none(identity: Identity):
    user, project = await project_user(identity)
    _, token = await identity.issue(user, Scope(), ["password"])
    assert token.caller.project_id == project.id
    _, token = await identity.issue(user, Scope(unscoped=True), ["password"])
    assert token.caller.project_id is None
    assert token.caller.roles == frozenset()


async def test_a_scope_without_a_role_in_it_is_refused(identity: Identity):
    user, _ = await project_user(identity)
    other = await identity.directory.create_project("other", "", enabled=True)
    for scope in (
        Scope(project_id=other.id),
        Scope(project_name="nowhere"),
        Scope(system=True),
        Scope(project_name="admin"),
    ):
        with pytest.raises(NotAuthenticatedError):
            await identity.issue(user, scope, ["password"])


async def test_a_token_made_from_a_token_ends_no_later(identity: Identity):
    user = await admin(identity)
    _, parent = await identity.issue(user, Scope(unscoped=True), ["password"])
    _, child = await identity.issue(user, Scope(), ["token"], parent=parent)
    assert child.expires_at == parent.expires_at
    assert child.methods == ("password", "token")


async def test_wrong_password_unknown_and_disabled_user_look_the_same(identity: Identity):
    user, _ = await project_user(identity)
    await identity.directory.update_user(user.id, enabled=False)
    said: set[str] = set()
    for name, password in (
        ("admin", "wrong"),
        ("nobody", "wrong"),
        ("bob", "bob password"),
    ):
        with pytest.raises(NotAuthenticatedError) as caught:
            await identity.login(name, password, by_id=False)
        said.add(caught.value.message)
    assert len(said) == 1


async def test_guessing_stops_after_some_failures(db: Database, identity: Identity):
    guessed = Identity(db, MASTER_KEY, IdentitySettings(login_failures_max=2))
    for _ in range(2):
        with pytest.raises(NotAuthenticatedError):
            await guessed.login("admin", "wrong", by_id=False, address="10.0.0.1")
    with pytest.raises(TooManyAttemptsError):
        await guessed.login("admin", "wrong", by_id=False, address="10.0.0.1")


async def test_without_a_database_it_is_unavailable_not_unauthenticated():
    async with await Database.open("postgresql://x@/x?host=/nonexistent") as gone:
        with pytest.raises(StoreUnavailableError):
            await Identity(gone, MASTER_KEY).caller("some token")


async def _drop(identity: Identity, change: str, user: User) -> None:
    directory = identity.directory
    if change == "delete":
        await directory.delete_user(user.id)
    elif change == "disable":
        await directory.update_user(user.id, enabled=False)
    else:
        for grant in await directory.grants(user_id=user.id):
            await directory.revoke_grant(user.id, grant.project_id, grant.role_id)


@pytest.mark.parametrize("change", ["delete", "disable", "revoke"])
async def test_the_last_administrator_stays(
    db: Database, identity: Identity, tmp_path: Path, change: str
):
    """Else the next start would make a new one, with a password in a clouds.yaml of its own."""
    user = await admin(identity)
    with pytest.raises(ConflictError, match="nobody who can administer the system"):
        await _drop(identity, change, user)
    await admin_token(identity)
    again = await bootstrap(db, tmp_path, "http://127.0.0.1:8080")
    assert again.password is None


@pytest.mark.parametrize("change", ["delete", "disable", "revoke"])
async def test_an_administrator_beside_others_may_go(identity: Identity, change: str):
    other, _ = await project_user(identity, "ann", "admin", "admin")
    await _drop(identity, change, await admin(identity))
    with pytest.raises(ConflictError, match="nobody who can administer the system"):
        await _drop(identity, change, other)


async def test_two_administrators_cannot_both_go_at_once(db: Database, identity: Identity):
    users = [await admin(identity), (await project_user(identity, "ann", "admin", "admin"))[0]]
    ends = [other_process(db).directory.delete_user(user.id) for user in users]
    found = await asyncio.gather(*ends, return_exceptions=True)
    assert [type(end) for end in found if end is not None] == [ConflictError]
