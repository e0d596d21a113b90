"""The types that make nothing: None, Value and Delay."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Final

from holdfast.errors import InvalidInputError
from holdfast.stacks.hot.constraints import AllowedValues, Range
from holdfast.stacks.hot.properties import PropertySchema
from holdfast.stacks.resource import (
    Attribute,
    Base,
    Change,
    Progress,
    Ready,
    ResourceContext,
    ResourceFailedError,
)
from holdfast.stacks.types.schemas import anything, listing, number, string
from holdfast.stacks.types.timing import physical_name, wait_until
from holdfast.stacks.types.typed import TYPES, typed
from holdfast.store.model import Json


class NoneResource(Base):
    """``OS::Heat::None``."""

    name = "OS::Heat::None"
    description = (
        "Does nothing. Maps a type away in the resource registry: it takes any property, has any "
        "attribute (null), and an update never replaces it."
    )
    placeholder = True
    open_attributes = True


_VALUE: Final[Mapping[str, PropertySchema]] = {
    "value": anything(
        "The expression that the attribute `value` gives.", required=True, updates=True
    ),
    "type": string(
        "The type of the value; without it anything goes.", AllowedValues(TYPES), updates=True
    ),
}


class Value(Base):
    """``OS::Heat::Value``."""

    name = "OS::Heat::Value"
    description = (
        "Gives its property `value` as an attribute, in the type asked for: a simple computation "
        "from parameters and other resources, under a name of its own."
    )

    @property
    def properties(self) -> Mapping[str, PropertySchema]:
        return _VALUE

    @property
    def attributes(self) -> Mapping[str, Attribute]:
        return {"value": Attribute(description="The value of the property `value`.", type="any")}

    def check(self, properties: Mapping[str, Json]) -> None:
        typed(properties.get("value"), properties.get("type"))

    async def create(self, ctx: ResourceContext) -> Progress:
        return Ready(physical_id=physical_name(ctx), attributes=_given(ctx))

    async def update(self, ctx: ResourceContext) -> Change:
        return Ready(attributes=_given(ctx))


def _given(ctx: ResourceContext) -> dict[str, Json]:
    return {"value": typed(ctx.properties.get("value"), ctx.properties.get("type"))}


LONGEST_S: Final = 525_600 * 60  # the longest timeout a stack can have: a year
_SECONDS: Final = Range(min=0, max=LONGEST_S)
_DELAY: Final[Mapping[str, PropertySchema]] = {
    "min_wait": number(
        "Seconds to wait at least, in each of the actions.",
        _SECONDS,
        default=0,
        updates=True,
    ),
    "max_jitter": number(
        "The most that chance adds to the wait, in units of jitter_multiplier.",
        _SECONDS,
        default=0,
        updates=True,
    ),
    "jitter_multiplier": number(
        "Seconds by which max_jitter is multiplied.", _SECONDS, default=1.0, updates=True
    ),
    "actions": listing(
        "The actions in which it waits.",
        AllowedValues(("CREATE", "DELETE", "SUSPEND", "RESUME")),
        default=["CREATE"],
        updates=True,
    ),
}


class Delay(Base):
    """``OS::Heat::Delay``. The jitter is drawn from the key: the same however often it is asked."""

    name = "OS::Heat::Delay"
    description = (
        "Waits during the actions asked for, between what it depends on and what depends on it. "
        "The jitter spreads many of them, against thundering herds."
    )

    @property
    def properties(self) -> Mapping[str, PropertySchema]:
        return _DELAY

    def check(self, properties: Mapping[str, Json]) -> None:
        longest = _longest_s(properties)
        if longest > LONGEST_S:
            raise InvalidInputError(
                f"the longest delay, min_wait + max_jitter × jitter_multiplier, is {longest:g} s: "
                f"no stack has more than {LONGEST_S:,} s (a year) for anything"
            )

    async def create(self, ctx: ResourceContext) -> Progress:
        longest = _longest_s(ctx.properties)
        if longest > ctx.stack.timeout_s:
            raise ResourceFailedError(
                f"{self.name}: the longest delay, {longest:g} s, exceeds the timeout of the stack, "
                f"{ctx.stack.timeout_s:g} s: raise that or ask for less"
            )
        return _delayed(ctx, "CREATE", Ready(physical_id=str(ctx.row.id)))

    async def delete(self, ctx: ResourceContext) -> Progress:
        return _delayed(ctx, "DELETE", Ready())

    async def suspend(self, ctx: ResourceContext) -> Progress:
        return _delayed(ctx, "SUSPEND", Ready())

    async def resume(self, ctx: ResourceContext) -> Progress:
        return _delayed(ctx, "RESUME", Ready())


def _longest_s(properties: Mapping[str, Json]) -> float:
    return properties["min_wait"] + properties["max_jitter"] * properties["jitter_multiplier"]


def _delayed(ctx: ResourceContext, action: str, ready: Ready) -> Progress:
    asked = ctx.properties
    if action not in asked["actions"]:
        return ready
    chance = Random(f"{ctx.key}/{action}/{ctx.started_at}").random()  # noqa: S311 - a spread
    jitter_s = asked["max_jitter"] * asked["jitter_multiplier"] * chance
    return wait_until(ctx, ctx.started_at + asked["min_wait"] + jitter_s) or ready
