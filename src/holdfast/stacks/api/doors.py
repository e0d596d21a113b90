"""Who may signal a resource: whoever may change the stack, or has the resource's own token."""

from __future__ import annotations

from uuid import UUID

from holdfast.errors import ForbiddenError, NotAuthenticatedError
from holdfast.identity.policy import Policy, Role
from holdfast.identity.service import Identity
from holdfast.stacks.errors import EntityNotFoundError
from holdfast.stacks.model import Stack
from holdfast.stacks.service import Stacks

POLICY = Policy("stacks:resource:signal", Role.MEMBER)


class Doors:
    """Opens to either kind of token, and says to nobody else what there is."""

    def __init__(self, identity: Identity, stacks: Stacks) -> None:
        self._identity = identity
        self._stacks = stacks

    async def signalled(
        self, project: str, name: str, ident: str, resource: str, token: str
    ) -> Stack:
        """The stack of the resource to signal.

        Raises ``NotAuthenticatedError``, ``ForbiddenError`` or ``EntityNotFoundError``.
        """
        if token and (stack := await self._opened(project, name, ident, resource, token)):
            return stack
        if not token:
            raise NotAuthenticatedError(
                "The request you have made requires authentication: send a token in X-Auth-Token."
            )
        caller = await self._identity.caller(token)
        POLICY.check(caller)
        if not caller.may_see(project):
            raise ForbiddenError(f"the token is of another project than the path: {project}")
        return (await self._stacks.read.named(project, name, ident)).stack

    async def _opened(
        self, project: str, name: str, ident: str, resource: str, token: str
    ) -> Stack | None:
        """The stack, if this is the token that the resource hands out."""
        try:
            UUID(ident)
            stack = (await self._stacks.read.named(project, name, ident)).stack
            return stack if await self._stacks.signals.opens(stack, resource, token) else None
        except (EntityNotFoundError, ValueError):
            return None
