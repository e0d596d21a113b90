"""``OS::Heat::TestResource``: fails, waits and is replaced as it is told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from holdfast.errors import InvalidInputError
from holdfast.stacks.hot.constraints import Range
from holdfast.stacks.hot.properties import PropertySchema
from holdfast.stacks.resource import (
    Attribute,
    Base,
    Change,
    Progress,
    Ready,
    Replace,
    ResourceContext,
    ResourceFailedError,
    Wait,
)
from holdfast.stacks.types.schemas import boolean, mapping, number, string
from holdfast.stacks.types.timing import WAIT_S_MAX, physical_name, wait_until
from holdfast.stacks.types.typed import entries
from holdfast.store.model import Json

_PROPERTIES: Final[Mapping[str, PropertySchema]] = {
    "value": string("A text to keep.", default="test_string", updates=True),
    "update_replace_value": string("A text whose change replaces the resource."),
    "fail": boolean("Whether creation and updates fail.", default=False, updates=True),
    "update_replace": boolean(
        "Whether a change of value replaces the resource.", default=False, updates=True
    ),
    "wait_secs": number(
        "Seconds that each action takes; -1: for ever, but a deletion no time at all.",
        default=0,
        updates=True,
    ),
    "action_wait_secs": mapping(
        "Seconds that single actions take, in place of wait_secs.",
        {
            "create": number("Seconds that a create takes; -1: for ever.", updates=True),
            "update": number("Seconds that an update takes; -1: for ever.", updates=True),
            "delete": number("Seconds that a delete takes.", Range(min=0), updates=True),
        },
        updates=True,
    ),
    "attr_wait_secs": number(
        "Seconds that its attribute takes. It is computed once, when the resource is made.",
        default=0,
        updates=True,
    ),
    "constraint_prop_secs": number(
        "Seconds that checking its properties takes: added to each action.",
        default=0,
        updates=True,
    ),
    "client_name": string(
        "A client to poll meanwhile. There is none here: only empty.", default="", updates=True
    ),
    "entity_name": string(
        "What to poll of the client. There is none here: only empty.", default="", updates=True
    ),
}


class TestResource(Base):
    """Waits by the clock of the database, so that a wait outlives the engine."""

    __test__ = False  # for pytest: its name only looks like a test's

    name = "OS::Heat::TestResource"
    description = "Keeps a text. For tests: it waits, fails and is replaced as its properties say."

    @property
    def properties(self) -> Mapping[str, PropertySchema]:
        return _PROPERTIES

    @property
    def attributes(self) -> Mapping[str, Attribute]:
        return {"output": Attribute(description="The text that was kept.")}

    def check(self, properties: Mapping[str, Json]) -> None:
        for name in ("client_name", "entity_name"):
            if properties.get(name):
                raise InvalidInputError(f"{name}: there is no client to poll here; leave it out")

    async def create(self, ctx: ResourceContext) -> Progress:
        kept = {"output": None if ctx.properties["fail"] else ctx.properties["value"]}
        return _effort(ctx, "create") or Ready(physical_id=physical_name(ctx), attributes=kept)

    async def update(self, ctx: ResourceContext) -> Change:
        if "value" not in ctx.changed or not ctx.properties["value"]:
            return _verdict(ctx) or Ready()
        if ctx.properties["update_replace"]:
            return Replace("update_replace is set")
        kept = {"output": ctx.properties["value"]}
        return _effort(ctx, "update") or Ready(attributes=kept)

    async def delete(self, ctx: ResourceContext) -> Progress:
        return _waiting(ctx, "delete") or Ready()

    async def observe(self, ctx: ResourceContext) -> Progress:
        if ctx.row.physical_id is None:
            raise ResourceFailedError("Resource not created")
        return Ready()


def _effort(ctx: ResourceContext, action: str) -> Wait | None:
    return _waiting(ctx, action) or _verdict(ctx)


def _waiting(ctx: ResourceContext, action: str) -> Wait | None:
    asked: float | None = entries(ctx.properties.get("action_wait_secs")).get(action)
    # What failed as it was created has no properties yet, and is deleted all the same.
    seconds: float = ctx.properties.get("wait_secs", 0) if asked is None else asked
    if seconds < 0 and action == "delete":
        return None  # nobody could ever take its stack away
    if seconds < 0:
        return Wait(seconds=WAIT_S_MAX, reason="waits for ever, as told")
    if action != "delete":
        seconds += ctx.properties["constraint_prop_secs"] + ctx.properties["attr_wait_secs"]
    return wait_until(ctx, ctx.started_at + seconds)


def _verdict(ctx: ResourceContext) -> None:
    if ctx.properties["fail"]:
        raise ResourceFailedError(f"Test Resource failed {ctx.row.name}")
