"""Who may do what: a caller, and the named policies that routes carry.

Every Litestar handler of every API names its policy, and is refused at start-up
if it does not (``web.auth.check_policies``)::

    @get("/v1/nodes/{ident:str}", opt={"policy": "baremetal:node:get"})
    async def show_node(ident: str, caller: Caller) -> NodeView: ...

The product declares what the name means, once, and hands the tuple to ``web``
beside its router::

    POLICIES = (
        Policy("baremetal:node:get", Role.READER),
        Policy("baremetal:node:create", Role.ADMIN),
    )

The rule of a route says which *role* is needed and whether it must reach the whole
system. Which *objects* a caller may know of is the handler's business: it compares the
object's project with ``caller.may_see(project_id)`` and answers 404 otherwise.

``web`` puts the caller at ``scope["user"]`` (``request.user``) and offers it to
handlers as the dependency ``caller``. A route with the policy ``public`` has none.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

import msgspec

from holdfast.errors import ConfigError, ForbiddenError


class Role(StrEnum):
    """The three roles. Each implies those after it (Keystone: admin > member > reader)."""

    ADMIN = "admin"
    MEMBER = "member"
    READER = "reader"


_IMPLIED: dict[str, frozenset[Role]] = {
    Role.ADMIN: frozenset({Role.ADMIN, Role.MEMBER, Role.READER}),
    Role.MEMBER: frozenset({Role.MEMBER, Role.READER}),
    Role.READER: frozenset({Role.READER}),
}


def implied(granted: Iterable[str]) -> frozenset[Role]:
    """Expand granted role names by what they imply; unknown names grant nothing."""
    return frozenset(role for name in granted for role in _IMPLIED.get(name, ()))


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who sent a request, as proved by its token.

    ``project_id`` is None for a token of the system or of no scope. ``everywhere``
    is true for system scope and for the admin project: such a caller reaches
    the objects of all projects, with the roles it has. ``restricted``: came with an
    application credential that may not manage application credentials.
    """

    user_id: str
    user_name: str
    project_id: str | None = None
    project_name: str | None = None
    roles: frozenset[Role] = frozenset()
    system: bool = False
    everywhere: bool = False
    restricted: bool = False

    def has(self, role: Role) -> bool:
        """Whether a role was granted or is implied by one that was."""
        return role in self.roles

    def may_see(self, *projects: str | None) -> bool:
        """Whether an object of these projects (owner, lessee) is one the caller may know of."""
        return self.everywhere or (self.project_id is not None and self.project_id in projects)

    def label(self) -> str:
        """``user@project``, for people: job journals, logs, audit."""
        return f"{self.user_name}@{self.project_name or ('system' if self.system else '-')}"


class Policy(msgspec.Struct, frozen=True):
    """What a route asks of its caller.

    ``role`` None: any authenticated caller, whatever its scope. ``everywhere``: the
    caller must reach the whole system. ``public``: no token is asked for at all.
    """

    name: str
    role: Role | None = Role.ADMIN
    everywhere: bool = False
    public: bool = False

    def check(self, caller: Caller) -> None:
        """Raise ``ForbiddenError`` unless the caller satisfies the rule."""
        if self.role is not None and self.role not in caller.roles:
            raise ForbiddenError(
                f"{self.name} needs the role {self.role.value}, and {caller.label()} lacks it: "
                "ask an administrator for the role or use another project"
            )
        if self.everywhere and not caller.everywhere:
            raise ForbiddenError(
                f"{self.name} is for the admin project or the system: "
                f"{caller.label()} reaches its own project only"
            )


PUBLIC = Policy("public", role=None, public=True)
AUTHENTICATED = Policy("authenticated", role=None)


class PolicyRegistry:
    """Every policy there is, by name. What is not registered is not allowed."""

    def __init__(self, *groups: Iterable[Policy]) -> None:
        self._by_name: dict[str, Policy] = {PUBLIC.name: PUBLIC, AUTHENTICATED.name: AUTHENTICATED}
        for policy in (policy for group in groups for policy in group):
            if policy.name in self._by_name:
                raise ConfigError(f"the policy {policy.name} is declared twice: keep one")
            self._by_name[policy.name] = policy

    def get(self, name: object) -> Policy | None:
        """The policy of that name, if it exists."""
        return self._by_name.get(name) if isinstance(name, str) else None
