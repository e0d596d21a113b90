"""What stacks and resources show that is not in a row: outputs, parameters, attributes."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import msgspec

from holdfast.errors import HoldfastError
from holdfast.stacks.contexts import Contexts
from holdfast.stacks.errors import EntityNotFoundError
from holdfast.stacks.hot.parameters import HIDDEN_TEXT, as_text
from holdfast.stacks.hot.plan import CompiledResource, CompiledTemplate
from holdfast.stacks.model import Resource, Stack
from holdfast.stacks.nesting import Moment
from holdfast.stacks.parts import Parts
from holdfast.stacks.service.trees import shown_rows
from holdfast.store.model import Json
from holdfast.store.pg.database import Database

NOW = "select extract(epoch from clock_timestamp())::float8"


class Output(msgspec.Struct, frozen=True, kw_only=True):
    """One output. ``error``: why it has no value."""

    name: str
    description: str | None
    value: Json = None
    error: str | None = None


class ResourceDetail(msgspec.Struct, frozen=True, kw_only=True):
    """A resource with all there is to show of it."""

    row: Resource
    description: str
    attributes: dict[str, Json]
    metadata: dict[str, Json]
    required_by: tuple[str, ...]
    nested: Stack | None


class Looks:
    """Looks at stacks and changes nothing."""

    def __init__(self, db: Database, parts: Parts) -> None:
        self._db = db
        self._parts = parts

    async def parameters(self, stack: Stack) -> dict[str, str]:
        """All parameters as texts, hidden ones masked."""
        return self.texts((await self._parts.plans.of(stack)).plan)

    def texts(self, plan: CompiledTemplate) -> dict[str, str]:
        """The parameters of a plan as texts, hidden ones masked."""
        return {
            name: as_text(plan.schemata[name], value) if name in plan.schemata else str(value)
            for name, value in plan.parameters.items()
        }

    async def environment(self, stack: Stack) -> dict[str, Json]:
        """The environment that a stack is made of, hidden parameters masked."""
        compiled = await self._parts.plans.of(stack)
        schemata = compiled.plan.schemata
        shown = dict(compiled.source.environment)
        for section in ("parameters", "parameter_defaults"):
            values: dict[str, Json] = shown.get(section) or {}
            shown[section] = {
                name: HIDDEN_TEXT if name in schemata and schemata[name].hidden else value
                for name, value in values.items()
            }
        return shown

    async def outputs(
        self, stack: Stack, names: Collection[str] | None = None, *, resolve: bool = True
    ) -> list[Output]:
        """The outputs (all, or these), with their values if they are to be resolved."""
        plan = (await self._parts.plans.of(stack)).plan
        wanted = [one for one in plan.outputs.values() if names is None or one.name in names]
        if not wanted or not resolve:
            return [Output(name=one.name, description=one.description) for one in wanted]
        rows = await self._parts.store.rows(stack.id)
        contexts = Contexts(self._parts, await self._moment(), stack)
        values, wrong = await contexts.outputs(rows, {one.name for one in wanted})
        return [
            Output(
                name=one.name,
                description=one.description,
                value=values.get(one.name),
                error=wrong.get(one.name),
            )
            for one in wanted
        ]

    async def output(self, stack: Stack, name: str) -> Output:
        """One output. Raises ``EntityNotFoundError``."""
        found = await self.outputs(stack, {name})
        if not found:
            raise EntityNotFoundError(f"The specified output key {name} not found.")
        return found[0]

    async def row(self, stack: Stack, name: str) -> Resource:
        """The version of a resource that is shown, by its name or physical id.

        Raises ``EntityNotFoundError``.
        """
        rows = shown_rows(stack, await self._parts.store.rows(stack.id))
        found = rows.get(name)
        if found is None:
            found = next((row for row in rows.values() if row.physical_id == name), None)
        if found is None:
            raise EntityNotFoundError(
                f"The Resource ({name}) could not be found in Stack {stack.name}."
            )
        return found

    async def resource(
        self, stack: Stack, name: str, with_attributes: Sequence[str] = ()
    ) -> ResourceDetail:
        """A resource and all its attributes as they are now; null where there is none."""
        row = await self.row(stack, name)
        nested = await self._parts.store.nested(row.id)
        definition = await self._definition(stack, row)
        return ResourceDetail(
            row=row,
            description="" if definition is None else definition.description,
            attributes=await self._attributes(stack, row, with_attributes),
            metadata=row.metadata,
            required_by=await self._required_by(stack, row),
            nested=nested,
        )

    async def _definition(self, stack: Stack, row: Resource) -> CompiledResource | None:
        plan = (await self._parts.plans.of(stack)).plan
        return plan.resources.get(row.name)

    async def _required_by(self, stack: Stack, row: Resource) -> tuple[str, ...]:
        plan = (await self._parts.plans.of(stack)).plan
        return plan.required_by().get(row.name, ())

    async def _attributes(
        self, stack: Stack, row: Resource, wanted: Sequence[str]
    ) -> dict[str, Json]:
        contexts = Contexts(self._parts, await self._moment(), stack)
        found = dict(row.attributes)
        try:
            kind = contexts.type_of_row(row)
            names = [*kind.attributes, *wanted] if row.exists else []
        except HoldfastError:
            return found  # its type is not installed any more
        for name in names:
            if name in found:
                continue
            try:
                found[name] = await contexts.attribute(row, kind, (name,))
            except (LookupError, HoldfastError):
                found[name] = None
        return found

    async def _moment(self) -> Moment:
        return Moment(now=await self._db.fetchval(NOW))
