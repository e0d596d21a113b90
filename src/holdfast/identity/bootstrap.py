"""The first start: roles, the admin project, an admin user with a password made here.

There is no default password (security.md, "defaults"): it is generated, shown once by
whoever calls this, and kept in ``clouds.yaml`` with mode 0600. Safe to run at every
start and by several processes at once: an advisory lock lets one through at a time, and
nothing is made while anybody can still administer the whole system.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from uuid import uuid4

import msgspec

from holdfast.identity import queries
from holdfast.identity.audit import audit
from holdfast.identity.models import ADMIN, DOMAIN_ID
from holdfast.identity.passwords import Passwords
from holdfast.identity.policy import Role
from holdfast.identity.settings import IdentitySettings
from holdfast.identity.tokens import new_secret
from holdfast.store.pg.database import Connection, Database

CLOUD = "holdfast"
_PASSWORD_BYTES = 24


class BootstrapResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a start found or made.

    ``password`` is set only when it was made (or given) in this call. ``clouds_path`` is
    None when no ``clouds.yaml`` is there and the password is not known to write one.
    """

    username: str
    password: str | None
    clouds_path: Path | None


async def bootstrap(
    db: Database,
    data_dir: Path,
    api_url: str,
    *,
    settings: IdentitySettings | None = None,
    password: str | None = None,
    reset: bool = False,
) -> BootstrapResult:
    """Make sure that somebody can log in.

    ``api_url``: the common address without a path (``http://127.0.0.1:8080``).
    ``password``: use this one instead of generating. ``reset``: give the admin user a new
    password (and its roles back) even if all is well. Raises ``InvalidInputError``
    for a given password outside the policy, ``StoreUnavailableError`` without a database.
    """
    settings = settings or IdentitySettings()
    passwords = Passwords(settings)
    if password is not None:
        passwords.check_policy(password)
    auth_url = f"{api_url.rstrip('/')}/identity/v3"
    path = data_dir / "clouds.yaml"
    async with db.transaction() as conn:
        await conn.execute(queries.BOOTSTRAP_LOCK)
        for role in Role:
            await conn.execute(queries.INSERT_ROLE, uuid4().hex, role.value)
        await conn.execute(
            queries.INSERT_PROJECT.partition("returning")[0],
            uuid4().hex,
            ADMIN,
            True,
            "Administers the whole deployment",
            [],
        )
        if not reset and await conn.fetchval(queries.ADMINISTRATORS):
            return BootstrapResult(
                username=ADMIN, password=None, clouds_path=_refresh_clouds(path, auth_url)
            )
        secret = password or new_secret(_PASSWORD_BYTES)
        await _make_admin(conn, await passwords.hash(secret))
        # Before the commit: a password that is in force is always written down somewhere.
        _write_clouds(path, _clouds(auth_url, secret, settings.region))
    return BootstrapResult(username=ADMIN, password=secret, clouds_path=path)


async def _make_admin(conn: Connection, encoded: str) -> None:
    """Create or repair the admin user, with the role admin in its project and the system."""
    project = await conn.fetchrow(queries.PROJECT_BY_NAME, ADMIN)
    role = await conn.fetch(queries.ROLES, Role.ADMIN.value)
    if project is None or not role:
        raise AssertionError("the admin project and role were inserted above")
    row = await conn.fetchrow(queries.USER_BY_NAME, ADMIN)
    user_id: str = row["id"] if row else uuid4().hex
    if row is None:
        await conn.execute(
            queries.INSERT_USER, user_id, ADMIN, encoded, True, project["id"], "", None
        )
    else:
        values = (None, True, project["id"], encoded, None, None)
        await conn.execute(queries.UPDATE_USER, user_id, *values)
        await conn.execute(queries.DELETE_TOKENS_OF_USER, user_id)
    for scope in (project["id"], None):
        await conn.execute(queries.INSERT_GRANT, user_id, scope, role[0]["id"])
    await audit(conn, "bootstrap", ("user", user_id), name=ADMIN)


def _clouds(auth_url: str, password: str, region: str) -> str:
    """The text of a clouds.yaml with two clouds: the admin project's, and the system's."""
    scopes = {
        CLOUD: {"project_name": ADMIN, "project_domain_id": DOMAIN_ID},
        f"{CLOUD}-system": {"system_scope": "all"},
    }
    lines = ["# Written by Holdfast at its first start. Keep it private.", "clouds:"]
    for cloud, scope in scopes.items():
        auth = {
            "auth_url": auth_url,
            "username": ADMIN,
            "password": password,
            "user_domain_id": DOMAIN_ID,
            **scope,
        }
        lines += [f"  {cloud}:", "    auth:"]
        # A JSON string is a YAML string, whatever is in it.
        lines += [f"      {key}: {json.dumps(value)}" for key, value in auth.items()]
        lines += [f"    region_name: {json.dumps(region)}", '    identity_api_version: "3"']
    return "\n".join(lines) + "\n"


def _refresh_clouds(path: Path, auth_url: str) -> Path | None:
    """Let an existing clouds.yaml follow a changed address; None if there is no file."""
    try:
        old = path.read_text()
    except FileNotFoundError:
        return None
    line = f"      auth_url: {json.dumps(auth_url)}"
    new = "\n".join(
        line if part.startswith("      auth_url:") else part for part in old.split("\n")
    )
    if new != old:
        _write_clouds(path, new)
    return path


def _write_clouds(path: Path, text: str) -> None:
    """Replace the file in one step; readable by its owner alone from the first byte."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
