"""What groups have in common: a body of like members, changed at once or batch by batch.

Notes of a group (``row.data``): ``members`` as they were converged last, the ``defs`` they have,
``removed`` names; during an operation ``roll``: what is under way, fixed when it began, so
that whoever goes on with it makes the same templates.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from holdfast.errors import InvalidInputError
from holdfast.stacks.hot.constraints import Range
from holdfast.stacks.hot.properties import PropertySchema
from holdfast.stacks.resource import Progress, Ready, ResourceContext, ResourceFailedError, Wait
from holdfast.stacks.types.nested import Nested
from holdfast.stacks.types.scaling import Batch, Members
from holdfast.stacks.types.schemas import integer, number
from holdfast.stacks.types.typed import entries
from holdfast.store.model import Json

VERSION: Final = "2015-04-30"
REFS: Final = "refs_map"
"""The output of a group's body that gives what each member is referred to by."""

BATCH_SCHEMA: Final[Mapping[str, PropertySchema]] = {
    "max_batch_size": integer("How many members change at once.", Range(min=1), default=1),
    "pause_time": number("Seconds between batches.", Range(min=0), default=0),
}
ROLLING_SCHEMA: Final[Mapping[str, PropertySchema]] = {
    "min_in_service": integer(
        "How many members stay in service meanwhile.", Range(min=0), default=0
    ),
    **BATCH_SCHEMA,
}


class Rolling(msgspec.Struct, frozen=True, kw_only=True):
    """How a group is changed. ``pause_time``: seconds between batches."""

    min_in_service: int = 0
    max_batch_size: int = 1
    pause_time: float = 0.0


def rolling_of(policy: Json, what: str) -> Rolling | None:
    """A policy as an update policy or a property says it; None for none.

    Raises ``InvalidInputError`` naming ``what``.
    """
    if policy is None:
        return None
    try:
        rolling = msgspec.convert(policy, Rolling, strict=False)
    except msgspec.ValidationError as fault:
        raise InvalidInputError(f"{what}: {fault}") from None
    if rolling.max_batch_size < 1 or rolling.min_in_service < 0 or rolling.pause_time < 0:
        raise InvalidInputError(
            f"{what}: max_batch_size is at least 1, min_in_service and pause_time at least 0"
        )
    return rolling


class Roll(msgspec.Struct, frozen=True, kw_only=True):
    """One operation on a group, under way.

    ``batches`` empty: all at once, then ``target`` is the layout. ``start``: the members when it
    began. ``until``: when the next batch may begin. ``notes``: what the group remembers once
    the operation is done.
    """

    began: float
    definition: str
    start: Members = []
    target: Members = []
    batches: list[Batch] = []
    pause_s: float = 0.0
    step: int = 0
    until: float | None = None
    notes: dict[str, Json] = {}

    @property
    def steps(self) -> int:
        """How many templates there are: one for each batch, and the target."""
        return len(self.batches) + 1


Layout = Callable[[Roll, Members, Batch], Members]
"""The members after a batch, from those before it."""


def definition_key(definition: Json) -> str:
    """A short name for a definition; equal ones have the same."""
    return hashlib.sha256(msgspec.json.encode(definition, order="sorted")).hexdigest()[:16]


def require_time(ctx: ResourceContext, rolling: Rolling, count: int) -> None:
    """Raise ``ResourceFailedError`` if the pauses alone outlast the stack's timeout."""
    if rolling.pause_time * max(count - 1, 0) >= ctx.stack.timeout_s:
        raise ResourceFailedError(
            "The current update policy will result in stack update timeout: make pause_time "
            "shorter or max_batch_size larger"
        )


class Group(Nested):
    """A group whose members are laid out by ``Roll``."""

    def resource(self, definition: Json, name: str, properties: Mapping[str, Json]) -> Json:
        """The definition of one member, as it stands in the template of the body."""
        raise NotImplementedError

    def laid_out(self, roll: Roll, before: Members, batch: Batch) -> Members:
        """The members after a batch."""
        raise NotImplementedError

    async def known(self, ctx: ResourceContext, roll: Roll) -> dict[str, Json]:
        """The attributes that are stored, once the operation is done."""
        body = await ctx.nested.look()
        refs: dict[str, Json] = {} if body is None else entries(body.outputs.get(REFS))
        names = [name for name, _ in roll.target if name in refs]
        return {"refs": [refs[name] for name in names], REFS: {n: refs[n] for n in names}}

    def started(self, ctx: ResourceContext) -> Roll | None:
        """What of this very operation is under way, if anything."""
        noted = ctx.data.get("roll")
        roll = None if noted is None else msgspec.convert(noted, Roll)
        return roll if roll is not None and roll.began == ctx.started_at else None

    def noted(self, ctx: ResourceContext, roll: Roll, definitions: dict[str, Json]) -> Wait:
        """A pause in which what is under way is written down, before anything comes of it."""
        return Wait(seconds=0.0, data=self._notes(ctx, roll, definitions))

    def _notes(
        self, ctx: ResourceContext, roll: Roll, definitions: dict[str, Json]
    ) -> dict[str, Json]:
        return {**ctx.data, "defs": definitions, "roll": msgspec.to_builtins(roll)}

    async def roll_on(
        self, ctx: ResourceContext, roll: Roll, definitions: dict[str, Json]
    ) -> Progress:
        """One step: converge the body on the layout of the present batch; then the next."""
        if roll.until is not None and ctx.now < roll.until:
            return Wait(
                seconds=roll.until - ctx.now,
                data=self._notes(ctx, roll, definitions),
                reason=f"pause before batch {roll.step + 1} of {roll.steps}",
            )
        layout = self._layout(roll)
        template = self._template(ctx, layout, definitions)
        progress = await ctx.nested.converge(template, parameters={})
        if isinstance(progress, Wait):
            return Wait(
                seconds=progress.seconds,
                physical_id=progress.physical_id,
                data=self._notes(ctx, roll, definitions),
                reason=progress.reason,
            )
        if roll.step + 1 < roll.steps:
            until = ctx.now + roll.pause_s
            onward = msgspec.structs.replace(roll, step=roll.step + 1, until=until)
            return Wait(seconds=roll.pause_s, data=self._notes(ctx, onward, definitions))
        used = {definition for _, definition in layout} | {roll.definition}
        return Ready(
            physical_id=progress.physical_id,
            attributes=await self.known(ctx, roll),
            data={
                **roll.notes,
                "members": layout,
                "defs": {key: one for key, one in definitions.items() if key in used},
            },
        )

    def _layout(self, roll: Roll) -> Members:
        if roll.step == len(roll.batches):
            return roll.target
        members = roll.start
        for batch in roll.batches[: roll.step + 1]:
            members = self.laid_out(roll, members, batch)
        return members

    def _template(
        self, ctx: ResourceContext, layout: Members, definitions: Mapping[str, Json]
    ) -> dict[str, Json]:
        return template_of(
            {name: self.resource(definitions[key], name, ctx.properties) for name, key in layout}
        )


def template_of(resources: dict[str, Json]) -> dict[str, Json]:
    """The body of a group: its members, and what each is referred to by."""
    return {
        "heat_template_version": VERSION,
        "resources": resources,
        "outputs": {REFS: {"value": {name: {"get_resource": name} for name in resources}}},
    }
