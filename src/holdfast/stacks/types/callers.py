"""On whose behalf a resource type acts: the stack's delegation, asked anew each time."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Protocol, cast

from holdfast.identity.policy import Caller
from holdfast.stacks.model import Delegation
from holdfast.stacks.resource import ResourceContext, ResourceFailedError
from holdfast.store.events import Actor, acting


class Callers(Protocol):
    """The port ``caller`` of ``ctx.call``."""

    async def __call__(self, delegation: Delegation) -> Caller:
        """Who the user is now, with those of the delegated roles that are still granted.

        Raises ``ForbiddenError`` once the delegation is revoked or nothing of it is left.
        """
        ...


async def caller_of(ctx: ResourceContext) -> Caller:
    """Who an operation acts for. Never the engine itself, which may do more."""
    callers = ctx.call.get("caller")
    if callers is None:
        raise ResourceFailedError(
            "this engine cannot ask whom a stack acts for: it was started without identity"
        )
    return await cast("Callers", callers)(ctx.delegation)


@contextmanager
def on_behalf(caller: Caller) -> Generator[None]:
    """What is written inside is in the history as done by the caller."""
    who = Actor(user_id=caller.user_id, label=caller.label(), project=caller.project_id)
    with acting(who):
        yield
