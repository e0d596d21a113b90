"""Resources and events of a stack and of those nested in it: one query each."""

# ruff: noqa: S608 - statements are put together from our own columns, values are parameters
from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal
from uuid import UUID

import msgspec

from holdfast.errors import InvalidInputError, NotFoundError
from holdfast.stacks.model import Action, Event, Resource, Stack, Status
from holdfast.stacks.service.reading import as_uuid
from holdfast.stacks.tables import EVENTS, RESOURCE, Record, event_of
from holdfast.stacks.tables import RESOURCES as COLUMNS
from holdfast.store.pg.database import Database

# $1: a stack. $2: how deep to go.
TREE = """
with recursive inner_of as materialized (
    select n.id, n.name, n.owner, r.stack as around, r.name as parent_resource
      from stack n join stack_resource r on r.id = n.owner
     where n.root = (select root from stack where id = $1) and $2::integer > 0
), tree (id, name, depth, parent_resource) as (
    select id, name, 0, null::text from stack where id = $1
     union all
    select i.id, i.name, t.depth + 1, i.parent_resource
      from tree t join inner_of i on i.around = t.id where t.depth < $2::integer
)"""
_HEAVY = ("properties", "attributes", "metadata", "data")
_LIGHT = "null::bytea as sealed, " + ", ".join(
    f"'{{}}'::jsonb as {name}" if name in _HEAVY else f"r.{name}"
    for name in RESOURCE.columns
    if name != "sealed"
)
_RESOURCES = """{tree}
select {columns}, t.name as stack_name, t.parent_resource, n.id as nested, n.name as nested_name
  from tree t join stack_resource r on r.stack = t.id
  left join stack n on n.owner = r.id and n.deleted_at is null
 order by t.depth, r.stack, r.created_at, r.name
"""
RESOURCES = _RESOURCES.format(tree=TREE, columns=_LIGHT)
WHOLE_RESOURCES = _RESOURCES.format(tree=TREE, columns=COLUMNS)
# A line is shown once nothing that was begun before it can still come in between: else one who
# reads on from the last line would never see that (store.pg.events). A line from the future is
# of a database that was restored from a dump.
EVENTS_OF = f"""{TREE}
select {EVENTS}, t.name as stack_name, t.parent_resource
  from tree t join stack_event e on e.stack = t.id
 where (e.txid < pg_snapshot_xmin(pg_current_snapshot())::text::bigint
        or e.txid >= pg_snapshot_xmax(pg_current_snapshot())::text::bigint)"""
_EVENT_FILTERS = {
    "resource_name": "e.name",
    "resource_type": "e.type",
    "resource_action": "e.action",
    "resource_status": "e.status",
    "uuid": "e.id::text",
}
_EVENT_SORTS = frozenset({"event_time", "created_at", "id", "uuid"})


class TreeResource(msgspec.Struct, frozen=True, kw_only=True):
    """A resource as lists show it: without its documents.

    ``nested``: the id and name of the stack that is its body. ``parent_resource``: the one
    that its own stack is the body of. ``required_by``: names.
    """

    row: Resource
    stack_name: str
    parent_resource: str | None
    nested: tuple[UUID, str] | None
    required_by: tuple[str, ...] = ()


class TreeEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A line of history and whose it is."""

    event: Event
    stack_name: str


class EventQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which lines. ``filters``: any of the values, by resource_name, _type, _action, _status."""

    depth: int = 0
    filters: dict[str, tuple[str, ...]] = {}
    limit: int | None = None
    marker: str | None = None
    sort_keys: tuple[str, ...] = ()
    sort_dir: Literal["asc", "desc"] = "asc"


class Trees:
    """Reads what is within stacks."""

    def __init__(self, db: Database, opened: Callable[[Record], Resource]) -> None:
        self._db = db
        self._opened = opened

    async def resources(
        self, stack: Stack, depth: int = 0, *, whole: bool = False
    ) -> list[TreeResource]:
        """Of every name in every stack of the tree the version that counts.

        ``whole``: with its attributes and other documents.
        """
        rows = await self._db.fetch(WHOLE_RESOURCES if whole else RESOURCES, stack.id, depth)
        found: dict[tuple[UUID, str], TreeResource] = {}
        names = {row["id"]: row["name"] for row in rows}
        users: dict[UUID, set[str]] = {}
        for row in rows:
            for required in row["requires"]:
                users.setdefault(required, set()).add(names[row["id"]])
        for row in rows:
            one = TreeResource(
                row=self._opened(row),
                stack_name=row["stack_name"],
                parent_resource=row["parent_resource"],
                nested=None if row["nested"] is None else (row["nested"], row["nested_name"]),
                required_by=tuple(sorted(users.get(row["id"], ()))),
            )
            key = (row["stack"], row["name"])
            other = found.get(key)
            if other is None or _rank(one.row) >= _rank(other.row):
                found[key] = one
        return list(found.values())

    async def events(self, stack: Stack, query: EventQuery) -> list[TreeEvent]:
        """A page of history, oldest first unless asked otherwise.

        Raises ``InvalidInputError`` for a sort key that is none, ``NotFoundError`` for a
        marker that is not there.
        """
        if unknown := set(query.sort_keys) - _EVENT_SORTS:
            raise InvalidInputError(
                f"events cannot be sorted by {', '.join(sorted(unknown))}: by event_time only"
            )
        sign = ">" if query.sort_dir == "asc" else "<"
        sql = EVENTS_OF
        values: list[object] = [stack.id, query.depth]
        for name, wanted in query.filters.items():
            values.append(list(wanted))
            sql += f" and {_EVENT_FILTERS[name]} = any(${len(values)}::text[])"
        if query.marker is not None:
            values.append(await self._known(query.marker))
            sql += (
                f" and (e.txid, e.seq) {sign} "
                f"(select m.txid, m.seq from stack_event m where m.id = ${len(values)})"
            )
        sql += f" order by e.txid {query.sort_dir}, e.seq {query.sort_dir}"
        if query.limit:
            sql += f" limit {query.limit}"
        rows = await self._db.fetch(sql, *values)
        return [TreeEvent(event=event_of(row), stack_name=row["stack_name"]) for row in rows]

    async def _known(self, marker: str) -> UUID:
        uuid = as_uuid(marker)
        if uuid is None or not await self._db.fetchval(
            "select true from stack_event where id = $1", uuid
        ):
            raise NotFoundError(f"The marker {marker} could not be found.")
        return uuid


def shown_rows(stack: Stack, rows: Iterable[Resource]) -> dict[str, Resource]:
    """Of every name the version that is shown, in the order of their making."""
    found: dict[str, Resource] = {}
    for row in rows:
        if row.stack == stack.id and (
            row.name not in found or _rank(row) >= _rank(found[row.name])
        ):
            found[row.name] = row
    return found


def _rank(row: Resource) -> tuple[bool, bool, int, float]:
    """What is going, or was never begun beside what exists, counts less than what is there."""
    return (
        row.action is not Action.DELETE,
        row.exists or row.status is not Status.COMPLETE,
        row.traversal,
        row.created_at,
    )
