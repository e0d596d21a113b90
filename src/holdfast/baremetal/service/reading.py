"""Reading for the wire: one query a page, straight from the database (I3).

The query selects just what is shown, each column already as it goes out; JSON
columns pass through as text, undecoded. What a row costs is what is asked of it.
"""

# ruff: noqa: S608 - expressions come from our own tables, values are parameters
from __future__ import annotations

from functools import lru_cache
from typing import Any
from uuid import UUID

import msgspec

from holdfast.baremetal.resources import (
    ALLOCATIONS,
    NODES,
    PORTGROUPS,
    PORTS,
    Resource,
)
from holdfast.baremetal.service.filters import (
    AllocationFilter,
    NodeFilter,
    Order,
    PageQuery,
    PortFilter,
    PortgroupFilter,
    Where,
    add_node_filter,
    add_port_filter,
    order_of,
)
from holdfast.baremetal.service.rows import find_node, ident_condition, visible
from holdfast.errors import InvalidInputError, NotFoundError
from holdfast.identity.policy import Caller
from holdfast.store.pg.database import Database

Document = dict[str, Any]
_JOINS = {
    "owner": (
        "left join shard_claim c on c.grp = n.grp and c.shard = n.shard "
        "left join member m on m.id = c.owner and m.epoch = c.incarnation and m.state <> 'gone'"
    ),
    "job": "left join job j on j.object_id = n.uuid and j.state in ('queued', 'running')",
}


_HIDDEN = "shown to the project that owns the node only"
_HIDDEN_JSON = msgspec.Raw(msgspec.json.encode({"hidden": _HIDDEN}))


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """The compiled part of a query: ``select … from … join …``, and which columns are JSON.

    ``hidden``: those that only owners are shown; whose the row is then comes as ``_owners``.
    """

    sql: str
    json: tuple[str, ...]
    hidden: tuple[str, ...] = ()


@lru_cache(maxsize=1024)
def selection(
    resource: Resource,
    names: tuple[str, ...],
    joins: tuple[str, ...] = (),
    *,
    everywhere: bool = True,
) -> Selection:
    """Compile a list of fields. The UUID always comes along, as ``_uuid``.

    ``everywhere``: for a caller who may see all there is.
    """
    fields = [resource.fields[name] for name in names if resource.fields[name].kind != "links"]
    wanted = {join for field in fields for join in field.joins} | set(joins)
    columns = [f"{resource.alias}.uuid::text as _uuid", *(f"{f.sql} as {f.name}" for f in fields)]
    hidden = () if everywhere else tuple(n for n in names if n in resource.owners_only)
    if hidden:
        columns.append(f"array[{resource.alias}.project, {resource.alias}.owner] as _owners")
    sources = [resource.source, *(sql for name, sql in _JOINS.items() if name in wanted)]
    return Selection(
        sql=f"select {', '.join(columns)} from {' '.join(sources)}",
        json=tuple(field.name for field in fields if field.kind == "json"),
        hidden=hidden,
    )


def documents(records: list[Any], chosen: Selection, project: str | None = None) -> list[Document]:
    """Records as they go out to a project; JSON stays the text it is."""
    raw = msgspec.Raw
    found: list[Document] = []
    for record in records:
        document = dict(record)
        for name in chosen.json:
            document[name] = raw(document[name])
        if chosen.hidden and project not in document.pop("_owners"):
            _hide(document, chosen)
        found.append(document)
    return found


def _hide(document: Document, chosen: Selection) -> None:
    """Take out what a lessee is not shown (Ironic: ``baremetal:node:get:driver_info`` …)."""
    for name in chosen.hidden:
        if document[name] is not None:
            document[name] = _HIDDEN_JSON if name in chosen.json else _HIDDEN


class Reader:
    """Pages and single objects. Each document has ``_uuid`` beside the fields asked for."""

    def __init__(self, db: Database, page_max: int) -> None:
        self._db = db
        self._page_max = page_max

    def page_size(self, asked: int | None) -> int:
        """How many items a page gets. Raises ``InvalidInputError`` for less than none."""
        if asked is not None and asked < 0:
            raise InvalidInputError("limit must not be negative; leave it out for a full page")
        return min(asked or self._page_max, self._page_max)

    async def nodes(self, caller: Caller, asked: NodeFilter, query: PageQuery) -> list[Document]:
        """A page of nodes."""
        where = Where()
        add_node_filter(where, asked)
        joins = ("owner",) if asked.conductor is not None else ()
        return await self.page(NODES, caller, query, where, joins)

    async def ports(self, caller: Caller, asked: PortFilter, query: PageQuery) -> list[Document]:
        """A page of ports. Raises ``NotFoundError`` if what it names is not there."""
        where, group = Where(), None
        node = await self._node_asked(caller, asked.node)
        if asked.portgroup is not None:
            group = UUID((await self.one(PORTGROUPS, caller, asked.portgroup, ()))["_uuid"])
        add_port_filter(where, asked, node, group)
        return await self.page(PORTS, caller, query, where)

    async def portgroups(
        self, caller: Caller, asked: PortgroupFilter, query: PageQuery
    ) -> list[Document]:
        """A page of port groups. Raises ``NotFoundError`` if the node it names is not there."""
        where = Where()
        if asked.address is not None:
            where.add("g.address = {}", asked.address.lower())
        if (node := await self._node_asked(caller, asked.node)) is not None:
            where.add("g.node_uuid = {}", node)
        return await self.page(PORTGROUPS, caller, query, where)

    async def allocations(
        self, caller: Caller, asked: AllocationFilter, query: PageQuery
    ) -> list[Document]:
        """A page of allocations. Raises ``NotFoundError`` if the node it names is not there."""
        where = Where()
        for name in ("state", "resource_class", "owner"):
            if (value := getattr(asked, name)) is not None:
                where.add(f"a.{name} = {{}}", value)
        if (node := await self._node_asked(caller, asked.node)) is not None:
            where.add("a.node_uuid = {}", node)
        return await self.page(ALLOCATIONS, caller, query, where)

    async def _node_asked(self, caller: Caller, ident: str | None) -> UUID | None:
        return None if ident is None else (await find_node(self._db, caller, ident)).uuid

    async def page(
        self,
        resource: Resource,
        caller: Caller,
        query: PageQuery,
        where: Where | None = None,
        joins: tuple[str, ...] = (),
    ) -> list[Document]:
        """A page of anything, of what the caller may know of."""
        where = where or Where()
        if not caller.everywhere:
            where.add(resource.visible_to(caller, "{}"), caller.project_id)
        order = order_of(resource, query, caller)
        if query.marker is not None:
            value = await self._marker_value(resource, caller, order, query.marker)
            order.add_after(where, query.marker, value)
        chosen = selection(resource, query.fields, joins, everywhere=caller.everywhere)
        sql = (
            f"{chosen.sql} where {where.sql} order by {order.sql} "
            f"limit {self.page_size(query.limit)}"
        )
        records = await self._db.fetch(sql, *where.params)
        return documents(records, chosen, caller.project_id)

    async def _marker_value(
        self, resource: Resource, caller: Caller, order: Order, marker: UUID
    ) -> Any:
        """Its sort key. What the caller may not know of is not there."""
        record = await self._db.fetchrow(
            f"select {order.key} from {resource.source} where {order.uuid} = $1 "
            f"and {resource.visible_to(caller, '$2')}",
            marker,
            caller.project_id,
        )
        if record is None:
            raise NotFoundError(f"The marker {marker} could not be found.")
        return record[0]

    async def node(self, caller: Caller, ident: str, fields: tuple[str, ...]) -> Document:
        """One node by UUID or name."""
        return await self.one(NODES, caller, ident, fields)

    async def one(
        self, resource: Resource, caller: Caller, ident: str, fields: tuple[str, ...]
    ) -> Document:
        """One thing by its UUID, or by its name if it can have one."""
        condition, value = ident_condition(ident, resource.alias, named=resource.named)
        chosen = selection(resource, fields, everywhere=caller.everywhere)
        record = await self._db.fetchrow(
            f"{chosen.sql} where {condition} and {resource.visible_to(caller, '$2')}",
            value,
            caller.project_id,
        )
        if record is None:
            raise NotFoundError(f"{resource.name} {ident} could not be found.")
        return documents([record], chosen, caller.project_id)[0]

    async def children(self, caller: Caller, ident: str) -> list[str]:
        """UUIDs of the nodes whose parent this one is."""
        parent = (await find_node(self._db, caller, ident)).uuid
        records = await self._db.fetch(
            f"select n.uuid::text as uuid from node n where n.parent_node = $1 "
            f"and {visible(caller, '$2')} order by n.created_at, n.uuid",
            parent,
            caller.project_id,
        )
        return [record["uuid"] for record in records]

    async def shards(self) -> list[dict[str, Any]]:
        """Every shard that a node says it is of (``name``), and how many do (``count``)."""
        records = await self._db.fetch(
            "select shard_key as name, count(*) as count from node "
            "group by shard_key order by shard_key nulls first"
        )
        return [dict(record) for record in records]

    async def traits(self, caller: Caller, ident: str) -> list[str]:
        """A node's traits."""
        return (await self.node(caller, ident, ("traits",)))["traits"]
