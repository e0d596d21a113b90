"""The stacks' tables in memory: ``stacks.port.StackStore`` over ``sim.memstore``."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

import msgspec

from holdfast.sim.memstore import MemStore
from holdfast.stacks.model import (
    QUEUE,
    Delegation,
    Event,
    Resource,
    Source,
    Stack,
    View,
    resources_of,
    round_id,
)
from holdfast.stacks.records import EVENT, RESOURCE, STACK
from holdfast.stacks.records import inserted as resource_inserted
from holdfast.store.model import Hold, Json, QueuedJob, Write

OPERATIONS: Final = ("stack.resource", "stack.sequence")


def _names(kind: type[msgspec.Struct]) -> frozenset[str]:
    return frozenset(kind.__struct_fields__) - {"delegation"}


PRODUCTS: Final[Mapping[str, frozenset[str]]] = {
    STACK: _names(Stack),
    RESOURCE: _names(Resource),
    EVENT: _names(Event),
}
"""What ``MemStore`` has to know of the rows of stacks."""


class MemStacks:
    """Every method runs without giving way: one transaction."""

    def __init__(self, store: MemStore) -> None:
        self._store = store
        self._t = store.tables
        self._sources: dict[UUID, Source] = {}
        self._delegations: dict[UUID, Delegation] = {}
        self._signals: dict[UUID, list[dict[str, object]]] = {}

    # -- what the API does ----------------------------------------------------------

    async def begin(self, stack: Stack, source: Source | None = None) -> None:
        """Write a traversal as a request does, with its root job."""
        await self._store.enqueue([self._root(stack)])
        self._put(stack, source)

    def put_signal(self, resource: UUID, payload: dict[str, object]) -> None:
        self._signals.setdefault(resource, []).append(payload)

    def stacks(self) -> list[Stack]:
        return [self._stack(row) for row in self._t.products[STACK].values()]

    def events(self, stack: UUID) -> list[Event]:
        rows = (row for row in self._t.products[EVENT].values() if _uuid(row["stack"]) == stack)
        return [msgspec.convert(row, Event, strict=False) for row in rows]

    def add_row(self, row: Resource) -> None:
        self._t.write([resource_inserted(row)])

    # -- the port -------------------------------------------------------------------

    async def stack(self, stack: UUID) -> Stack | None:
        row = self._t.products[STACK].get(stack)
        return None if row is None else self._stack(row)

    async def source(self, source: UUID) -> Source | None:
        return self._sources.get(source)

    async def rows(self, stack: UUID) -> list[Resource]:
        found = [
            msgspec.convert(row, Resource, strict=False)
            for row in self._t.products[RESOURCE].values()
            if _uuid(row["stack"]) == stack
        ]
        return sorted(found, key=lambda row: (row.created_at, row.name, row.id))

    async def view(self, stack: UUID, row: UUID, names: Collection[str]) -> View | None:
        found = await self.stack(stack)
        if found is None:
            return None
        versions = await self.rows(stack)
        others: dict[str, Resource] = {}
        for one in sorted(
            versions, key=lambda one: (one.traversal == found.traversal, one.created_at)
        ):
            if one.name in names:
                others[one.name] = one
        return View(
            stack=found,
            row=next((one for one in versions if one.id == row), None),
            others=others,
            failed=any(
                one.status == "FAILED" and one.traversal == found.traversal for one in versions
            ),
        )

    async def nested(self, resource: UUID) -> Stack | None:
        for row in self._t.products[STACK].values():
            if row["owner"] is not None and _uuid(row["owner"]) == resource:
                found = self._stack(row)
                if found.deleted_at is None:
                    return found
        return None

    async def converge(self, hold: Hold, job: UUID, stack: Stack, source: Source | None) -> Stack:
        self._t.check_hold(hold, self._t.jobs[job])
        there = await self.stack(stack.id)
        if there is not None and there.traversal >= stack.traversal:
            return there
        await self._store.enqueue([self._root(stack)])
        self._put(stack, source)
        if there is not None:
            await self.stop(stack.id, stack.traversal - 1, begun=False)
        return stack

    async def stop(self, stack: UUID, traversal: int, *, begun: bool) -> int:
        found = self._t.products[STACK].get(stack)
        if found is None:
            return 0
        upto = min(traversal, found["traversal"])
        touched = 0
        if found["stopped"] < upto:
            rounds = range(found["stopped"] + 1, upto + 1)
            found["stopped"] = upto
            for number in rounds:
                head = round_id(stack, number, "apply")
                touched += await self._store.cancel_under(head, OPERATIONS, begun=begun)
        for row in await self.rows(stack):
            inner = await self.nested(row.id)
            if inner is not None and inner.around <= upto:
                touched += await self.stop(inner.id, inner.traversal, begun=begun)
        return touched

    async def trim_events(self, stack: UUID, keep: int) -> int:
        rows = self._t.products[EVENT]
        old = sorted(self.events(stack), key=lambda event: event.at)[:-keep]
        for event in old:
            del rows[event.id]
        return len(old)

    async def count_resources(self, root: UUID) -> int:
        stacks = [one.id for one in self.stacks() if one.root == root and one.deleted_at is None]
        return len({(row.stack, row.name) for one in stacks for row in await self.rows(one)})

    async def signals(self, resource: UUID) -> Sequence[dict[str, object]]:
        return list(self._signals.get(resource, ()))

    async def peer(self, stack: UUID, physical_id: str) -> Resource | None:
        found = [
            row
            for one in sorted(self.stacks(), key=lambda one: one.id != stack)
            for row in await self.rows(one.id)
            if row.physical_id == physical_id
        ]
        return found[0] if found else None

    def columns(self, row: UUID, documents: dict[str, Json], *, secret: bool) -> dict[str, Json]:
        return documents

    # -- rows -----------------------------------------------------------------------

    def _root(self, stack: Stack) -> QueuedJob:
        return QueuedJob(
            id=round_id(stack.id, stack.traversal, "apply"),
            kind="stack.round",
            queue=QUEUE,
            args={"stack": str(stack.id), "traversal": stack.traversal, "phase": "apply"},
            exclusive=(resources_of(stack.id),),
        )

    def _put(self, stack: Stack, source: Source | None) -> None:
        values: dict[str, Any] = msgspec.to_builtins(stack)
        del values["delegation"], values["id"]
        self._delegations[stack.root] = stack.delegation
        if source is not None:
            self._sources.setdefault(source.id, source)
        for verb in ("insert", "update"):
            kept = ("stopped", "created_at") if verb == "update" else ()
            chosen = {name: value for name, value in values.items() if name not in kept}
            self._t.write([Write(verb=verb, kind=STACK, id=stack.id, values=chosen)])

    def _stack(self, row: Mapping[str, Json]) -> Stack:
        found = dict(row)
        found["delegation"] = self._delegations[_uuid(row["root"])]
        found["delegation"] = msgspec.to_builtins(found["delegation"])
        return msgspec.convert(found, Stack, strict=False)


def _uuid(value: Json) -> UUID:
    return value if isinstance(value, UUID) else UUID(value)
