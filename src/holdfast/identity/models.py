"""The values identity speaks in. Ids are 32 hex digits as in Keystone; times are epoch seconds."""

from __future__ import annotations

import msgspec

from holdfast.identity.policy import Caller

DOMAIN_ID = "default"  # there is one domain, and it is Keystone's default one
DOMAIN_NAME = "Default"
ADMIN = "admin"  # name of the project whose tokens reach the whole system, and of the first user


class Project(msgspec.Struct, frozen=True, kw_only=True):
    """A project: what quotas, ownership and most tokens are about."""

    id: str
    name: str
    enabled: bool
    description: str
    tags: tuple[str, ...] = ()


class User(msgspec.Struct, frozen=True, kw_only=True):
    """A user account, without its password."""

    id: str
    name: str
    enabled: bool
    default_project: str | None
    description: str = ""
    email: str | None = None


class RoleRow(msgspec.Struct, frozen=True, kw_only=True):
    """A role as stored."""

    id: str
    name: str


class Credential(msgspec.Struct, frozen=True, kw_only=True):
    """An application credential, without its secret: some of a user's roles in one project.

    ``unrestricted``: whether it may be used to manage application credentials itself.
    """

    id: str
    user_id: str
    project_id: str
    name: str
    description: str
    roles: tuple[RoleRow, ...]
    unrestricted: bool
    expires_at: float | None


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """A role of a user in a project, or in the whole system (``project_id`` None)."""

    user_id: str
    user_name: str
    project_id: str | None
    project_name: str | None
    role_id: str
    role_name: str


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """What a token is asked for. Nothing set: the user's default project, if it has one."""

    project_id: str | None = None
    project_name: str | None = None
    system: bool = False
    unscoped: bool = False  # said explicitly: not even the default project

    @property
    def implicit(self) -> bool:
        """Whether no scope was named at all."""
        return not (self.project_id or self.project_name or self.system or self.unscoped)


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """A valid token's content. ``expires_in_s`` was true when the database answered.

    ``credential``: id and name of the application credential it was made with.
    """

    caller: Caller
    audit_id: str
    methods: tuple[str, ...]
    issued_at: float
    expires_at: float
    expires_in_s: float
    credential: tuple[str, str] | None = None
