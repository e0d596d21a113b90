"""The event log in PostgreSQL: written in the transaction of the change, read in commit order.

A read stops below the oldest transaction that may still be running
(``pg_snapshot_xmin``), so a position never passes a row that is not committed yet.
The price: a transaction that writes and stays open, anywhere in the PostgreSQL
cluster, holds the log's readers back for as long (none of ours may, see ``database``).
"""

# ruff: noqa: S608 - statements are put together from constants and the names in a TableSpec
from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from holdfast.store.events import (
    TEXT_CHARS_MAX,
    Event,
    EventFilter,
    EventPage,
    NewEvent,
    Order,
    Position,
)
from holdfast.store.pg.database import Connection, Database, Row
from holdfast.store.pg.notify import EVENTS
from holdfast.store.pg.tables import TableSpec

LOOKED_AT_MAX = 5_000  # rows one read looks at, however few of them it wants

COLUMNS = (
    "kind, result, user_id, actor, project, request, object_kind, object_id, object_name, "
    "projects, member, epoch, data"
)

# {place}: the parameter with a JSON array of NewEvent.
RECORD = f"""
    insert into event ({COLUMNS})
    select e.kind, e.result, e.user_id, e.actor, e.project, e.request,
           e.object_kind, e.object_id, e.object_name,
           coalesce(e.projects, '{{{{}}}}'), e.member, e.epoch, coalesce(e.data, '{{{{}}}}')
      from jsonb_to_recordset({{place}}::jsonb) as e (
           kind text, result text, user_id text, actor text, project text, request text,
           object_kind text, object_id text, object_name text,
           projects text[], member uuid, epoch bigint, data jsonb)"""
RECORD_ALONE = RECORD.format(place="$1")

# What an owner changes of its object: the watched fields before (n) and after (o), by the
# owner $3 under its claim $4. {said}: what else the data of each line says.
OBJECT_EVENTS = """
    insert into event (kind, result, actor, object_kind, object_id, object_name, projects,
                       member, epoch, data)
    select w.kind, w.result, {actor}, '{kind}', n.id::text, {name}, {projects}, $3, $4,
           w.data || {said}
      from {source},
           lateral (values {lines}) w (kind, result, happened, data)
     where w.happened"""
CHANGED = (
    "('{kind}', null::text, n.{field} is distinct from o.{field},"
    " jsonb_build_object('from', n.{field}, 'to', o.{field}))"
)
FAILED = (
    "('{kind}', null, o.{field} is not null and n.{field} is distinct from o.{field},"
    f" jsonb_build_object('error', left(o.{{field}}, {TEXT_CHARS_MAX})))"
)

# $1, $2: the position. One that lies in the future is from before the database was restored
# out of a dump, which begins a new count of transactions: see REBASE.
READ = """
with horizon as (
    select pg_snapshot_xmin(pg_current_snapshot()) as x
), looked as materialized (
    select e.* from event e
     where (e.txid, e.id) {beyond}
       and e.txid < (select x from horizon){object}
     order by e.txid {order}, e.id {order}
     limit $3
)
select (select x::text::bigint from horizon) as horizon,
       (select count(*) from looked) as looked_at,
       (select array[txid::text::bigint, id] from looked
         order by txid {back}, id {back} limit 1) as looked_to,
       hit.*
  from (select) one
  left join lateral (
      select l.txid::text::bigint as txid, l.id, l.at, l.member, m.slot, l.epoch,
             l.kind, l.result, l.user_id, l.actor, l.project, l.request,
             l.object_kind, l.object_id, l.object_name, l.projects, l.data
        from looked l left join member m on m.id = l.member
       where ($5::text[] is null or l.kind like any($5))
         and ($6::text is null or $6 = any(l.projects))
       order by l.txid {order}, l.id {order}
       limit $4) hit on true
 order by hit.txid {order}, hit.id {order}
"""
AFTER = """> (
               case when $1::text::xid8 > pg_snapshot_xmax(pg_current_snapshot())
                    then '1'::xid8 else $1::text::xid8 end, $2::bigint)"""
BEFORE = "< ($1::text::xid8, $2::bigint)"
OF_OBJECT = " and e.object_kind = $7 and e.object_id = $8"

PURGE = """
delete from event
 where (txid, id) in (
     select o.txid, o.id
       from (select txid, id, at from event order by txid, id limit $2) o
      where o.at < clock_timestamp() - $1::float8 * interval '1 second')
"""

# No row that can be seen was written by a transaction that is still to come, but after the
# database was restored out of a dump. Those rows come before all that is written now.
REBASE = """
update event set txid = '1'
 where (txid, id) in (
     select txid, id from event
      where txid >= pg_snapshot_xmax(pg_current_snapshot())
      order by txid, id limit $1)
"""


class PgEvents:
    """``store.port.EventStore`` on PostgreSQL."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def events(
        self,
        after: Position | None,
        limit: int,
        where: EventFilter | None = None,
        *,
        order: Order = "oldest",
    ) -> EventPage:
        where = where or EventFilter()
        where.check()
        filtered = bool(where.kinds) or where.visible_to is not None
        looked_at_max = LOOKED_AT_MAX if filtered else limit
        start = after or (Position(0, 0) if order == "oldest" else Position(2**63 - 1, 0))
        rows = await self._db.fetch(
            _read(order, of_object=where.object is not None),
            str(start.txid),
            start.id,
            looked_at_max,
            limit,
            [_pattern(kind) for kind in where.kinds] or None,
            where.visible_to,
            *(where.object or ()),
        )
        return _page(rows, limit, looked_at_max)

    async def record(self, events: Sequence[NewEvent]) -> None:
        await self._db.execute(RECORD_ALONE, list(events))
        self._db.hint(EVENTS)

    async def purge_events(self, keep_s: float, limit: int) -> int:
        await self._db.execute(REBASE, limit)
        return await self._db.execute(PURGE, keep_s, limit)


async def record(conn: Connection, *events: NewEvent) -> None:
    """Write events in a transaction of the caller's: the audit of what it changes.

    Call ``Database.hint("events")`` once it is committed, if readers shall know soon.
    """
    if events:
        await conn.execute(RECORD_ALONE, list(events))


def object_events(
    spec: TableSpec,
    kind: str,
    fields: Sequence[str],
    *,
    said: str,
    actor: str = "null",
    source: str = "n, o",
    lines: Sequence[str] = (),
) -> str:
    """An insert of the events of an object's change, for a statement of its owner's.

    ``fields``: those written; the watched ones are compared between ``n`` and ``o``.
    ``lines``: further rows (kind, result, happened, data).
    """
    watch = spec.watch
    compared = [
        (FAILED if field == watch.error else CHANGED).format(
            kind=watch.event_kind(kind, field), field=field
        )
        for field in watch.watched(fields)
    ]
    return OBJECT_EVENTS.format(
        actor=actor,
        kind=kind,
        name=name_of(spec),
        projects=projects_of(spec),
        source=source,
        lines=", ".join([*lines, *compared]),
        said=said,
    )


def name_of(spec: TableSpec) -> str:
    """What people call the object in row ``n``, as SQL."""
    return f"n.{spec.watch.name}" if spec.watch.name else "null"


def projects_of(spec: TableSpec) -> str:
    """The projects whose members may see events of the object in row ``n``, as SQL."""
    columns = ", ".join(f"n.{name}" for name in spec.watch.projects)
    return f"array_remove(array[{columns}], null)" if columns else "'{}'::text[]"


@lru_cache(maxsize=4)
def _read(order: Order, *, of_object: bool) -> str:
    oldest = order == "oldest"
    return READ.format(
        beyond=AFTER if oldest else BEFORE,
        order="asc" if oldest else "desc",
        back="desc" if oldest else "asc",
        object=OF_OBJECT if of_object else "",
    )


def _pattern(kind: str) -> str:
    """A kind as LIKE reads it."""
    literal = kind.removesuffix("*").replace("_", r"\_")
    return f"{literal}%" if kind.endswith("*") else literal


def _page(rows: list[Row], limit: int, looked_at_max: int) -> EventPage:
    """The rows of READ; there is at least one, and it has no event if none was found."""
    first = rows[0]
    found = tuple(_event(row) for row in rows if row["txid"] is not None)
    if len(found) == limit:
        return EventPage(found, found[-1].position, more=True)
    if first["looked_at"] == looked_at_max:
        txid, number = first["looked_to"]
        return EventPage(found, Position(txid, number), more=True)
    return EventPage(found, Position(first["horizon"], 0), more=False)


def _event(row: Row) -> Event:
    return Event(
        position=Position(row["txid"], row["id"]),
        at=row["at"],
        kind=row["kind"],
        object_kind=row["object_kind"],
        object_id=row["object_id"],
        object_name=row["object_name"],
        projects=tuple(row["projects"]),
        result=row["result"],
        user_id=row["user_id"],
        actor=row["actor"],
        project=row["project"],
        request=row["request"],
        member=row["member"],
        slot=row["slot"],
        epoch=row["epoch"],
        data=row["data"],
    )
