"""Stacks as they are listed and found: one query each."""

# ruff: noqa: S608 - statements are put together from our own columns, values are parameters
from __future__ import annotations

from typing import Literal
from uuid import UUID

import msgspec

from holdfast.errors import InvalidInputError, NotFoundError
from holdfast.stacks.errors import EntityNotFoundError
from holdfast.stacks.model import Action, Stack, Status
from holdfast.stacks.tables import FROM_STACKS, STACKS, stack_of
from holdfast.store.pg.database import Database, Row

HIDDEN_TAGS = ("data-processing-cluster",)
"""Stacks with one of these tags are listed only when asked for (Heat: hidden_stack_tags)."""

_FROM = f"""{FROM_STACKS}
  left join stack_resource o on o.id = s.owner
  left join stack_source c on c.id = s.source"""
_COLUMNS = f"{STACKS}, o.stack as parent, o.name as parent_resource, c.description"
_SORTS = {
    "stack_name": "s.name",
    "name": "s.name",
    "stack_status": "s.status",
    "status": "s.status",
    "creation_time": "s.created_at",
    "created_at": "s.created_at",
    "updated_time": "coalesce(s.updated_at, s.created_at)",
    "updated_at": "coalesce(s.updated_at, s.created_at)",
    "id": "s.id",
}
_ACTIONS = frozenset(action.value for action in Action)
_STATUSES = frozenset(status.value for status in Status)
_FILTERS = {
    "id": "s.id::text",
    "name": "s.name",
    "action": "s.action",
    "status": "s.status",
    "reason": "s.reason",
    "project": "s.project",
    "owner": "d.user_name",
    "parent": "o.stack::text",
}


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """A stack with what lists show beside it. ``parent``: the stack it is nested in."""

    stack: Stack
    parent: UUID | None
    parent_resource: str | None
    description: str


class StackQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which stacks, in which order. ``project`` None: of all projects.

    ``filters``: any of the values, by ``id``, ``name``, ``action``, ``status``, ``reason``,
    ``owner`` (a user's name), ``parent`` (a stack's id), ``project``. ``tags``: all of them,
    ``tags_any``: one of them; ``not_tags``: not all of them, ``not_tags_any``: none of them.
    """

    project: str | None
    filters: dict[str, tuple[str, ...]] = {}
    tags: tuple[str, ...] = ()
    tags_any: tuple[str, ...] = ()
    not_tags: tuple[str, ...] = ()
    not_tags_any: tuple[str, ...] = ()
    show_deleted: bool = False
    show_nested: bool = False
    show_hidden: bool = False
    limit: int | None = None
    marker: str | None = None
    sort_keys: tuple[str, ...] = ()
    sort_dir: Literal["asc", "desc"] | None = None


class StackReader:
    """Finds and lists stacks. What a project may not know of is not there."""

    def __init__(self, db: Database, page_max: int) -> None:
        self._db = db
        self._page_max = page_max

    async def page(self, query: StackQuery) -> list[Listed]:
        """A page. Raises ``InvalidInputError`` for a sort key or marker that is none."""
        where = _Where()
        self._restrict(where, query)
        keys = _sort_keys(query)
        descending = query.sort_dir == "desc" if query.sort_dir else not query.sort_keys
        if query.marker is not None:
            await self._after(where, query.marker, keys, descending=descending)
        order = ", ".join(f"{key} {'desc' if descending else 'asc'}" for key in keys)
        limit = min(query.limit or self._page_max, self._page_max)
        rows = await self._db.fetch(
            f"select {_COLUMNS} from {_FROM} where {where.sql} order by {order} limit {limit}",
            *where.values,
        )
        return [_listed(row) for row in rows]

    async def count(self, query: StackQuery) -> int:
        """How many there are on all pages together."""
        where = _Where()
        self._restrict(where, query)
        return await self._db.fetchval(
            f"select count(*) from {_FROM} where {where.sql}", *where.values
        )

    async def find(self, project: str | None, ident: str, *, deleted: bool = True) -> Listed:
        """The stack of this id or name; by its name one that is not deleted.

        Raises ``EntityNotFoundError``.
        """
        uuid = as_uuid(ident)
        where = _Where()
        if project is not None:
            where.add("s.project = {}", project)
        if uuid is not None:
            where.add("s.id = {}", uuid)
        else:
            where.add("s.name = {}", ident)
        if uuid is None or not deleted:
            where.add("s.deleted_at is null")
        rows = await self._db.fetch(
            f"select {_COLUMNS} from {_FROM} where {where.sql} "
            "order by s.depth, s.created_at desc limit 1",
            *where.values,
        )
        if not rows:
            raise not_found(ident)
        return _listed(rows[0])

    async def named(
        self, project: str | None, name: str, ident: str, *, deleted: bool = False
    ) -> Listed:
        """The stack of this id, which has this name, too. Raises ``EntityNotFoundError``."""
        if as_uuid(ident) is None:
            raise not_found(ident)
        found = await self.find(project, ident, deleted=deleted)
        if found.stack.name != name:
            raise not_found(ident)
        return found

    def _restrict(self, where: _Where, query: StackQuery) -> None:
        if query.project is not None:
            where.add("s.project = {}", query.project)
        if not query.show_deleted:
            where.add("s.deleted_at is null")
        if not query.show_nested and "parent" not in query.filters:
            where.add("s.owner is null")
        if not query.show_hidden:
            where.add("not s.tags && {}::text[]", list(HIDDEN_TAGS))
        for tags, condition in (
            (query.tags, "s.tags @> {}::text[]"),
            (query.tags_any, "s.tags && {}::text[]"),
            (query.not_tags, "not s.tags @> {}::text[]"),
            (query.not_tags_any, "not s.tags && {}::text[]"),
        ):
            if tags:
                where.add(condition, list(tags))
        for name, values in query.filters.items():
            if name == "status":
                _add_status(where, values)
            elif name in _FILTERS:
                where.add(f"{_FILTERS[name]} = any({{}}::text[])", list(values))

    async def _after(
        self, where: _Where, marker: str, keys: list[str], *, descending: bool
    ) -> None:
        uuid = as_uuid(marker)
        row = None
        if uuid is not None:
            row = await self._db.fetchrow(
                f"select {', '.join(keys)} from {_FROM} where s.id = $1", uuid
            )
        if row is None:
            raise NotFoundError(f"The marker {marker} could not be found.")
        places = [where.place(value) for value in row.values()]
        sign = "<" if descending else ">"
        where.add(f"({', '.join(keys)}) {sign} ({', '.join(places)})")


class _Where:
    """Conditions, and the values that they are about."""

    def __init__(self) -> None:
        self.values: list[object] = []
        self._parts = ["true"]

    @property
    def sql(self) -> str:
        return " and ".join(self._parts)

    def place(self, value: object) -> str:
        """The place of one more value."""
        self.values.append(value)
        return f"${len(self.values)}"

    def add(self, condition: str, *values: object) -> None:
        """One more condition, with ``{}`` for each value."""
        self._parts.append(condition.format(*(self.place(value) for value in values)))


def as_uuid(ident: str) -> UUID | None:
    """The UUID that a text is, if it is one."""
    try:
        return UUID(ident)
    except ValueError:
        return None


def not_found(ident: str) -> EntityNotFoundError:
    """What to say of a stack that is not there."""
    return EntityNotFoundError(f"The Stack ({ident}) could not be found.")


def _listed(row: Row) -> Listed:
    return Listed(
        stack=stack_of(row),
        parent=row["parent"],
        parent_resource=row["parent_resource"],
        description=row["description"] or "",
    )


def _sort_keys(query: StackQuery) -> list[str]:
    keys: list[str] = []
    for name in query.sort_keys or ("creation_time",):
        if name not in _SORTS:
            raise InvalidInputError(
                f"stacks cannot be sorted by {name!r}; they can by: "
                "stack_name, stack_status, creation_time, updated_time"
            )
        keys.append(_SORTS[name])
    return list(dict.fromkeys((*keys, "s.id")))


def _add_status(where: _Where, values: tuple[str, ...]) -> None:
    """``COMPLETE`` or ``CREATE_COMPLETE``, any of them."""
    options: list[str] = []
    for value in values:
        action, _, status = value.upper().rpartition("_")
        if value.upper().endswith("IN_PROGRESS"):
            action, status = value.upper()[: -len("IN_PROGRESS")].rstrip("_"), "IN_PROGRESS"
        if status not in _STATUSES or (action and action not in _ACTIONS):
            raise InvalidInputError(
                f"there is no status {value!r}: use one such as COMPLETE or CREATE_FAILED"
            )
        if action:
            options.append(
                f"(s.action = {where.place(action)} and s.status = {where.place(status)})"
            )
        else:
            options.append(f"s.status = {where.place(status)}")
    where.add(f"({' or '.join(options) or 'false'})")
