"""What is to be done to a stack, decided: pure functions from rows and wishes to operations.

A traversal has up to three phases, each planned from the rows as they are then:

``apply``   every resource that the template wants becomes what it says, each after those it
            requires; nothing is taken away yet (create before delete).
``clean``   what the template does not want, or what was replaced, goes, each before what it
            was made with. Only if everything wanted is there.
``settle``  the stack is COMPLETE or FAILED, or goes back to what it was before (ROLLBACK).

A plan depends on nothing that its own operations change, so whoever makes it again after a
crash finds the same operations under the same ids.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import StrEnum
from uuid import UUID

import msgspec

from holdfast.stacks.model import Action, Op, Resource, Stack, Status, operation_id, resource_id

OPS = {Action.CHECK: Op.CHECK, Action.SUSPEND: Op.SUSPEND, Action.RESUME: Op.RESUME}


class Phase(StrEnum):
    """Where a traversal is."""

    APPLY = "apply"
    CLEAN = "clean"
    SETTLE = "settle"


class Wanted(msgspec.Struct, frozen=True):
    """A resource as a template wants it. ``requires``: the names that must be there first."""

    type: str
    requires: frozenset[str] = frozenset()


Wishes = Mapping[str, Wanted]
"""By name, each after all it requires."""


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One operation. ``after``: the ids of those (of this plan) that must have succeeded."""

    id: UUID
    op: Op
    action: Action
    row: UUID
    name: str
    type: str
    after: tuple[UUID, ...] = ()


class Plan(msgspec.Struct, frozen=True):
    """``inserts``: versions that are to be there before the first operation begins."""

    items: tuple[Item, ...] = ()
    inserts: tuple[Resource, ...] = ()

    @property
    def sinks(self) -> tuple[UUID, ...]:
        """The operations that no other one comes after: once these have passed, all have."""
        before = {pred for item in self.items for pred in item.after}
        return tuple(item.id for item in self.items if item.id not in before)


def plan(stack: Stack, wishes: Wishes, rows: Sequence[Resource], phase: Phase, now: float) -> Plan:
    """The operations of a phase. ``wishes`` is empty for a stack that is deleted."""
    if phase is Phase.SETTLE:
        return Plan()
    if phase is Phase.CLEAN:
        return _clean(stack, wishes, rows)
    if stack.action in OPS:
        return _act(stack, OPS[stack.action], wishes, rows)
    return _apply(stack, wishes, rows, now)


def _apply(stack: Stack, wishes: Wishes, rows: Sequence[Resource], now: float) -> Plan:
    versions = _by_name(rows)
    items: list[Item] = []
    inserts: list[Resource] = []
    for name, wanted in wishes.items():
        row = best(stack, versions.get(name, ()))
        if row is None:
            row = Resource(
                id=resource_id(stack.id, stack.traversal, name),
                stack=stack.id,
                name=name,
                type=wanted.type,
                created_at=now,
            )
            inserts.append(row)
        items.append(
            Item(
                id=operation_id(stack.id, stack.traversal, Op.APPLY, name),
                op=Op.APPLY,
                action=_action(stack, row),
                row=row.id,
                name=name,
                type=wanted.type,
                after=_operations(stack, Op.APPLY, wanted.requires & wishes.keys()),
            )
        )
    return Plan(tuple(items), tuple(inserts))


def _action(stack: Stack, row: Resource) -> Action:
    if row.exists:
        return Action.UPDATE
    return Action.ADOPT if stack.action is Action.ADOPT else Action.CREATE


def _act(stack: Stack, op: Op, wishes: Wishes, rows: Sequence[Resource]) -> Plan:
    """CHECK in any order, SUSPEND users before what they use, RESUME the other way round."""
    versions = _by_name(rows)
    present = {name: best(stack, versions.get(name, ())) for name in wishes}
    users: dict[str, set[str]] = defaultdict(set)
    for name, wanted in wishes.items():
        for required in wanted.requires:
            users[required].add(name)
    items: list[Item] = []
    for name, row in present.items():
        if row is None or not row.exists:
            continue
        first: Iterable[str] = ()
        if op is not Op.CHECK:
            first = wishes[name].requires if op is Op.RESUME else users[name]
        known = {one for one in first if (other := present.get(one)) and other.exists}
        items.append(
            Item(
                id=operation_id(stack.id, stack.traversal, op, name),
                op=op,
                action=stack.action,
                row=row.id,
                name=name,
                type=row.type,
                after=_operations(stack, op, known),
            )
        )
    return Plan(tuple(items))


def _clean(stack: Stack, wishes: Wishes, rows: Sequence[Resource]) -> Plan:
    kept = {row.id for row in current(stack, wishes, rows).values()}
    if stack.action in OPS or missing(stack, wishes, rows):
        return Plan()
    doomed = {row.id: row for row in rows if row.id not in kept}
    users: dict[UUID, list[UUID]] = defaultdict(list)
    for row in doomed.values():
        for required in row.requires:
            users[required].append(row.id)
    return Plan(
        tuple(
            Item(
                id=operation_id(stack.id, stack.traversal, Op.DELETE, row.id),
                op=Op.DELETE,
                action=Action.DELETE,
                row=row.id,
                name=row.name,
                type=row.type,
                after=_operations(stack, Op.DELETE, users[row.id]),
            )
            for row in doomed.values()
        )
    )


def best(stack: Stack, versions: Collection[Resource]) -> Resource | None:
    """The version of a resource to go on with, if one of them may be.

    What this traversal has made or touched; else what was made of the source that is wanted
    now (going back finds the old version, while its successor failed); else what is well; else
    the newest. Never one whose deletion has begun.
    """
    usable = [row for row in versions if row.action is not Action.DELETE]
    return max(
        usable,
        default=None,
        key=lambda row: (
            row.traversal == stack.traversal,
            row.source == stack.source,
            row.status is Status.COMPLETE and row.exists,
            row.traversal,
            row.created_at,
            row.id,
        ),
    )


def current(stack: Stack, wishes: Wishes, rows: Sequence[Resource]) -> dict[str, Resource]:
    """Of every name that is wanted the version that is used, if there is one."""
    versions = _by_name(rows)
    found = {name: best(stack, versions.get(name, ())) for name in wishes}
    return {name: row for name, row in found.items() if row is not None}


def missing(stack: Stack, wishes: Wishes, rows: Sequence[Resource]) -> list[str]:
    """The names that are wanted and not (yet) as this traversal wants them."""
    used = current(stack, wishes, rows)
    return [name for name in wishes if not _is_done(stack, used.get(name))]


def _is_done(stack: Stack, row: Resource | None) -> bool:
    if row is None or row.status is not Status.COMPLETE or row.traversal != stack.traversal:
        return stack.action in OPS and row is not None and not row.exists
    return row.exists


def failures(stack: Stack, rows: Iterable[Resource]) -> list[Resource]:
    """What failed in this traversal, the earliest first."""
    failed = (
        row for row in rows if row.status is Status.FAILED and row.traversal == stack.traversal
    )
    return sorted(failed, key=lambda row: (row.updated_at or row.created_at, row.name))


def sequence(plan: Plan) -> list[Item]:
    """All operations in one line that respects their order (``convergence = false``)."""
    items = {item.id: item for item in plan.items}
    waiting = {item.id: {pred for pred in item.after if pred in items} for item in plan.items}
    users: dict[UUID, list[UUID]] = defaultdict(list)
    for item in plan.items:
        for pred in waiting[item.id]:
            users[pred].append(item.id)
    ready = [key for key, preds in waiting.items() if not preds]
    line: list[Item] = []
    for key in ready:
        line.append(items[key])
        for user in users[key]:
            waiting[user].discard(key)
            if not waiting[user]:
                ready.append(user)
    return line


def _by_name(rows: Iterable[Resource]) -> dict[str, list[Resource]]:
    versions: dict[str, list[Resource]] = defaultdict(list)
    for row in rows:
        versions[row.name].append(row)
    return versions


def _operations(stack: Stack, op: Op, keys: Iterable[str | UUID]) -> tuple[UUID, ...]:
    ids = (operation_id(stack.id, stack.traversal, op, key) for key in keys)
    return tuple(sorted(ids))
