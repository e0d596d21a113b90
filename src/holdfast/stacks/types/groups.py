"""Resources made in numbers: ``OS::Heat::ResourceGroup`` and ``OS::Heat::ResourceChain``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Final

from holdfast.errors import InvalidInputError
from holdfast.stacks.hot.constraints import AllowedValues, Length, Range
from holdfast.stacks.hot.properties import PropertySchema
from holdfast.stacks.hot.scope import select
from holdfast.stacks.hot.shapes import is_list, is_map
from holdfast.stacks.resource import (
    Attribute,
    Change,
    NestedStack,
    Progress,
    Ready,
    ResourceContext,
)
from holdfast.stacks.types.nested import Nested, member_attribute, members
from holdfast.stacks.types.rolling import (
    REFS,
    Group,
    Roll,
    Rolling,
    definition_key,
    require_time,
    rolling_of,
    template_of,
)
from holdfast.stacks.types.scaling import Batch, Members, batches, by_priority, layout, numbered
from holdfast.stacks.types.schemas import MEMBERS_MAX, boolean, integer, listing, mapping, string
from holdfast.stacks.types.typed import entries, items
from holdfast.store.model import Json

_GROUP: Final[Mapping[str, PropertySchema]] = {
    "count": integer(
        "How many resources there are.", Range(min=0, max=MEMBERS_MAX), default=1, updates=True
    ),
    "index_var": string(
        "What in the texts of the properties stands for the number of a resource.",
        Length(min=3),
        default="%index%",
    ),
    "resource_def": mapping(
        "What each of the resources is, as in a template.",
        {
            "type": string("The type.", required=True),
            "properties": mapping("The properties."),
            "metadata": mapping("The metadata."),
        },
        required=True,
        updates=True,
    ),
    "removal_policies": listing(
        "Which resources go.",
        of=mapping(
            "One policy.",
            {
                "resource_list": listing(
                    "Names, or what referring to a resource gives. A name is never used again; "
                    "the resource goes even if count stays, and another one comes in its place.",
                    default=[],
                )
            },
        ),
        updates=True,
    ),
    "removal_policies_mode": string(
        "Whether removal_policies add to what was removed before, or take its place.",
        AllowedValues(("append", "update")),
        default="append",
        updates=True,
    ),
}
_REFS_ATTRIBUTES: Final[Mapping[str, Attribute]] = {
    "refs": Attribute(description="What referring to each resource gives, in order.", type="list"),
    "attributes": Attribute(
        description="A map of names to the attribute that the path names.", type="map"
    ),
}


class ResourceGroup(Group):
    """Members are numbered; a rolling update takes the highest numbers first."""

    name = "OS::Heat::ResourceGroup"
    description = (
        "So many resources of one definition, numbered from 0; their number stands for index_var "
        "in it. An attribute of the group is the list of that attribute of each; "
        "resource.<number>.<attribute> is that of one. The update policies rolling_update and "
        "batch_create (max_batch_size, pause_time, min_in_service) change it in batches."
    )

    @property
    def properties(self) -> Mapping[str, PropertySchema]:
        return _GROUP

    @property
    def attributes(self) -> Mapping[str, Attribute]:
        return {
            **_REFS_ATTRIBUTES,
            REFS: Attribute(description="A map of names to what referring gives.", type="map"),
            "removed_rsrc_list": Attribute(description="The names removed.", type="list"),
        }

    async def create(self, ctx: ResourceContext) -> Progress:
        rolling = rolling_of(ctx.update_policy.get("batch_create"), "batch_create")
        return await self._go(ctx, rolling if ctx.properties["count"] else None)

    async def update(self, ctx: ResourceContext) -> Change:
        rolling = rolling_of(ctx.update_policy.get("rolling_update"), "rolling_update")
        key = definition_key(_definition(ctx.properties["resource_def"]))
        changes = any(one != key for _, one in ctx.data.get("members", []))
        return await self._go(ctx, rolling if changes else None)

    async def _go(self, ctx: ResourceContext, rolling: Rolling | None) -> Progress:
        definition = _definition(ctx.properties["resource_def"])
        key = definition_key(definition)
        definitions = {**ctx.data.get("defs", {}), key: definition}
        roll = self.started(ctx)
        if roll is None:
            roll = await self._begin(ctx, key, rolling)
            if roll.batches or ctx.properties.get("removal_policies"):
                return self.noted(ctx, roll, definitions)
        return await self.roll_on(ctx, roll, definitions)

    async def _begin(self, ctx: ResourceContext, key: str, rolling: Rolling | None) -> Roll:
        count: int = ctx.properties["count"]
        removed = await _removed(ctx)
        target = [[name, key] for name in islice(numbered(removed), count)]
        start: Members = [
            list(member) for member in ctx.data.get("members", []) if member[0] not in removed
        ]
        line: list[Batch] = []
        if rolling is not None:
            line = batches(
                count,
                len(start),
                rolling.max_batch_size,
                rolling.min_in_service,
                extras_stay=False,
            )
            require_time(ctx, rolling, len(line))
            line = line[:-1]  # what comes of the last one is the target
        return Roll(
            began=ctx.started_at,
            definition=key,
            start=start if line else [],
            target=target,
            batches=line,
            pause_s=0.0 if rolling is None else rolling.pause_time,
            notes={"removed": sorted(removed)},
        )

    def laid_out(self, roll: Roll, before: Members, batch: Batch) -> Members:
        removed = set(roll.notes["removed"])
        names = list(islice(numbered(removed), batch[0]))
        have = {name for name, _ in before}
        fresh = iter([name for name in names if name not in have])
        ordered = by_priority(before, names, len(roll.target))
        return layout(ordered, roll.definition, batch, lambda: next(fresh))

    def resource(self, definition: Json, name: str, properties: Mapping[str, Json]) -> Json:
        return numbered_resource(definition, name, properties["index_var"])

    async def known(self, ctx: ResourceContext, roll: Roll) -> dict[str, Json]:
        return {**await super().known(ctx, roll), "removed_rsrc_list": roll.notes["removed"]}

    async def attribute(self, ctx: ResourceContext, path: Sequence[Json]) -> Json:
        return await group_attribute(ctx, path)


def _definition(given: Mapping[str, Json]) -> dict[str, Json]:
    """A member's definition without what is not set."""
    definition = {name: value for name, value in given.items() if value is not None}
    if is_map(properties := definition.get("properties")):
        definition["properties"] = {k: v for k, v in properties.items() if v is not None}
    return definition


async def _removed(ctx: ResourceContext) -> set[str]:
    """The names that are not used (any more): by name, or by what refers to them."""
    before: set[str] = set(ctx.data.get("removed", []))
    asked = [
        one
        for policy in items(ctx.properties.get("removal_policies"))
        for one in items(policy.get("resource_list"))
    ]
    removed = set(before) if ctx.properties["removal_policies_mode"] == "append" else set[str]()
    if not asked:
        return removed
    body = await ctx.nested.look()
    present: dict[str, Json] = {} if body is None else entries(body.outputs.get(REFS))
    names = set(members(body)) if body is not None else None
    for one in asked:
        name = str(one)
        if name in before or names is None or name in names:
            removed.add(name)
        else:
            removed |= {known for known, reference in present.items() if reference == one}
    return removed


def numbered_resource(definition: Mapping[str, Json], number: str, variable: str) -> Json:
    """A definition with the number in place of the variable, in all texts of its properties."""

    def put(value: Json) -> Json:
        if isinstance(value, str):
            return value.replace(variable, number)
        if is_map(value):
            return {key: put(item) for key, item in value.items()}
        if is_list(value):
            return [put(item) for item in value]
        return value

    made = dict(definition)
    if made.get("properties"):
        made["properties"] = put(made["properties"])
    return made


async def group_attribute(ctx: ResourceContext, path: Sequence[Json]) -> Json:
    """An attribute of a numbered group; raises ``LookupError`` for one that it cannot have."""
    key, rest = str(path[0]), list(path[1:])
    body = await ctx.nested.look()
    if body is None:
        raise LookupError(key)
    rows = members(body)
    names = sorted(rows, key=lambda name: (len(name), name))
    if key.startswith("resource."):
        return await _of_one(ctx, body, key, rest)
    refs = entries(body.outputs.get(REFS))
    if key == "refs":
        return select([refs.get(name) for name in names], tuple(rest))
    if key == REFS:
        return select({name: refs.get(name) for name in names}, tuple(rest))
    if key == "attributes":
        if not rest:
            raise LookupError("attributes: name the attribute that is wanted of each")
        return {name: await member_attribute(ctx, rows[name], rest) for name in names}
    return [await member_attribute(ctx, rows[name], [key, *rest]) for name in names]


async def _of_one(ctx: ResourceContext, body: NestedStack, key: str, rest: list[Json]) -> Json:
    """``resource.<name>[.<attribute>]``."""
    _, name, *inner = key.split(".", 2)
    row = members(body).get(name)
    if row is None:
        raise LookupError(f"Member '{name}' not found in group resource '{ctx.row.name}'.")
    if inner or rest:
        return await member_attribute(ctx, row, [*inner, *rest])
    return entries(body.outputs.get(REFS)).get(name)


_CHAIN: Final[Mapping[str, PropertySchema]] = {
    "resources": listing(
        "The types of the resources, in order: names, or aliases of the resource registry.",
        required=True,
        updates=True,
    ),
    "concurrent": boolean(
        "Whether they are made at the same time; else each depends on the one before.",
        default=False,
    ),
    "resource_properties": mapping("The properties that each of them gets."),
}


class ResourceChain(Nested):
    """``OS::Heat::ResourceChain``."""

    name = "OS::Heat::ResourceChain"
    description = (
        "One resource of each of the types, all with the same properties, one after the other or "
        "at once. An attribute of the chain is the list of that attribute of each."
    )

    @property
    def properties(self) -> Mapping[str, PropertySchema]:
        return _CHAIN

    @property
    def attributes(self) -> Mapping[str, Attribute]:
        return _REFS_ATTRIBUTES

    def check(self, properties: Mapping[str, Json]) -> None:
        if wrong := [one for one in properties["resources"] if not isinstance(one, str)]:
            raise InvalidInputError(f"resources: the name of a type is a text, not {wrong[0]!r}")

    async def create(self, ctx: ResourceContext) -> Progress:
        return await self._converged(ctx)

    async def update(self, ctx: ResourceContext) -> Change:
        return await self._converged(ctx)

    async def _converged(self, ctx: ResourceContext) -> Progress:
        template = template_of(dict(_links(ctx.properties)))
        progress = await ctx.nested.converge(template, parameters={})
        if not isinstance(progress, Ready):
            return progress
        body = await ctx.nested.look()
        refs: dict[str, Json] = {} if body is None else entries(body.outputs.get(REFS))
        ordered = [refs.get(name) for name in template["resources"]]
        return Ready(physical_id=progress.physical_id, attributes={"refs": ordered})

    async def attribute(self, ctx: ResourceContext, path: Sequence[Json]) -> Json:
        return await group_attribute(ctx, path)


def _links(properties: Mapping[str, Json]) -> Iterator[tuple[str, Json]]:
    """The members of a chain, each with the one that it waits for."""
    for index, kind in enumerate(properties["resources"]):
        link: dict[str, Json] = {"type": kind}
        if properties.get("resource_properties"):
            link["properties"] = properties["resource_properties"]
        if index and not properties["concurrent"]:
            link["depends_on"] = [str(index - 1)]
        yield str(index), link
