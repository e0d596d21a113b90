"""``Holdfast::Serving::Service``: a service on the API nodes, rolled from generation to generation.

Everything that an operation must know is in the fleet's rows, so that it goes on wherever another
engine left off::

    create: row -> enough nodes are well
    update: begin -> (move some nodes -> they are well)* -> finish
                        +--- one fails its gate -> set back -> all have the old one -> failed
    delete: mark -> no node serves it
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final
from uuid import UUID

from holdfast.errors import InvalidInputError
from holdfast.fleet.model import NodeView, Service
from holdfast.fleet.rolling import (
    Broken,
    Move,
    Pending,
    Settled,
    Terms,
    Verdict,
    advance,
    formed,
    set_back,
)
from holdfast.fleet.store import Fleet
from holdfast.stacks.hot.constraints import Range
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
from holdfast.stacks.types.schemas import integer, listing, mapping, number, string
from holdfast.stacks.types.serving_reach import LOOK_S, fleet_of, identity_of
from holdfast.stacks.types.typed import entries, items
from holdfast.store.model import Json

KEY_CHARS_MIN: Final = 12
_PROPERTIES: Final[Mapping[str, PropertySchema]] = {
    "name": string("The service's name, as in its packages and in queries.", required=True),
    "generation": string(
        "The Holdfast::Serving::Generation to serve. Another one is rolled out.",
        required=True,
        updates=True,
    ),
    "keys": mapping(
        "Names and keys of who may query, beside those in the package. Kept as digests only.",
        default={},
        updates=True,
    ),
    "zones": listing(
        "The zones whose API nodes serve it; none: all.",
        of=string("A zone."),
        default=[],
        updates=True,
    ),
    "min_ready": integer(
        "How many API nodes must be ready. Without it: all that are members.",
        Range(min=1),
        updates=True,
    ),
    "max_unavailable": integer(
        "How many nodes at most change, or are not ready, at the same time of an update.",
        Range(min=1),
        default=1,
        updates=True,
    ),
    "watch": number(
        "For how many seconds a node answers queries before the next one follows.",
        Range(min=0, max=3600),
        default=5,
        updates=True,
    ),
    "max_errors": number(
        "By how much the share of queries answered with errors (500 or more) may meanwhile be "
        "more than before.",
        Range(min=0, max=1),
        default=0,
        updates=True,
    ),
}
_ATTRIBUTES: Final[Mapping[str, Attribute]] = {
    "nodes": Attribute(description="The API nodes that serve it, by slot.", type="list"),
    "generation": Attribute(description="What they serve."),
}


class ServingService(Base):
    """See the module."""

    name = "Holdfast::Serving::Service"
    description = "A service that API nodes answer queries to."
    mends = True
    keeps_secrets = True

    @property
    def properties(self) -> Mapping[str, PropertySchema]:
        return _PROPERTIES

    @property
    def attributes(self) -> Mapping[str, Attribute]:
        return _ATTRIBUTES

    def check(self, properties: Mapping[str, Json]) -> None:
        for name, key in entries(properties.get("keys")).items():
            if isinstance(key, str) and len(key) < KEY_CHARS_MIN:
                raise InvalidInputError(f"keys: {name!r} needs {KEY_CHARS_MIN} characters or more")

    async def create(self, ctx: ResourceContext) -> Progress:
        return await self._converged(ctx)

    async def update(self, ctx: ResourceContext) -> Progress:
        return await self._converged(ctx)

    async def observe(self, ctx: ResourceContext) -> Progress:
        fleet = fleet_of(ctx)
        row = await fleet.service(identity_of(ctx))
        if row is None:
            raise ResourceFailedError("the API nodes are not told of this service any more")
        nodes = await fleet.nodes()
        match formed(row, nodes, _terms(ctx)):
            case Settled():
                return _shown(row, nodes)
            case Pending(reason) | Broken(reason):
                raise ResourceFailedError(reason)
            case Move():
                raise AssertionError("nothing is rolled out by looking")

    async def delete(self, ctx: ResourceContext) -> Progress:
        fleet, ident = fleet_of(ctx), identity_of(ctx)
        if await fleet.service(ident) is not None:
            ctx.guard()
            await fleet.drop_service(ident)
        left = [node.slot for node in await fleet.nodes() if node.served(ident) is not None]
        if left:
            return Wait(seconds=LOOK_S, reason=f"{', '.join(left)} still has it")
        return Ready()

    async def _converged(self, ctx: ResourceContext) -> Progress:
        """Make it what the properties say, one step at a time."""
        fleet, ident = fleet_of(ctx), identity_of(ctx)
        row = await self._begun(ctx, fleet, ident)
        nodes = await fleet.nodes()
        if row.failure is not None:
            return _failed(row, nodes)
        return await _step(ctx, fleet, row, nodes, advance(row, nodes, _terms(ctx)))

    async def _begun(self, ctx: ResourceContext, fleet: Fleet, ident: UUID) -> Service:
        """The service's row, with what this operation rolls out."""
        rollout = repr(ctx.started_at)
        row = await fleet.service(ident)
        if row is not None and row.rollout == rollout:
            return row
        self.check(ctx.properties)
        generation = await _generation(ctx, fleet)
        zones = tuple(str(zone) for zone in items(ctx.properties.get("zones")))
        keys = _digests(ctx.properties.get("keys"))
        ctx.guard()
        if row is None:
            wanted = Service(
                id=ident,
                project=ctx.stack.project,
                name=ctx.properties["name"],
                generation=generation,
                rollout=rollout,
                zones=zones,
                keys=keys,
            )
            await fleet.add_service(wanted)
        else:
            await fleet.begin(ident, rollout, generation, zones, keys)
        found = await fleet.service(ident)
        if found is None:
            raise ResourceFailedError("somebody else removed the service meanwhile")
        return found


async def _step(
    ctx: ResourceContext, fleet: Fleet, row: Service, nodes: list[NodeView], verdict: Verdict
) -> Progress:
    """What follows from a verdict."""
    match verdict:
        case Move(chosen):
            ctx.guard()
            await fleet.move(row.id, row.rollout, chosen)
            names = ", ".join(node.slot for node in nodes if node.id in chosen)
            return _wait(row, f"{names} takes the new generation")
        case Pending(reason):
            return _wait(row, reason)
        case Settled():
            if row.next is not None:
                ctx.guard()
                await fleet.finish(row.id, row.rollout)
            return _shown(row, nodes)
        case Broken(reason):
            if row.next is None:
                raise ResourceFailedError(reason)
            ctx.guard()
            await fleet.roll_back(row.id, row.rollout, reason)
            return _wait(row, f"all go back to the old generation: {reason}")


def _failed(row: Service, nodes: list[NodeView]) -> Progress:
    match set_back(row, nodes):
        case Pending(reason):
            return _wait(row, reason)
        case _:
            raise ResourceFailedError(
                f"{row.failure} (the API nodes serve the old generation again)"
            )


def _wait(row: Service, reason: str) -> Wait:
    return Wait(seconds=LOOK_S, physical_id=str(row.id), reason=reason)


def _shown(row: Service, nodes: list[NodeView]) -> Ready:
    generation = row.next or row.generation
    serving = [
        node
        for node in nodes
        if (served := node.served(row.id)) is not None and served.generation == generation
    ]
    pulled = serving[0].pulled(generation) if serving else None
    known: dict[str, Json] = {
        "nodes": sorted(node.slot for node in serving),
        "generation": None if pulled is None else pulled.generation,
    }
    return Ready(physical_id=str(row.id), attributes=known)


def _terms(ctx: ResourceContext) -> Terms:
    asked = ctx.properties
    return Terms(
        ready_min=asked.get("min_ready"),
        max_unavailable=asked["max_unavailable"],
        watch_s=asked["watch"],
        errors_max=asked["max_errors"],
    )


def _digests(keys: Json) -> dict[str, str]:
    return {
        hashlib.sha256(str(key).encode()).hexdigest(): name for name, key in entries(keys).items()
    }


async def _generation(ctx: ResourceContext, fleet: Fleet) -> UUID:
    """The generation that is asked for, of this project."""
    said = str(ctx.properties["generation"])
    try:
        found = await fleet.generation(UUID(said))
    except ValueError:
        found = None
    if found is None or found.project != ctx.stack.project:
        raise ResourceFailedError(
            f"generation: there is no Holdfast::Serving::Generation {said!r} in this project"
        )
    return found.id
