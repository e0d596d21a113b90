"""``Holdfast::Serving::Generation``: a package that API nodes fetch and keep, for as long.

It is ready when a node has it on its disk, whole and checked; no query goes to it by that.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from holdfast.errors import InvalidInputError
from holdfast.fleet.model import Generation, Pulled
from holdfast.stacks.hot.properties import PropertySchema
from holdfast.stacks.resource import (
    Attribute,
    Base,
    Progress,
    Ready,
    ResourceContext,
    ResourceFailedError,
    Wait,
)
from holdfast.stacks.types.schemas import string
from holdfast.stacks.types.serving_reach import LOOK_S, fleet_of, identity_of
from holdfast.store.model import Json

_SHA256: Final = re.compile(r"(?:sha256:)?([0-9a-fA-F]{64})")
_URL: Final = re.compile(r"https?://[^\s/?#@]+/\S*")
_PROPERTIES: Final[Mapping[str, PropertySchema]] = {
    "url": string("The address of the package on any web server.", required=True),
    "digest": string("The SHA-256 of the package, in hex.", required=True),
    "name": string("The generation's name, if the package has to be of that one."),
}
_ATTRIBUTES: Final[Mapping[str, Attribute]] = {
    "service": Attribute(description="The service that the package is of."),
    "generation": Attribute(description="The name of the generation, from the package."),
}


class ServingGeneration(Base):
    """See the module."""

    name = "Holdfast::Serving::Generation"
    description = "A package of a service, on the disks of the API nodes."

    @property
    def properties(self) -> Mapping[str, PropertySchema]:
        return _PROPERTIES

    @property
    def attributes(self) -> Mapping[str, Attribute]:
        return _ATTRIBUTES

    def check(self, properties: Mapping[str, Json]) -> None:
        """Only what can be looked at: ``None`` is not known yet."""
        url, digest = properties.get("url"), properties.get("digest")
        if isinstance(url, str) and not _URL.fullmatch(url):
            raise InvalidInputError("url: an http or https address without credentials is wanted")
        if isinstance(digest, str) and not _SHA256.fullmatch(digest):
            raise InvalidInputError("digest: 64 hexadecimal digits are wanted, the SHA-256")

    async def create(self, ctx: ResourceContext) -> Progress:
        fleet, ident = fleet_of(ctx), identity_of(ctx)
        if await fleet.generation(ident) is None:
            self.check(ctx.properties)
            ctx.guard()
            await fleet.add_generation(
                Generation(
                    id=ident,
                    project=ctx.stack.project,
                    url=ctx.properties["url"],
                    sha256=ctx.properties["digest"].lower().removeprefix("sha256:"),
                )
            )
        return await self._looked_at(ctx)

    async def observe(self, ctx: ResourceContext) -> Progress:
        if await fleet_of(ctx).generation(identity_of(ctx)) is None:
            raise ResourceFailedError("the API nodes are not told of this package any more")
        return await self._looked_at(ctx)

    async def delete(self, ctx: ResourceContext) -> Progress:
        ctx.guard()
        await fleet_of(ctx).drop_generation(identity_of(ctx))
        return Ready()

    async def _looked_at(self, ctx: ResourceContext) -> Progress:
        """Ready by the first node that has it; failed when every node says why it cannot."""
        ident = identity_of(ctx)
        nodes = await fleet_of(ctx).nodes()
        faults: list[str] = []
        for node in nodes:
            pulled = node.pulled(ident)
            if pulled is not None and pulled.generation:
                return _ready(ctx, pulled)
            if pulled is not None and pulled.error:
                faults.append(f"{node.label}: {pulled.error}")
        if nodes and len(faults) == len(nodes):
            raise ResourceFailedError(f"no API node can have the package; {faults[0]}")
        reason = "a node fetches it" if nodes else "no API node is a member yet"
        return Wait(seconds=LOOK_S, physical_id=str(ident), reason=reason)


def _ready(ctx: ResourceContext, pulled: Pulled) -> Ready:
    wanted: Json = ctx.properties.get("name")
    if wanted is not None and wanted != pulled.generation:
        raise ResourceFailedError(
            f"the package is the generation {pulled.generation!r}, not {wanted!r}"
        )
    known: dict[str, Json] = {"service": pulled.service, "generation": pulled.generation}
    return Ready(physical_id=str(identity_of(ctx)), attributes=known)
