"""What would be, without doing it: the resources of a stack to be, what an update would change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, cast

import msgspec
from msgspec.structs import replace

from holdfast.stacks.contexts import Contexts
from holdfast.stacks.hot.errors import HotError
from holdfast.stacks.hot.plan import CompiledResource, CompiledTemplate, NestedTemplate
from holdfast.stacks.hot.properties import (
    PropertySchema,
    changes,
    properties_of_template,
    validate_and_resolve,
)
from holdfast.stacks.hot.scope import NOTHING_YET, Scope, is_unresolved
from holdfast.stacks.model import Resource, Stack, Status
from holdfast.stacks.nesting import Moment
from holdfast.stacks.parts import Parts
from holdfast.stacks.service.looks import NOW
from holdfast.stacks.service.preparing import Prepared
from holdfast.stacks.service.trees import shown_rows
from holdfast.store.model import Json
from holdfast.store.pg.database import Database

Fate = Literal["unchanged", "updated", "replaced", "added", "deleted"]


class Preview(msgspec.Struct, frozen=True, kw_only=True):
    """A resource as it would be; of one that is deleted: as it is. What is not known is null."""

    name: str
    type: str
    description: str = ""
    properties: dict[str, Json] = {}
    metadata: dict[str, Json] = {}
    attributes: tuple[str, ...] = ()
    required_by: tuple[str, ...] = ()
    row: Resource | None = None


class Previews:
    """Compares what is asked for with what is there."""

    def __init__(self, db: Database, parts: Parts) -> None:
        self._db = db
        self._parts = parts

    def of(self, plan: CompiledTemplate) -> list[Preview]:
        """The resources of a stack that does not exist."""
        users = plan.required_by()
        return [
            self._one(resource, NOTHING_YET, users.get(resource.name, ()))
            for resource in plan.resources.values()
        ]

    async def update(self, stack: Stack, prepared: Prepared) -> dict[Fate, list[Preview]]:
        """What would become of each resource; of types that decide at run time a good guess."""
        plan = prepared.plan
        rows = shown_rows(stack, await self._parts.store.rows(stack.id))
        wanted = replace(stack, source=prepared.source.id)
        self._parts.plans.keep(wanted, prepared.compiled)
        moment = Moment(now=await self._db.fetchval(NOW))
        refs = {ref for one in plan.resources.values() for ref in one.references}
        scope = await Contexts(self._parts, moment, wanted).scope(list(rows.values()), refs)
        users = plan.required_by()
        found: dict[Fate, list[Preview]] = {
            "unchanged": [],
            "updated": [],
            "replaced": [],
            "added": [],
            "deleted": [],
        }
        for resource in plan.resources.values():
            row = rows.pop(resource.name, None)
            shown = self._one(resource, scope, users.get(resource.name, ()))
            fate = self._fate(resource, row, scope)
            found[fate].append(msgspec.structs.replace(shown, row=row))
        found["deleted"] = [
            Preview(name=row.name, type=row.type, metadata=row.metadata, row=row)
            for row in rows.values()
        ]
        return found

    def _fate(self, resource: CompiledResource, row: Resource | None, scope: Scope) -> Fate:
        if row is None or not row.exists:
            return "added"
        if row.type != resource.type or row.status is Status.FAILED:
            return "replaced"
        schemata = self._schemata(resource)
        before = row.properties
        after = self._resolved(resource, scope)
        change = changes(schemata, before, after)
        if change.replacing:
            return "replaced"
        metadata = resource.metadata.resolve(scope)
        return "updated" if change.changed or metadata != row.metadata else "unchanged"

    def _one(self, resource: CompiledResource, scope: Scope, users: tuple[str, ...]) -> Preview:
        metadata: Json = resource.metadata.resolve(scope)
        return Preview(
            name=resource.name,
            type=resource.type,
            description=resource.description,
            properties=known(self._resolved(resource, scope)),
            metadata=known(cast("dict[str, Json]", metadata)) if isinstance(metadata, dict) else {},
            attributes=()
            if isinstance(resource.target, NestedTemplate)
            else tuple(self._parts.type_of(resource).attributes),
            required_by=users,
        )

    def _schemata(self, resource: CompiledResource) -> Mapping[str, PropertySchema]:
        if isinstance(resource.target, NestedTemplate):
            return properties_of_template(resource.target.text)
        return self._parts.type_of(resource).properties

    def _resolved(self, resource: CompiledResource, scope: Scope) -> dict[str, Json]:
        place = (*resource.path, "properties")
        try:
            return validate_and_resolve(
                self._schemata(resource), resource.properties, scope, path=place
            )
        except HotError:
            # What is there does not fit what is asked for: then it cannot be known yet.
            return validate_and_resolve(
                self._schemata(resource), resource.properties, NOTHING_YET, path=place
            )


def known(values: Mapping[str, Json]) -> dict[str, Json]:
    """The values, null where one waits for a resource."""
    return {name: None if is_unresolved(value) else value for name, value in values.items()}
