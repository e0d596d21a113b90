"""What a resource type is told of the resource it works on."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Protocol

from msgspec.structs import replace

from holdfast.stacks.hot import HotError
from holdfast.stacks.hot.plan import CompiledResource, NestedTemplate
from holdfast.stacks.hot.scope import Ref, Unresolved, is_unresolved
from holdfast.stacks.model import Resource, Stack
from holdfast.stacks.nesting import Body, Moment
from holdfast.stacks.parts import Parts
from holdfast.stacks.plan import current
from holdfast.stacks.resource import Peer, ResourceContext, ResourceType
from holdfast.stacks.scope import RowScope, scope_of
from holdfast.store.model import Json

TARGET = "holdfast:target"
"""Among a row's notes: the type that its own name stood for, or None for a template."""


class Progressing(Protocol):
    """What an operation remembers, as far as a type is told (``operations.Memo``)."""

    @property
    def started(self) -> float | None: ...

    @property
    def data(self) -> dict[str, Json] | None: ...


def notes_of(row: Resource) -> dict[str, Json]:
    """The type's own notes."""
    return {name: value for name, value in row.data.items() if name != TARGET}


def with_target(
    data: Mapping[str, Json], row: Resource, resource: CompiledResource | None
) -> dict[str, Json]:
    """The notes as they are stored: with what the row's type stood for when it was made."""
    if resource is None:
        return {**data, TARGET: row.data.get(TARGET, row.type)}
    target = None if isinstance(resource.target, NestedTemplate) else resource.target
    return {**data, TARGET: target}


class Contexts:
    """Makes contexts for the resources of one stack, for one moment."""

    def __init__(self, parts: Parts, moment: Moment, stack: Stack) -> None:
        self._parts = parts
        self._moment = moment
        self._stack = stack

    def type_of_row(self, row: Resource) -> ResourceType:
        """The type with which a row was made, whatever templates say by now."""
        target = row.data.get(TARGET, row.type)
        if target is None or target not in self._parts.registry:
            return self._parts.bodies(NestedTemplate(row.type, ""))
        return self._parts.named(target)

    async def of(
        self,
        row: Resource,
        memo: Progressing | None,
        properties: dict[str, Json],
        metadata: dict[str, Json],
        update_policy: dict[str, Json],
        before: dict[str, Json] | None = None,
    ) -> ResourceContext:
        """The context of an operation; ``memo`` None: of a mere look."""
        notes = None if memo is None else memo.data
        started = None if memo is None else memo.started
        signals: Sequence[Mapping[str, Json]] = ()
        kind = self.type_of_row(row) if row.exists else None
        if (memo is not None and started is not None) or (kind and kind.acts_on_signals):
            signals = await self._parts.store.signals(row.id)
        return ResourceContext(
            key=str(row.id),
            row=replace(row, data=notes_of(row)),
            stack=self._stack,
            properties=properties,
            before=row.properties if before is None else before,
            metadata=metadata,
            update_policy=update_policy,
            data=notes_of(row) if notes is None else notes,
            now=self._moment.now,
            started_at=self._moment.now if started is None else started,
            resumed=self._moment.resumed,
            delegation=self._stack.delegation,
            guard=self._moment.guard,
            nested=self._body(row, metadata, update_policy),
            signals=signals,
            peer=self._peer,
            call=self._parts.call,
        )

    async def _peer(self, physical_id: str) -> Peer | None:
        row = await self._parts.store.peer(self._stack.id, physical_id)
        if row is None:
            return None
        return Peer(row=row, signals=await self._parts.store.signals(row.id))

    def _body(
        self, row: Resource, metadata: dict[str, Json], update_policy: dict[str, Json]
    ) -> Body:
        facade: dict[str, Json] = {
            "metadata": metadata,
            "update_policy": update_policy,
            "deletion_policy": row.deletion_policy,
        }
        return Body(self._parts, self._moment, self._stack, row, facade, self._within)

    def _within(self, body: Stack) -> Contexts:
        return Contexts(self._parts, self._moment, body)

    async def outputs(
        self, rows: Sequence[Resource], names: Collection[str] | None = None
    ) -> tuple[dict[str, Json], dict[str, str]]:
        """The stack's outputs (all, or these) over its resources as they are, by name.

        And what is wrong with those that cannot be resolved, which are null.
        """
        compiled = await self._parts.plans.of(self._stack)
        wanted = {
            output.name: output.value
            for output in compiled.plan.outputs.values()
            if names is None or output.name in names
        }
        refs = {ref for value in wanted.values() if value for ref in value.dependencies()}
        scope = await self.scope(rows, refs)
        found: dict[str, Json] = dict.fromkeys(wanted)
        wrong: dict[str, str] = {}
        for name, value in wanted.items():
            try:
                resolved = None if value is None else value.resolve(scope)
            except HotError as fault:
                wrong[name] = fault.message
            else:
                found[name] = None if is_unresolved(resolved) else resolved
        return found, wrong

    async def scope(self, rows: Sequence[Resource], refs: Iterable[Ref]) -> RowScope:
        """The stack's resources, as values with these references see them."""
        compiled = await self._parts.plans.of(self._stack)
        there = current(self._stack, compiled.wishes, rows)
        used = {name: row for name, row in there.items() if row.exists}
        types = {name: self.type_of_row(row) for name, row in used.items()}
        return await scope_of(refs, used, types, self.attribute)

    async def attribute_of(self, rows: Sequence[Resource], name: str, path: Sequence[Json]) -> Json:
        """What ``get_attr`` of one of the stack's resources gives; raises ``LookupError``."""
        ref = Ref(name, tuple(path))
        scope = await self.scope(rows, [ref])
        found = scope.attribute(name, tuple(path)) if path else scope.reference(name)
        if isinstance(found, Unresolved):
            raise LookupError(name)
        return found

    async def attribute(self, row: Resource, kind: ResourceType, path: Sequence[Json]) -> Json:
        """``scope.Ask``: an attribute that the type computes."""
        ctx = await self.of(row, None, row.properties, row.metadata, {})
        return await kind.attribute(ctx, path)
