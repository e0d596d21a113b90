"""Groups that policies resize: ``OS::Heat::AutoScalingGroup`` and ``OS::Heat::ScalingPolicy``.

A signal to a policy goes on to its group, which keeps it and heeds it: the new size is a
function of the size and the signals that were not heeded yet, so that none counts twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import Final, Literal
from uuid import uuid4

import msgspec

from holdfast.errors import InvalidInputError
from holdfast.stacks.hot.constraints import AllowedValues, Range
from holdfast.stacks.hot.properties import PropertySchema
from holdfast.stacks.hot.scope import select
from holdfast.stacks.hot.shapes import is_map
from holdfast.stacks.model import Status
from holdfast.stacks.resource import (
    Attribute,
    Base,
    Change,
    Forward,
    Progress,
    Ready,
    ResourceContext,
)
from holdfast.stacks.types.nested import member_attribute, members
from holdfast.stacks.types.rolling import (
    REFS,
    ROLLING_SCHEMA,
    Group,
    Roll,
    Rolling,
    definition_key,
    require_time,
    rolling_of,
)
from holdfast.stacks.types.scaling import (
    ADJUSTMENTS,
    Batch,
    Members,
    batches,
    by_age,
    layout,
    new_capacity,
)
from holdfast.stacks.types.schemas import MEMBERS_MAX, integer, mapping, number, string
from holdfast.stacks.types.signalling import TOKEN, endpoint, new_token
from holdfast.stacks.types.typed import entries, items
from holdfast.store.model import Json

_NOT_NEGATIVE: Final = Range(min=0, max=MEMBERS_MAX)
_GROUP: Final[Mapping[str, PropertySchema]] = {
    "resource": mapping(
        "What each of the resources is, as in a template.", required=True, updates=True
    ),
    "max_size": integer("How many there are at most.", _NOT_NEGATIVE, required=True, updates=True),
    "min_size": integer("How many there are at least.", _NOT_NEGATIVE, required=True, updates=True),
    "cooldown": integer(
        "Seconds after a change of size in which policies change nothing.", updates=True
    ),
    "desired_capacity": integer("How many there are at first, and after updates.", updates=True),
    "rolling_updates": mapping(
        "How a change of the definition reaches the resources.",
        ROLLING_SCHEMA,
        default={"min_in_service": 0, "max_batch_size": 1, "pause_time": 0},
        updates=True,
    ),
}
_GROUP_ATTRIBUTES: Final[Mapping[str, Attribute]] = {
    "outputs": Attribute(
        description="A map of names to the attribute that the path names.", type="map"
    ),
    "outputs_list": Attribute(
        description="The attribute that the path names, of each resource.", type="list"
    ),
    "current_size": Attribute(description="How many resources there are.", type="integer"),
    "refs": Attribute(description="What referring to each resource gives.", type="list"),
    REFS: Attribute(description="A map of names to what referring gives.", type="map"),
}


class Adjustment(msgspec.Struct, frozen=True, kw_only=True):
    """A signal as a group keeps it. ``at``: when it came; ``cooldown`` in seconds."""

    id: str
    at: float
    adjustment: float
    kind: Literal["change_in_capacity", "exact_capacity", "percent_change_in_capacity"]
    step_min: int | None = None
    cooldown: float | None = None


class AutoScalingGroup(Group):
    """Members get ever new names; the oldest go first."""

    name = "OS::Heat::AutoScalingGroup"
    description = (
        "Resources of one definition, as many as desired, between min_size and max_size. Scaling "
        "policies change their number; a change of the definition reaches them in batches."
    )
    takes_signals = True
    acts_on_signals = True

    @property
    def properties(self) -> Mapping[str, PropertySchema]:
        return _GROUP

    @property
    def attributes(self) -> Mapping[str, Attribute]:
        return _GROUP_ATTRIBUTES

    def check(self, properties: Mapping[str, Json]) -> None:
        low, high = properties["min_size"], properties["max_size"]
        wanted = properties.get("desired_capacity")
        if high < low:
            raise InvalidInputError(f"min_size ({low}) can not be greater than max_size ({high})")
        if wanted is not None and not low <= wanted <= high:
            raise InvalidInputError(
                f"desired_capacity ({wanted}) must be between min_size ({low}) and "
                f"max_size ({high})"
            )

    async def create(self, ctx: ResourceContext) -> Progress:
        return await self._go(ctx, ctx.properties.get("desired_capacity") or _bounds(ctx)[0])

    async def update(self, ctx: ResourceContext) -> Change:
        wanted = ctx.properties.get("desired_capacity") or len(_present(ctx))
        low, high = _bounds(ctx)
        return await self._go(ctx, max(low, min(high, wanted)))

    async def heed(self, ctx: ResourceContext) -> Progress:
        size, until = _heeded(ctx)
        notes: dict[str, Json] = {
            "seen": [signal.get("id") for signal in ctx.signals],
            "cooldown_until": until,
        }
        if self.started(ctx) is None and size == len(_present(ctx)):
            return Ready(data={**ctx.data, **notes})
        return await self._go(ctx, size, notes)

    async def _go(
        self, ctx: ResourceContext, size: int, notes: dict[str, Json] | None = None
    ) -> Progress:
        definition: dict[str, Json] = ctx.properties["resource"]
        key = definition_key(definition)
        definitions = {**ctx.data.get("defs", {}), key: definition}
        roll = self.started(ctx)
        if roll is None:
            roll = _begin(ctx, key, size, notes)
            if roll.batches:
                return self.noted(ctx, roll, definitions)
        progress = await self.roll_on(ctx, roll, definitions)
        if not isinstance(progress, Ready) or progress.data is None:
            return progress
        rest_s = max(0.0, ctx.properties.get("cooldown") or 0)
        before: float = roll.notes.get("cooldown_until") or 0.0
        ended = {
            "cooldown_until": max(before, ctx.now + rest_s),
            "made": _made(roll.target, roll.notes["made"]),
        }
        return msgspec.structs.replace(progress, data={**progress.data, **ended})

    def laid_out(self, roll: Roll, before: Members, batch: Batch) -> Members:
        fresh = _fresh(before, roll.notes["made"])
        ordered = by_age(before, roll.definition)
        return layout(ordered, roll.definition, batch, lambda: next(fresh))

    def resource(self, definition: Json, name: str, properties: Mapping[str, Json]) -> Json:
        return definition

    async def known(self, ctx: ResourceContext, roll: Roll) -> dict[str, Json]:
        return {**await super().known(ctx, roll), "current_size": len(roll.target)}

    async def attribute(self, ctx: ResourceContext, path: Sequence[Json]) -> Json:
        return await _attribute(ctx, str(path[0]), list(path[1:]))

    async def signal(self, ctx: ResourceContext, payload: Json) -> Json:
        """Of a policy. What comes while the group changes or cools down is not kept."""
        if not is_map(payload) or "adjustment" not in payload:
            raise InvalidInputError(f"{self.name} is signalled by its scaling policies only")
        made = _adjustment({**payload, "id": str(uuid4()), "at": ctx.now})
        size, low_high = len(_present(ctx)), _bounds(ctx)
        wanted = new_capacity(size, made.adjustment, made.kind, made.step_min, *low_high)
        cooling = ctx.now < (ctx.row.data.get("cooldown_until") or 0.0)
        if ctx.row.status is not Status.COMPLETE or cooling or wanted == size:
            return None
        return msgspec.to_builtins(made)


def _bounds(ctx: ResourceContext) -> tuple[int, int]:
    return ctx.properties["min_size"], ctx.properties["max_size"]


def _present(ctx: ResourceContext) -> Members:
    return [list(member) for member in ctx.data.get("members", [])]


def _fresh(present: Members, made: int) -> Iterator[str]:
    """Names that no member has had: numbers, going up."""
    return map(str, count(_made(present, made)))


def _made(present: Members, made: int) -> int:
    """How many names were given so far."""
    return max([made, *(int(name) + 1 for name, _ in present)])


def _begin(ctx: ResourceContext, key: str, size: int, notes: Mapping[str, Json] | None) -> Roll:
    """What an operation is going to do: roll the new definition out, then resize."""
    present = _present(ctx)
    made: int = ctx.data.get("made", 0)
    rolling = rolling_of(ctx.properties["rolling_updates"], "rolling_updates") or Rolling()
    line: list[Batch] = []
    if any(definition != key for _, definition in present):
        wanted = min(ctx.properties.get("desired_capacity") or len(present), len(present))
        line = batches(
            wanted,
            len(present),
            rolling.max_batch_size,
            rolling.min_in_service,
            extras_stay=True,
        )
        require_time(ctx, rolling, len(line))
    last = present
    for batch in [*line, [size, 0]]:
        fresh = _fresh(last, made)
        last = layout(by_age(last, key), key, batch, lambda fresh=fresh: next(fresh))
    if line and line[-1][0] == size:
        line = line[:-1]  # what comes of the last one is the target
    kept = {name: ctx.data.get(name) for name in ("seen", "cooldown_until")}
    return Roll(
        began=ctx.started_at,
        definition=key,
        start=present if line else [],
        target=sorted(last, key=lambda member: int(member[0])),
        batches=line,
        pause_s=rolling.pause_time,
        notes={**kept, **(notes or {}), "made": made},
    )


def _adjustment(said: Mapping[str, Json]) -> Adjustment:
    try:
        return msgspec.convert(said, Adjustment, strict=False)
    except msgspec.ValidationError as fault:
        raise InvalidInputError(f"this is no adjustment of a group's size: {fault}") from None


def _heeded(ctx: ResourceContext) -> tuple[int, float]:
    """The size that the signals ask for which were not heeded yet, and until when it cools."""
    size, until = len(_present(ctx)), ctx.data.get("cooldown_until") or 0.0
    seen = set(items(ctx.data.get("seen")))
    for kept in (one for one in ctx.signals if "adjustment" in one):
        signal = _adjustment(kept)
        if signal.id in seen or signal.at < until:
            continue
        wanted = new_capacity(size, signal.adjustment, signal.kind, signal.step_min, *_bounds(ctx))
        if wanted == size:
            continue
        rest_s = signal.cooldown
        if rest_s is None:
            rest_s = ctx.properties.get("cooldown") or 0.0
        size, until = wanted, signal.at + max(0.0, rest_s)
    return size, until


async def _attribute(ctx: ResourceContext, key: str, rest: list[Json]) -> Json:
    body = await ctx.nested.look()
    if body is None:
        raise LookupError(key)
    rows = members(body, failed=False)
    refs = entries(body.outputs.get(REFS))
    if key == "current_size":
        return len(rows)
    if key in ("refs", REFS):
        known = {name: refs.get(name) for name in rows}
        return select(list(known.values()) if key == "refs" else known, tuple(rest))
    if key in ("outputs", "outputs_list") and rest:
        found = {name: await member_attribute(ctx, row, rest) for name, row in rows.items()}
        return found if key == "outputs" else list(found.values())
    parts = key.split(".", 2)
    if parts[0] != "resource" or len(parts) == 1:
        raise LookupError(key)
    try:
        row = list(rows.values())[int(parts[1])]
    except (ValueError, IndexError):
        raise LookupError(
            f"Member '{parts[1]}' not found in group resource '{ctx.row.name}'."
        ) from None
    inner = [*parts[2:], *rest]
    return await member_attribute(ctx, row, inner) if inner else refs.get(row.name)


_POLICY: Final[Mapping[str, PropertySchema]] = {
    "auto_scaling_group_id": string("A reference to the group.", required=True),
    "scaling_adjustment": number(
        "By how much, or to what, the size is changed.", required=True, updates=True
    ),
    "adjustment_type": string(
        "What scaling_adjustment means.", AllowedValues(ADJUSTMENTS), required=True, updates=True
    ),
    "cooldown": number(
        "Seconds after it in which policies change nothing; else the group's.", updates=True
    ),
    "min_adjustment_step": integer(
        "How many resources percent_change_in_capacity adds or takes at least.",
        _NOT_NEGATIVE,
        updates=True,
    ),
}


class ScalingPolicy(Base):
    """``OS::Heat::ScalingPolicy``."""

    name = "OS::Heat::ScalingPolicy"
    keeps_secrets = True
    description = "Changes the size of an autoscaling group whenever it is signalled."
    takes_signals = True

    @property
    def properties(self) -> Mapping[str, PropertySchema]:
        return _POLICY

    @property
    def attributes(self) -> Mapping[str, Attribute]:
        return {
            "alarm_url": Attribute(description="An address that needs no token to be signalled."),
            "signal_url": Attribute(description="The API's address to signal it, with a token."),
        }

    def check(self, properties: Mapping[str, Json]) -> None:
        percent = properties["adjustment_type"] == "percent_change_in_capacity"
        if not percent and properties.get("min_adjustment_step") is not None:
            raise InvalidInputError(
                "min_adjustment_step property should only be specified for adjustment_type with "
                "value percent_change_in_capacity."
            )

    async def create(self, ctx: ResourceContext) -> Progress:
        token, url = new_token(), endpoint(ctx)
        alarm = None if url is None else f"{url}?token={token}"
        return Ready(
            physical_id=str(ctx.row.id),
            attributes={"alarm_url": alarm, "signal_url": url},
            data={TOKEN: token},
        )

    async def signal(self, ctx: ResourceContext, payload: Json) -> Json:
        asked = ctx.properties
        return Forward(
            physical_id=asked["auto_scaling_group_id"],
            payload={
                "adjustment": asked["scaling_adjustment"],
                "kind": asked["adjustment_type"],
                "step_min": asked.get("min_adjustment_step"),
                "cooldown": asked.get("cooldown"),
            },
        )
