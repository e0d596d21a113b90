"""What identity records: every change with who made it, in its transaction, and no secret."""

from __future__ import annotations

import msgspec
import pytest
from tests.identity.people import ADMIN_PASSWORD, project_user, user_token

from holdfast.errors import ConflictError, NotAuthenticatedError, NotFoundError
from holdfast.identity.credentials import NewCredential
from holdfast.identity.service import Identity
from holdfast.store.events import Actor, Event, EventFilter, acting
from holdfast.store.pg.database import Database
from holdfast.store.pg.events import PgEvents

ANN = Actor(user_id="u1", label="ann@admin", project="p1", request="req-1")


@pytest.fixture(autouse=True)
async def empty(db: Database, identity: Identity) -> None:
    await db.execute("delete from event")


async def recorded(db: Database) -> list[Event]:
    """Read from the table itself: a reader of the log waits for others' transactions."""
    while True:
        page = await PgEvents(db).events(None, 100, EventFilter(kinds=("audit.*",)))
        if len(page.events) == await db.fetchval("select count(*) from event"):
            return list(page.events)


async def test_every_change_is_recorded_with_who_made_it(identity: Identity, db: Database):
    directory = identity.directory
    with acting(ANN):
        project = await directory.create_project("demo", "", enabled=True)
        await directory.update_project(project.id, "trial", None, None)
        user = await directory.create_user("bob", "bob password", None, enabled=True)
        await directory.update_user(user.id, password="another one", enabled=True)
        (member,) = await directory.roles(name="member")
        for _ in range(2):  # repeated: changes nothing, and is not recorded
            await directory.grant(user.id, project.id, member.id)
        await directory.revoke_grant(user.id, project.id, member.id)
        await directory.delete_user(user.id)
        await directory.delete_project(project.id)
    events = await recorded(db)
    assert [event.kind for event in events] == [
        "audit.project.create", "audit.project.update", "audit.user.create", "audit.user.update",
        "audit.role.grant", "audit.role.revoke", "audit.user.delete", "audit.project.delete",
    ]  # fmt: skip
    for event in events:
        assert (event.user_id, event.actor, event.project) == ("u1", "ann@admin", "p1")
        assert (event.request, event.result, event.projects) == ("req-1", "ok", ())
    updated = events[3]
    assert (updated.object_kind, updated.object_id) == ("user", user.id)
    assert updated.object_name == "bob"
    assert updated.data == {"password": "changed", "enabled": True}
    assert events[4].data == {"role": "member", "project": project.id}


async def test_what_fails_is_not_recorded_as_a_change(identity: Identity, db: Database):
    directory = identity.directory
    with pytest.raises(ConflictError):
        await directory.create_project("admin", "", enabled=True)
    with pytest.raises(NotFoundError):
        await directory.delete_user("nobody")
    with pytest.raises(NotFoundError):
        await directory.create_user("ann", "ann password", "nowhere", enabled=True)
    assert await recorded(db) == []


async def test_a_failed_login_is_recorded_with_what_was_asked_and_from_where(
    identity: Identity, db: Database
):
    for name in ("admin", "nobody"):
        with pytest.raises(NotAuthenticatedError):
            await identity.login(name, "a wrong guess", by_id=False, address="192.0.2.7")
    await identity.login("admin", ADMIN_PASSWORD, by_id=False)
    known, unknown = await recorded(db)
    for event in (known, unknown):
        assert (event.kind, event.result) == ("audit.login", "failed")
        assert event.data["address"] == "192.0.2.7"
        assert event.data["method"] == "password"
    assert (known.object_kind, unknown.object_kind) == ("user", None)
    assert unknown.data["asked"] == "nobody"


async def test_credentials_and_revocations_are_recorded(identity: Identity, db: Database):
    user, _ = await project_user(identity)
    secret = await user_token(identity, user)
    caller = await identity.caller(secret)
    await db.execute("delete from event")
    made, _ = await identity.credentials.create(
        caller, NewCredential(name="robot"), await identity.directory.roles()
    )
    await identity.credentials.delete(caller, user.id, made.id)
    await identity.revoke(secret)
    await identity.revoke(secret)  # was none any more
    events = await recorded(db)
    assert [event.kind for event in events] == [
        "audit.application_credential.create",
        "audit.application_credential.delete",
        "audit.token.revoke",
    ]
    assert events[0].data["roles"] == ["member", "reader"]


async def test_no_secret_is_ever_recorded(identity: Identity, db: Database):
    user, _ = await project_user(identity)
    token = await user_token(identity, user)
    caller = await identity.caller(token)
    _, secret = await identity.credentials.create(
        caller, NewCredential(name="robot"), await identity.directory.roles()
    )
    await identity.directory.update_user(user.id, password="the new password")
    with pytest.raises(NotAuthenticatedError):
        await identity.login("bob", "the wrong password", by_id=False)
    text = msgspec.json.encode(await recorded(db)).decode()
    for hidden in (token, secret, "bob password", "the new password", "the wrong password"):
        assert hidden not in text
    assert "argon2" not in text
