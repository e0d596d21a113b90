"""Addresses at which a resource is signalled from outside, and what opens them.

A token opens the signalling of one resource and nothing else. It is among the resource's notes;
the API lets a signal pass with the token instead of a user's (``opens``).
"""

from __future__ import annotations

import hmac
from secrets import token_urlsafe
from typing import Final

from holdfast.stacks.model import Resource
from holdfast.stacks.resource import ResourceContext
from holdfast.store.model import Json

TOKEN: Final = "signal_token"  # noqa: S105 - the name of a note


def new_token() -> str:
    """A token nobody guesses."""
    return token_urlsafe(32)


def opens(row: Resource, said: str) -> bool:
    """Whether this token opens the signalling of this resource. In constant time."""
    kept: Json = row.data.get(TOKEN)
    return isinstance(kept, str) and hmac.compare_digest(kept.encode(), said.encode())


def endpoint(ctx: ResourceContext) -> str | None:
    """Where the resource is signalled; None while nobody has said where the API is."""
    address = ctx.call.get("orchestration_url")
    if address is None:
        return None
    of_stack = f"{address}/{ctx.stack.project}/stacks/{ctx.stack.name}/{ctx.stack.id}"
    return f"{of_stack}/resources/{ctx.row.name}/signal"
