"""The first start, and every one after it."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path

import pytest
import yaml
from tests.identity.people import MASTER_KEY

from holdfast.errors import InvalidInputError
from holdfast.identity.bootstrap import bootstrap
from holdfast.identity.models import Scope
from holdfast.identity.service import Identity
from holdfast.store.pg.database import Database

URL = "http://127.0.0.1:8080"


async def test_a_first_start_makes_an_admin_whose_credentials_are_private(
    db: Database, tmp_path: Path
):
    made = await bootstrap(db, tmp_path, URL)
    path = tmp_path / "clouds.yaml"
    assert made.clouds_path == path
    assert made.password is not None
    assert len(made.password) >= 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    clouds = yaml.safe_load(path.read_text())["clouds"]
    auth = clouds["holdfast"]["auth"]
    assert auth["auth_url"] == f"{URL}/identity/v3"
    assert auth["password"] == made.password
    assert clouds["holdfast-system"]["auth"]["system_scope"] == "all"
    identity = Identity(db, MASTER_KEY)
    user = await identity.login(auth["username"], auth["password"], by_id=False)
    for scope in (Scope(project_name=auth["project_name"]), Scope(system=True)):
        await identity.issue(user, scope, ["password"])


async def test_a_later_start_changes_nothing_but_the_address(db: Database, tmp_path: Path):
    made = await bootstrap(db, tmp_path, URL)
    again = await bootstrap(db, tmp_path, "http://10.0.0.1:9090")
    assert again.password is None
    clouds = yaml.safe_load((tmp_path / "clouds.yaml").read_text())["clouds"]
    for cloud in clouds.values():
        assert cloud["auth"]["auth_url"] == "http://10.0.0.1:9090/identity/v3"
        assert cloud["auth"]["password"] == made.password
    assert stat.S_IMODE((tmp_path / "clouds.yaml").stat().st_mode) == 0o600


async def test_two_starts_at_once_make_one_admin_with_one_password(db: Database, tmp_path: Path):
    results = await asyncio.gather(*(bootstrap(db, tmp_path, URL) for _ in range(3)))
    (password,) = [result.password for result in results if result.password is not None]
    assert await Identity(db, MASTER_KEY).login("admin", password, by_id=False)
    assert yaml.safe_load((tmp_path / "clouds.yaml").read_text())["clouds"]["holdfast"]["auth"][
        "password"
    ] == (password)


async def test_a_host_that_did_not_make_the_password_has_no_file(db: Database, tmp_path: Path):
    await bootstrap(db, tmp_path / "one", URL)
    assert (await bootstrap(db, tmp_path / "two", URL)).clouds_path is None


async def test_a_lost_password_can_be_reset_and_the_old_one_ends(db: Database, tmp_path: Path):
    await bootstrap(db, tmp_path, URL, password="the first password")
    await bootstrap(db, tmp_path, URL, password="the second password", reset=True)
    identity = Identity(db, MASTER_KEY)
    assert await identity.login("admin", "the second password", by_id=False)
    assert len(await db.fetch("select from account")) == 1


async def test_an_admin_account_that_was_replaced_does_not_come_back(db: Database, tmp_path: Path):
    await bootstrap(db, tmp_path, URL)
    directory = Identity(db, MASTER_KEY).directory
    (old,) = await directory.users()
    ann = await directory.create_user("ann", "ann password", None, enabled=True)
    (role,) = await directory.roles(name="admin")
    await directory.grant(ann.id, None, role.id)
    await directory.delete_user(old.id)
    assert (await bootstrap(db, tmp_path, URL)).password is None
    assert [user.name for user in await directory.users()] == ["ann"]


async def test_a_given_password_obeys_the_policy(db: Database, tmp_path: Path):
    with pytest.raises(InvalidInputError):
        await bootstrap(db, tmp_path, URL, password="short")
