"""Users, projects, roles and grants: lookups and changes.

Every change clears the token memory of this process, so that it counts here at once.
A lost password or a disabled user also ends the user's tokens, in the same transaction,
which records who made the change, too (``audit``).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from uuid import uuid4

from holdfast.errors import ConflictError, NotFoundError
from holdfast.identity import queries
from holdfast.identity.audit import audit
from holdfast.identity.models import ADMIN, Grant, Project, RoleRow, User
from holdfast.identity.passwords import Passwords
from holdfast.store.model import Json
from holdfast.store.pg.database import Connection, Database, Row


class Directory:
    """What the Identity API lists, shows and changes."""

    def __init__(self, db: Database, passwords: Passwords, on_change: Callable[[], None]) -> None:
        self._db = db
        self._passwords = passwords
        self._on_change = on_change

    # Projects

    async def projects(
        self,
        *,
        name: str | None = None,
        enabled: bool | None = None,
        tags: Sequence[str] | None = None,
    ) -> list[Project]:
        """All projects by name, filtered; ``tags``: those that have all of them."""
        rows = await self._db.fetch(queries.PROJECTS, name, enabled, tags)
        return [_project(row) for row in rows]

    async def projects_of(self, user_id: str) -> list[Project]:
        """The enabled projects in which the user has a role."""
        return [_project(row) for row in await self._db.fetch(queries.PROJECTS_OF_USER, user_id)]

    async def project(self, project_id: str) -> Project | None:
        """One project by id."""
        row = await self._db.fetchrow(queries.PROJECT_BY_ID, project_id)
        return _project(row) if row else None

    async def find_project(self, name: str) -> Project | None:
        """One project by name."""
        row = await self._db.fetchrow(queries.PROJECT_BY_NAME, name)
        return _project(row) if row else None

    async def create_project(
        self, name: str, description: str, enabled: bool, tags: Sequence[str] = ()
    ) -> Project:
        """A new project. Raises ``ConflictError`` if the name is taken."""
        async with self._db.transaction() as conn:
            row = await conn.fetchrow(
                queries.INSERT_PROJECT, uuid4().hex, name, enabled, description, list(tags)
            )
            if row is None:
                raise ConflictError(f"there is a project named {name} already: choose another name")
            await audit(conn, "project.create", ("project", row["id"]), name=name)
        return _project(row)

    async def update_project(
        self,
        project_id: str,
        name: str | None,
        description: str | None,
        enabled: bool | None,
        tags: Sequence[str] | None = None,
    ) -> Project:
        """Change what is not None. The admin project keeps its name and stays enabled."""
        async with self._db.transaction() as conn:
            old = await conn.fetchrow(f"{queries.PROJECT_BY_ID} for update", project_id)
            if old is None:
                raise NotFoundError(f"there is no project {project_id}")
            if old["name"] == ADMIN and (name not in (None, ADMIN) or enabled is False):
                raise ConflictError("the admin project can be neither renamed nor disabled")
            other = await conn.fetchrow(queries.PROJECT_BY_NAME, name)
            if other is not None and other["id"] != project_id:
                raise ConflictError(f"there is a project named {name} already")
            new = await conn.fetchrow(
                queries.UPDATE_PROJECT,
                project_id,
                name,
                enabled,
                description,
                None if tags is None else list(tags),
            )
            given = {"name": name, "description": description, "enabled": enabled, "tags": tags}
            await audit(
                conn,
                "project.update",
                ("project", project_id),
                name=old["name"],
                data=_changed(given),
            )
        self._on_change()
        return _project(new or old)

    async def delete_project(self, project_id: str) -> None:
        """Remove a project with its grants, tokens and application credentials."""
        async with self._db.transaction() as conn:
            row = await conn.fetchrow(queries.PROJECT_BY_ID, project_id)
            if row is None:
                raise NotFoundError(f"there is no project {project_id}")
            if row["name"] == ADMIN:
                raise ConflictError("the admin project cannot be deleted")
            await conn.execute(queries.FORGET_DEFAULT_PROJECT, project_id)
            await conn.execute(queries.DELETE_PROJECT, project_id)
            await audit(conn, "project.delete", ("project", project_id), name=row["name"])
        self._on_change()

    # Users

    async def users(self, *, name: str | None = None, enabled: bool | None = None) -> list[User]:
        """All users by name, filtered."""
        return [user_of(row) for row in await self._db.fetch(queries.USERS, name, enabled)]

    async def user(self, user_id: str) -> User | None:
        """One user by id."""
        row = await self._db.fetchrow(queries.USER_BY_ID, user_id)
        return user_of(row) if row else None

    async def create_user(
        self,
        name: str,
        password: str,
        default_project: str | None,
        enabled: bool,
        *,
        description: str = "",
        email: str | None = None,
    ) -> User:
        """A new user. Raises ``ConflictError`` if the name is taken."""
        self._passwords.check_policy(password)
        encoded = await self._passwords.hash(password)
        async with self._db.transaction() as conn:
            await _project_exists(conn, default_project)
            row = await conn.fetchrow(
                queries.INSERT_USER,
                uuid4().hex,
                name,
                encoded,
                enabled,
                default_project,
                description,
                email,
            )
            if row is None:
                raise ConflictError(f"there is a user named {name} already: choose another name")
            await audit(conn, "user.create", ("user", row["id"]), name=name)
        return user_of(row)

    async def update_user(
        self,
        user_id: str,
        *,
        name: str | None = None,
        password: str | None = None,
        default_project: str | None = None,
        enabled: bool | None = None,
        description: str | None = None,
        email: str | None = None,
    ) -> User:
        """Change what is not None; a new password or disabling ends the user's tokens."""
        encoded: str | None = None
        if password is not None:
            self._passwords.check_policy(password)
            encoded = await self._passwords.hash(password)
        async with self._changing_administrators(enabled is False) as conn:
            other = await conn.fetchrow(queries.USER_BY_NAME, name)
            if other is not None and other["id"] != user_id:
                raise ConflictError(f"there is a user named {name} already")
            await _project_exists(conn, default_project)
            row = await conn.fetchrow(
                queries.UPDATE_USER,
                user_id,
                name,
                enabled,
                default_project,
                encoded,
                description,
                email,
            )
            if row is None:
                raise NotFoundError(f"there is no user {user_id}")
            if encoded is not None or enabled is False:
                await conn.execute(queries.DELETE_TOKENS_OF_USER, user_id)
            given = {
                "name": name,
                "default_project": default_project,
                "enabled": enabled,
                "description": description,
                "email": email,
                "password": None if password is None else "changed",
            }
            await audit(
                conn, "user.update", ("user", user_id), name=row["name"], data=_changed(given)
            )
        self._on_change()
        return user_of(row)

    async def delete_user(self, user_id: str) -> None:
        """Remove a user with its grants, tokens and application credentials."""
        async with self._changing_administrators() as conn:
            row = await conn.fetchrow(queries.DELETE_USER, user_id)
            if row is None:
                raise NotFoundError(f"there is no user {user_id}")
            await audit(conn, "user.delete", ("user", user_id), name=row["name"])
        self._on_change()

    # Roles and grants

    async def roles(self, *, name: str | None = None) -> list[RoleRow]:
        """All roles by name."""
        return [_role(row) for row in await self._db.fetch(queries.ROLES, name)]

    async def role(self, role_id: str) -> RoleRow | None:
        """One role by id."""
        row = await self._db.fetchrow(queries.ROLE_BY_ID, role_id)
        return _role(row) if row else None

    async def roles_of(self, user_id: str, project_id: str | None) -> list[RoleRow]:
        """Roles granted to a user in a project, or in the system (None); not what they imply."""
        if project_id is None:
            rows = await self._db.fetch(queries.ROLES_IN_SYSTEM, user_id)
        else:
            rows = await self._db.fetch(queries.ROLES_IN_PROJECT, user_id, project_id)
        return [_role(row) for row in rows]

    async def grants(
        self,
        *,
        user_id: str | None = None,
        project_id: str | None = None,
        role_id: str | None = None,
        system: bool | None = None,
    ) -> list[Grant]:
        """Grants, filtered by whatever is not None."""
        rows = await self._db.fetch(queries.GRANTS, user_id, project_id, role_id, system)
        return [Grant(**{name: row[name] for name in Grant.__struct_fields__}) for row in rows]

    async def grant(self, user_id: str, project_id: str | None, role_id: str) -> None:
        """Grant a role, in a project or the system (None). Repeating changes nothing."""
        async with self._db.transaction() as conn:
            user = await conn.fetchrow(queries.USER_BY_ID, user_id)
            if user is None:
                raise NotFoundError(f"there is no user {user_id}")
            role = await conn.fetchrow(queries.ROLE_BY_ID, role_id)
            if role is None:
                raise NotFoundError(f"there is no role {role_id}")
            await _project_exists(conn, project_id)
            if await conn.execute(queries.INSERT_GRANT, user_id, project_id, role_id):
                await audit(
                    conn,
                    "role.grant",
                    ("user", user_id),
                    name=user["name"],
                    data={"role": role["name"], "project": project_id},
                )
        self._on_change()

    async def revoke_grant(self, user_id: str, project_id: str | None, role_id: str) -> None:
        """Take a role away. Raises ``NotFoundError`` if it was not granted.

        Like all that ends a user's rights, ``ConflictError`` for the last administrator's.
        """
        async with self._changing_administrators() as conn:
            gone = await conn.fetchrow(queries.DELETE_GRANT, user_id, project_id, role_id)
            if gone is None:
                raise NotFoundError("the user does not have that role there")
            await audit(
                conn,
                "role.revoke",
                ("user", user_id),
                name=gone["user_name"],
                data={"role": gone["role_name"], "project": project_id},
            )
        self._on_change()

    @asynccontextmanager
    async def _changing_administrators(self, ending: bool = True) -> AsyncGenerator[Connection]:
        """A transaction after which somebody can still administer the whole system.

        Without anybody the next start would make a new administrator, as at the first one.
        Raises ``ConflictError``. ``ending``: whether the change ends anybody's rights at all.
        """
        async with self._db.transaction() as conn:
            if ending:  # one after the other: of two, each could be the other's last one
                await conn.execute(queries.BOOTSTRAP_LOCK)
            yield conn
            if ending and not await conn.fetchval(queries.ADMINISTRATORS):
                raise ConflictError(
                    "that would leave nobody who can administer the system: first give the role "
                    f"{ADMIN}, in project {ADMIN} or in the system, to another user"
                )


def _changed(given: dict[str, Json]) -> dict[str, Json]:
    """What a change was asked to set."""
    return {name: value for name, value in given.items() if value is not None}


async def _project_exists(conn: Connection, project_id: str | None) -> None:
    if project_id is None:
        return
    if await conn.fetchrow(queries.PROJECT_BY_ID, project_id) is None:
        raise NotFoundError(f"there is no project {project_id}")


def _project(row: Row) -> Project:
    return Project(
        id=row["id"],
        name=row["name"],
        enabled=row["enabled"],
        description=row["description"],
        tags=tuple(row["tags"]),
    )


def user_of(row: Row, *, key: str = "id", name: str = "name") -> User:
    """A row of ``account``, or of a join with it under other names."""
    return User(
        id=row[key],
        name=row[name],
        enabled=row["enabled"],
        default_project=row["default_project"],
        description=row["description"],
        email=row["email"],
    )


def _role(row: Row) -> RoleRow:
    return RoleRow(id=row["id"], name=row["name"])
