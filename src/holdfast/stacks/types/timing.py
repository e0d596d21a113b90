"""Waiting without sleeping: what is left until a moment, as a ``Wait``."""

from __future__ import annotations

from holdfast.stacks.resource import ResourceContext, Wait

WAIT_S_MAX = 3600.0
"""Who waits longer, or for ever, is asked again this often: a deadline may have moved."""


def wait_until(ctx: ResourceContext, at: float, reason: str = "") -> Wait | None:
    """A ``Wait`` for a moment (epoch seconds), or None when it is there."""
    left = at - ctx.now
    return Wait(seconds=min(left, WAIT_S_MAX), reason=reason) if left > 0 else None


def physical_name(ctx: ResourceContext) -> str:
    """A name for people: the stack's, the resource's, and what makes it unique."""
    return f"{ctx.stack.name}-{ctx.row.name}-{ctx.row.id.hex[:12]}"[-255:]
