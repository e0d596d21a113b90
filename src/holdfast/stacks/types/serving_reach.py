"""The fleet of API nodes as resource types reach it."""

from __future__ import annotations

from typing import Final, cast
from uuid import UUID, uuid5

from holdfast.fleet.store import Fleet
from holdfast.stacks.resource import ResourceContext, ResourceFailedError

LOOK_S: Final = 1.0
"""How soon what nodes say is looked at again."""

_NAMESPACE: Final = UUID("3c1f2d0e-6a53-4c7b-9d0e-52f3a7c1b8e4")


def fleet_of(ctx: ResourceContext) -> Fleet:
    """Raises ``ResourceFailedError`` if this engine has none."""
    fleet = ctx.call.get("serving")
    if fleet is None:
        raise ResourceFailedError("this engine knows no API nodes: it was started without them")
    return cast("Fleet", fleet)


def identity_of(ctx: ResourceContext) -> UUID:
    """The id of what this resource makes: from its key, so that making it again finds it."""
    if ctx.row.physical_id is not None:
        return UUID(ctx.row.physical_id)
    return uuid5(_NAMESPACE, ctx.key)
