"""Application credentials: a secret that stands for some of a user's roles in one project.

What such a token may do is never more than its user still may: its roles are those of
the credential that are still granted. The secret is stored as passwords are, and
shown once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from uuid import uuid4

import msgspec

from holdfast.errors import ConflictError, ForbiddenError, InvalidInputError, NotFoundError
from holdfast.identity import queries
from holdfast.identity.audit import audit
from holdfast.identity.models import Credential, RoleRow
from holdfast.identity.passwords import Passwords
from holdfast.identity.policy import Caller
from holdfast.identity.tokens import new_secret
from holdfast.store.pg.database import Connection, Database, Row

_SECRET_BYTES = 48
PER_USER_MAX = 200


class CredentialProof(msgspec.Struct, frozen=True, kw_only=True):
    """What a client sends to log in: the credential's id, or its name and whose it is."""

    secret: str
    id: str | None = None
    name: str | None = None
    user_id: str | None = None
    user_name: str | None = None

    @property
    def label(self) -> str:
        """What was asked for, for limits and records."""
        return self.id or f"{self.user_name or self.user_id}/{self.name}"


class NewCredential(msgspec.Struct, frozen=True, kw_only=True):
    """A credential to make. ``roles``: ids or names; none: all the caller has."""

    name: str
    description: str = ""
    roles: tuple[str, ...] = ()
    secret: str | None = None
    unrestricted: bool = False
    expires_at: float | None = None


class Credentials:
    """Creates, lists, shows and deletes application credentials."""

    def __init__(self, db: Database, passwords: Passwords, on_change: Callable[[], None]) -> None:
        self._db = db
        self._passwords = passwords
        self._on_change = on_change

    async def of(self, user_id: str, *, name: str | None = None) -> list[Credential]:
        """A user's credentials by name."""
        rows = await self._db.fetch(queries.CREDENTIALS, user_id, None, name)
        return [_credential(row) for row in rows]

    async def one(self, user_id: str, credential_id: str) -> Credential:
        """One of a user's credentials. Raises ``NotFoundError``."""
        row = await self._db.fetchrow(queries.CREDENTIALS, user_id, credential_id, None)
        if row is None:
            raise _missing(credential_id)
        return _credential(row)

    async def create(
        self, caller: Caller, new: NewCredential, there_are: Sequence[RoleRow]
    ) -> tuple[Credential, str]:
        """Make one for the caller in the project of its token; returns it with its secret.

        Raises ``ForbiddenError`` for a caller that may not, or for roles it lacks;
        ``ConflictError`` if the name is taken; ``InvalidInputError`` for an expiry in
        the past.
        """
        require_unrestricted(caller)
        if caller.project_id is None:
            raise InvalidInputError(
                "an application credential is for a project: log in to one, not to the system"
            )
        roles = _chosen(caller, new.roles, there_are)
        if new.secret is not None:
            self._passwords.check_policy(new.secret)
        secret = new.secret or new_secret(_SECRET_BYTES)
        encoded = await self._passwords.hash(secret)
        made = Credential(
            id=uuid4().hex,
            user_id=caller.user_id,
            project_id=caller.project_id,
            name=new.name,
            description=new.description,
            roles=roles,
            unrestricted=new.unrestricted,
            expires_at=new.expires_at,
        )
        try:
            async with self._db.transaction() as conn:
                await _insert(conn, made, encoded)
        except ConflictError as fault:
            if fault.details.get("constraint") != "application_credential_name_key":
                raise
            raise ConflictError(
                f"you have an application credential named {new.name} already"
            ) from fault
        return made, secret

    async def delete(self, caller: Caller, user_id: str, credential_id: str) -> None:
        """Delete one, and with it every token made with it. Raises ``NotFoundError``."""
        require_unrestricted(caller)
        async with self._db.transaction() as conn:
            row = await conn.fetchrow(queries.DELETE_CREDENTIAL, user_id, credential_id)
            if row is None:
                raise _missing(credential_id)
            await audit(
                conn,
                "application_credential.delete",
                ("application_credential", credential_id),
                name=row["name"],
                data={"user": user_id},
            )
        self._on_change()


def require_unrestricted(caller: Caller) -> None:
    """Raise ``ForbiddenError`` for whoever came with a restricted credential itself."""
    if caller.restricted:
        raise ForbiddenError(
            "this token was made with a restricted application credential, which manages no "
            "application credentials: log in with the password, or with an unrestricted one"
        )


def _chosen(
    caller: Caller, asked: Sequence[str], there_are: Sequence[RoleRow]
) -> tuple[RoleRow, ...]:
    """The roles asked for, all of which the caller must have itself."""
    if not asked:
        found = [role for role in there_are if role.name in caller.roles]
    else:
        found = [role for role in there_are if role.id in asked or role.name in asked]
        known = {name for role in found for name in (role.id, role.name)}
        if missing := [name for name in asked if name not in known]:
            raise NotFoundError(f"there is no role {', '.join(missing)}")
    if lacking := [role.name for role in found if role.name not in caller.roles]:
        raise ForbiddenError(
            f"you cannot give an application credential what you lack in this project: "
            f"{', '.join(lacking)}"
        )
    return tuple(found)


async def _insert(conn: Connection, made: Credential, encoded: str) -> None:
    held = await conn.fetch(queries.CREDENTIALS, made.user_id, None, None)
    if len(held) >= PER_USER_MAX:
        raise ConflictError(
            f"a user has at most {PER_USER_MAX} application credentials: delete some first"
        )
    await conn.execute(
        queries.INSERT_CREDENTIAL,
        made.id,
        made.user_id,
        made.project_id,
        made.name,
        made.description,
        encoded,
        made.unrestricted,
        made.expires_at,
    )
    for role in made.roles:
        await conn.execute(queries.INSERT_CREDENTIAL_ROLE, made.id, role.id)
    await audit(
        conn,
        "application_credential.create",
        ("application_credential", made.id),
        name=made.name,
        data={
            "user": made.user_id,
            "project": made.project_id,
            "roles": [role.name for role in made.roles],
            "unrestricted": made.unrestricted,
            "expires_at": made.expires_at,
        },
    )


def _missing(credential_id: str) -> NotFoundError:
    return NotFoundError(f"Could not find application credential: {credential_id}.")


def _credential(row: Row) -> Credential:
    roles = [str(pair).partition(" ") for pair in row["roles"]]
    return Credential(
        id=row["id"],
        user_id=row["account"],
        project_id=row["project"],
        name=row["name"],
        description=row["description"],
        roles=tuple(RoleRow(id=role_id, name=name) for role_id, _, name in roles),
        unrestricted=row["unrestricted"],
        expires_at=row["expires_at"],
    )
