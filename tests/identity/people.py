"""Users and projects for tests."""

from __future__ import annotations

from holdfast.identity.models import Project, Scope, User
from holdfast.identity.service import Identity

MASTER_KEY = b"a master key for tests, 32 bytes"
ADMIN_PASSWORD = "correct horse battery"


async def admin(identity: Identity) -> User:
    """The user that bootstrap made."""
    return await identity.login("admin", ADMIN_PASSWORD, by_id=False)


async def admin_token(identity: Identity) -> str:
    """A token for the admin project."""
    secret, _ = await identity.issue(await admin(identity), Scope(), ["password"])
    return secret


async def project_user(
    identity: Identity, name: str = "bob", role: str = "member", project: str = "demo"
) -> tuple[User, Project]:
    """A user with a role in a project of its own, which is its default one."""
    directory = identity.directory
    home = await directory.find_project(project) or await directory.create_project(
        project, "", enabled=True
    )
    user = await directory.create_user(name, f"{name} password", home.id, enabled=True)
    (granted,) = await directory.roles(name=role)
    await directory.grant(user.id, home.id, granted.id)
    return user, home


async def user_token(identity: Identity, user: User, scope: Scope | None = None) -> str:
    """A token of that user, by default for its default project."""
    secret, _ = await identity.issue(user, scope or Scope(), ["password"])
    return secret
