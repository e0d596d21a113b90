"""Users, projects, roles and grants: lookups and changes.

Every change clears the token memory of this process, so that it counts here at once.
A lost password or a disabled user also ends the user's tokens, in the same transaction.
"""

from __future__ import annotations

from collections.abc import Callable
from uuid import uuid4

from holdfast.errors import ConflictError, NotFoundError
from holdfast.identity import queries
from holdfast.identity.models import ADMIN, Grant, Project, RoleRow, User
from holdfast.identity.passwords import Passwords
from holdfast.store.pg.database import Connection, Database, Row


class Directory:
    """What the Identity API lists, shows and changes."""

    def __init__(self, db: Database, passwords: Passwords, on_change: Callable[[], None]) -> None:
        self._db = db
        self._passwords = passwords
        self._on_change = on_change

    # Projects

    async def projects(
        self, *, name: str | None = None, enabled: bool | None = None
    ) -> list[Project]:
        """All projects by name, filtered."""
        return [_project(row) for row in await self._db.fetch(queries.PROJECTS, name, enabled)]

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

    async def create_project(self, name: str, description: str, enabled: bool) -> Project:
        """A new project. Raises ``ConflictError`` if the name is taken."""
        row = await self._db.fetchrow(
            queries.INSERT_PROJECT, uuid4().hex, name, enabled, description
        )
        if row is None:
            raise ConflictError(f"there is a project named {name} already: choose another name")
        return _project(row)

    async def update_project(
        self, project_id: str, name: str | None, description: str | None, enabled: bool | None
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
                queries.UPDATE_PROJECT, project_id, name, enabled, description
            )
        self._on_change()
        return _project(new or old)

    async def delete_project(self, project_id: str) -> None:
        """Remove a project with its grants and tokens."""
        async with self._db.transaction() as conn:
            row = await conn.fetchrow(queries.PROJECT_BY_ID, project_id)
            if row is None:
                raise NotFoundError(f"there is no project {project_id}")
            if row["name"] == ADMIN:
                raise ConflictError("the admin project cannot be deleted")
            await conn.execute(queries.FORGET_DEFAULT_PROJECT, project_id)
            await conn.execute(queries.DELETE_PROJECT, project_id)
        self._on_change()

    # Users

    async def users(self, *, name: str | None = None, enabled: bool | None = None) -> list[User]:
        """All users by name, filtered."""
        return [_user(row) for row in await self._db.fetch(queries.USERS, name, enabled)]

    async def user(self, user_id: str) -> User | None:
        """One user by id."""
        row = await self._db.fetchrow(queries.USER_BY_ID, user_id)
        return _user(row) if row else None

    async def create_user(
        self, name: str, password: str, default_project: str | None, enabled: bool
    ) -> User:
        """A new user. Raises ``ConflictError`` if the name is taken."""
        self._passwords.check_policy(password)
        encoded = await self._passwords.hash(password)
        async with self._db.transaction() as conn:
            await _project_exists(conn, default_project)
            row = await conn.fetchrow(
                queries.INSERT_USER, uuid4().hex, name, encoded, enabled, default_project
            )
        if row is None:
            raise ConflictError(f"there is a user named {name} already: choose another name")
        return _user(row)

    async def update_user(
        self,
        user_id: str,
        *,
        name: str | None = None,
        password: str | None = None,
        default_project: str | None = None,
        enabled: bool | None = None,
    ) -> User:
        """Change what is not None; a new password or disabling ends the user's tokens."""
        encoded: str | None = None
        if password is not None:
            self._passwords.check_policy(password)
            encoded = await self._passwords.hash(password)
        async with self._db.transaction() as conn:
            other = await conn.fetchrow(queries.USER_BY_NAME, name)
            if other is not None and other["id"] != user_id:
                raise ConflictError(f"there is a user named {name} already")
            await _project_exists(conn, default_project)
            row = await conn.fetchrow(
                queries.UPDATE_USER, user_id, name, enabled, default_project, encoded
            )
            if row is None:
                raise NotFoundError(f"there is no user {user_id}")
            if encoded is not None or enabled is False:
                await conn.execute(queries.DELETE_TOKENS_OF_USER, user_id)
        self._on_change()
        return _user(row)

    async def delete_user(self, user_id: str) -> None:
        """Remove a user with its grants and tokens."""
        if await self._db.fetchrow(queries.DELETE_USER, user_id) is None:
            raise NotFoundError(f"there is no user {user_id}")
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
            if await conn.fetchrow(queries.USER_BY_ID, user_id) is None:
                raise NotFoundError(f"there is no user {user_id}")
            if await conn.fetchrow(queries.ROLE_BY_ID, role_id) is None:
                raise NotFoundError(f"there is no role {role_id}")
            await _project_exists(conn, project_id)
            await conn.execute(queries.INSERT_GRANT, user_id, project_id, role_id)
        self._on_change()

    async def revoke_grant(self, user_id: str, project_id: str | None, role_id: str) -> None:
        """Take a role away. Raises ``NotFoundError`` if it was not granted."""
        if await self._db.fetchrow(queries.DELETE_GRANT, user_id, project_id, role_id) is None:
            raise NotFoundError("the user does not have that role there")
        self._on_change()


async def _project_exists(conn: Connection, project_id: str | None) -> None:
    if project_id is None:
        return
    if await conn.fetchrow(queries.PROJECT_BY_ID, project_id) is None:
        raise NotFoundError(f"there is no project {project_id}")


def _project(row: Row) -> Project:
    return Project(
        id=row["id"], name=row["name"], enabled=row["enabled"], description=row["description"]
    )


def _user(row: Row) -> User:
    return User(
        id=row["id"],
        name=row["name"],
        enabled=row["enabled"],
        default_project=row["default_project"],
    )


def _role(row: Row) -> RoleRow:
    return RoleRow(id=row["id"], name=row["name"])
