"""Resources whose body is a stack: templates as types, and ``OS::Heat::Stack``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Final

from holdfast.errors import InvalidInputError
from holdfast.stacks.hot.plan import NestedTemplate
from holdfast.stacks.hot.properties import (
    PropertySchema,
    attributes_of_template,
    properties_of_template,
)
from holdfast.stacks.hot.scope import select
from holdfast.stacks.model import Resource, Status
from holdfast.stacks.plan import best
from holdfast.stacks.resource import (
    Attribute,
    Base,
    Change,
    NestedStack,
    Progress,
    Ready,
    ResourceContext,
    ResourceType,
)
from holdfast.stacks.types.schemas import boolean, integer, mapping, string
from holdfast.stacks.types.typed import entries
from holdfast.store.model import Json

STACK_ID: Final = "OS::stack_id"
"""An output of this name is what referring to a template resource gives."""


class Nested(Base):
    """What all of them share: their body is checked, suspended, resumed and deleted with them."""

    always_updates = True
    mends = True  # what is well in it stays
    open_attributes = True

    async def delete(self, ctx: ResourceContext) -> Progress:
        return await ctx.nested.act("DELETE")

    async def observe(self, ctx: ResourceContext) -> Progress:
        return await ctx.nested.act("CHECK")

    async def suspend(self, ctx: ResourceContext) -> Progress:
        return await ctx.nested.act("SUSPEND")

    async def resume(self, ctx: ResourceContext) -> Progress:
        return await ctx.nested.act("RESUME")


def members(body: NestedStack, *, failed: bool = True) -> dict[str, Resource]:
    """The resources of a body in use, by name, the oldest first. ``failed``: those too."""
    versions: dict[str, list[Resource]] = {}
    for row in body.rows:
        versions.setdefault(row.name, []).append(row)
    used = [row for rows in versions.values() if (row := best(body.stack, rows)) is not None]
    used.sort(key=lambda row: (row.created_at, row.name))
    return {
        row.name: row for row in used if row.exists and (failed or row.status is not Status.FAILED)
    }


async def member_attribute(ctx: ResourceContext, row: Resource, path: Sequence[Json]) -> Json:
    """``get_attr`` of a resource of the body; null for an attribute that its type has not."""
    if path[0] in row.attributes:
        return select(row.attributes[path[0]], tuple(path[1:]))
    try:
        return await ctx.nested.attribute(row.name, path)
    except LookupError:
        return None


async def inner_attribute(ctx: ResourceContext, path: Sequence[Json]) -> Json:
    """``resource.<name>[.<attribute>]``: a look into the body; raises ``LookupError``."""
    parts = str(path[0]).split(".", 2)
    body = await ctx.nested.look()
    row = None if body is None else members(body).get(parts[1]) if len(parts) > 1 else None
    if parts[0] != "resource" or row is None:
        raise LookupError(path[0])
    inner = [*parts[2:], *path[1:]]
    return await member_attribute(ctx, row, inner) if inner else row.physical_id


class TemplateResource(Nested):
    """A type that is a template: its parameters are properties, its outputs attributes.

    ``name``: its key in ``files``; ``text``: the template, empty for a row whose template is
    not known any more, and which can only be looked at or taken away.
    """

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.description = f"The template {name}."
        self._text = text

    @cached_property
    def _properties(self) -> dict[str, PropertySchema]:
        return properties_of_template(self._text) if self._text else {}

    @cached_property
    def _attributes(self) -> dict[str, Attribute]:
        outputs = attributes_of_template(self._text) if self._text else {}
        return {name: Attribute(description=said, type="any") for name, said in outputs.items()}

    @property
    def properties(self) -> Mapping[str, PropertySchema]:
        return self._properties

    @property
    def attributes(self) -> Mapping[str, Attribute]:
        return self._attributes

    async def create(self, ctx: ResourceContext) -> Progress:
        return await self._converged(ctx)

    async def update(self, ctx: ResourceContext) -> Change:
        return await self._converged(ctx)

    async def _converged(self, ctx: ResourceContext) -> Progress:
        given = {name: value for name, value in ctx.properties.items() if value is not None}
        progress = await ctx.nested.converge(self._text, parameters=given)
        if not isinstance(progress, Ready):
            return progress
        body = await ctx.nested.look()
        return Ready(
            physical_id=progress.physical_id, attributes={} if body is None else dict(body.outputs)
        )

    def reference(self, row: Resource) -> Json:
        return row.attributes.get(STACK_ID) or row.physical_id or row.name

    async def attribute(self, ctx: ResourceContext, path: Sequence[Json]) -> Json:
        return await inner_attribute(ctx, path)


@lru_cache(maxsize=1024)
def body_type(name: str, text: str) -> TemplateResource:
    """The type that a template is, read once however many resources have it."""
    return TemplateResource(name, text)


def bodies(target: NestedTemplate) -> ResourceType:
    """``parts.Bodies``: the type of a resource whose type is a template."""
    return body_type(target.name, target.text)


_CONTEXT: Final[Mapping[str, PropertySchema]] = {
    "region_name": string("The region; this deployment's own, which is the default."),
    "credential_secret_id": string(
        "A stored credential of another cloud. Refused: there are no other clouds.", updates=True
    ),
    "ca_cert": string("A CA certificate for another cloud. Refused.", updates=True),
    "insecure": boolean(
        "Whether another cloud's certificate is not verified. Only false.",
        default=False,
        updates=True,
    ),
}
_STACK: Final[Mapping[str, PropertySchema]] = {
    "context": mapping("Where the stack is to be: here.", _CONTEXT, updates=True),
    "template": string("The template, as a text.", required=True, updates=True),
    "timeout": integer("Minutes that creating or updating it may take.", updates=True),
    "parameters": mapping("The parameters of the template.", default={}, updates=True),
}


class NestedStackResource(Nested):
    """``OS::Heat::Stack``."""

    name = "OS::Heat::Stack"
    description = (
        "A stack within the stack, from a template that is a text: get_file, or a parameter. "
        "It is made in this deployment; a context of another region or cloud is refused."
    )

    @property
    def properties(self) -> Mapping[str, PropertySchema]:
        return _STACK

    @property
    def attributes(self) -> Mapping[str, Attribute]:
        return {
            "stack_name": Attribute(description="The name of the stack."),
            "outputs": Attribute(description="Its outputs by name.", type="map"),
        }

    def check(self, properties: Mapping[str, Json]) -> None:
        asked = entries(properties.get("context"))
        for name in ("credential_secret_id", "ca_cert", "insecure"):
            if asked.get(name):
                raise InvalidInputError(
                    f"context.{name}: stacks in other clouds are not supported; leave it out"
                )

    async def create(self, ctx: ResourceContext) -> Progress:
        return await self._converged(ctx)

    async def update(self, ctx: ResourceContext) -> Change:
        return await self._converged(ctx)

    async def _converged(self, ctx: ResourceContext) -> Progress:
        _require_here(ctx)
        minutes: int | None = ctx.properties.get("timeout")
        progress = await ctx.nested.converge(
            ctx.properties["template"],
            parameters=entries(ctx.properties.get("parameters")),
            timeout_s=None if minutes is None else minutes * 60.0,
        )
        if not isinstance(progress, Ready):
            return progress
        body = await ctx.nested.look()
        known: dict[str, Json] = {}
        if body is not None:
            known = {"stack_name": body.stack.name, "outputs": dict(body.outputs)}
        return Ready(physical_id=progress.physical_id, attributes=known)

    async def attribute(self, ctx: ResourceContext, path: Sequence[Json]) -> Json:
        return await inner_attribute(ctx, path)


def _require_here(ctx: ResourceContext) -> None:
    """Raise ``InvalidInputError`` for a region that is not this one."""
    asked: str | None = entries(ctx.properties.get("context")).get("region_name")
    here = ctx.call.get("region")
    if asked is not None and asked != here:
        raise InvalidInputError(
            f"context.region_name: stacks in other regions are not supported, this one is "
            f"{here or 'nameless'}: leave {asked} out"
        )
