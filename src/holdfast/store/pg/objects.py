"""Owned objects as documents, their places in shards, and the routes to their BMCs."""

# ruff: noqa: S608 - statements are put together from constants and the names in a TableSpec
from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from uuid import UUID

from holdfast.errors import ConflictError, NotFoundError
from holdfast.store.events import told
from holdfast.store.model import Fence, Json, ObjectRef, RouteGrant
from holdfast.store.pg.database import Connection, Database, without_nul
from holdfast.store.pg.events import object_events, record
from holdfast.store.pg.fence import FENCE, HOLDS, arguments, lost
from holdfast.store.pg.notify import EVENTS
from holdfast.store.pg.rows import ACTIVE
from holdfast.store.pg.tables import Kinds, TableSpec, spec_of

GET = "select {columns} from {table} where {key} = $1"

OWNED = """
select o.{key} as "_id", o.grp as "_grp", o.shard as "_shard", c.epoch as "_epoch", {fields}
  from shard_claim c
  join {table} o on o.grp = c.grp and o.shard = c.shard
 where c.owner = $1 and c.incarnation = $2
   and exists (select from member m where m.id = $1 and m.epoch = $2 and m.state <> 'gone')
   {which}
 order by o.{key}
"""
ONLY = "and o.{key} = any($3::uuid[])"
IDLE = f"not exists (select from job j where j.object_id = o.{{key}} and j.{ACTIVE})"

# {guard}: a further condition on the row ``o`` as it is now.
PATCH = f"""
with {FENCE}
update {{table}} o set {{assignments}}
 where o.{{key}} = $5 and o.grp = $1 and o.shard = $2 and exists (select from f){{guard}}
"""
PATCH_TOLD = f"""
with {FENCE}, n as (
    select o.{{key}} as id{{seen}}
      from {{table}} o
     where o.{{key}} = $5 and o.grp = $1 and o.shard = $2 and exists (select from f){{guard}}
       for no key update of o
), o as (
    update {{table}} set {{assignments}} where {{key}} = (select id from n)
    returning {{returned}}
), told as ({{events}}
)
select from o
"""

FENCE_FOR = """
select c.grp, c.shard, c.epoch
  from {table} o join shard_claim c on c.grp = o.grp and c.shard = o.shard
 where o.{key} = $1 and c.owner = $2 and c.incarnation = $3
   and exists (select from member m where m.id = $2 and m.epoch = $3 and m.state <> 'gone')
"""

# The term is drawn once the route is locked, so that terms of one BMC only rise. A route
# stays with its gateway: another one would not know what this one has in flight.
GRANT = """
insert into bmc_route as r (object_kind, object_id, gateway, incarnation, term)
values ($1, $2, $3, $4, nextval('epoch_seq'))
on conflict (object_kind, object_id) do update
   set gateway = excluded.gateway, incarnation = excluded.incarnation, term = nextval('epoch_seq')
 where r.gateway = excluded.gateway and r.incarnation <> excluded.incarnation
"""
GRANTED = """
select r.gateway, r.term, greatest(o.entered_epoch, coalesce(c.epoch, 0)) as floor
  from bmc_route r
  join {table} o on o.{key} = r.object_id
  left join shard_claim c on c.grp = o.grp and c.shard = o.shard
 where r.object_kind = $1 and r.object_id = $2
"""
MOVE_ROUTES = """
with other as (
    select object_kind, object_id from bmc_route
     where gateway <> $1 order by object_kind, object_id for no key update
)
update bmc_route r set gateway = $1, incarnation = $2, term = nextval('epoch_seq')
  from other where r.object_kind = other.object_kind and r.object_id = other.object_id
"""
GATEWAYS = "select gateway, count(*) as routes from bmc_route group by gateway order by gateway"

# The emptiest shard; among equals one by the object's hash. Shards that somebody is
# just filling are passed over, so that many objects can come at once.
PLACE = """
update shard_claim c set objects = c.objects + 1
  from (select grp, shard from shard_claim
         where grp = $1
         order by objects, uuid_hash_extended($2, shard)
         limit 1
           for no key update {skip}) chosen
 where c.grp = chosen.grp and c.shard = chosen.shard
returning c.shard
"""
UNPLACE = """
update shard_claim set objects = greatest(objects - 1, 0) where grp = $1 and shard = $2
"""


class PgObjects:
    """``store.port.ObjectStore`` on PostgreSQL, and what products need to place objects."""

    def __init__(self, db: Database, kinds: Kinds) -> None:
        self._db = db
        self._kinds = kinds

    async def get_object(self, obj: ObjectRef) -> dict[str, Json] | None:
        spec = spec_of(self._kinds, obj.kind)
        row = await self._db.fetchrow(_filled(GET, spec, columns=", ".join(spec.columns)), obj.id)
        return None if row is None else dict(row)

    async def owned_objects(
        self,
        kind: str,
        member: UUID,
        member_epoch: int,
        fields: Sequence[str],
        *,
        only: Sequence[UUID] | None = None,
        idle: bool = False,
    ) -> list[tuple[ObjectRef, Fence, dict[str, Json]]]:
        spec = spec_of(self._kinds, kind)
        statement = _owned(spec, tuple(fields), only is not None, idle)
        args = () if only is None else (list(only),)
        rows = await self._db.fetch(statement, member, member_epoch, *args)
        return [
            (
                ObjectRef(kind, row["_id"]),
                Fence(row["_grp"], row["_shard"], member, row["_epoch"]),
                {name: row[name] for name in fields},
            )
            for row in rows
        ]

    async def patch_object(self, fence: Fence, obj: ObjectRef, patch: Mapping[str, Json]) -> None:
        if patch and await self._patched(fence, obj, patch, None):
            return
        await self._explain(fence, obj)

    async def patch_idle(
        self,
        fence: Fence,
        obj: ObjectRef,
        patch: Mapping[str, Json],
        seen: Mapping[str, Json],
    ) -> bool:
        if patch and await self._patched(fence, obj, patch, seen):
            return True
        await self._explain(fence, obj)
        return False

    async def _patched(
        self,
        fence: Fence,
        obj: ObjectRef,
        patch: Mapping[str, Json],
        seen: Mapping[str, Json] | None,
    ) -> bool:
        """Write the fields; ``seen`` given: only while they are so and no job is active."""
        spec = spec_of(self._kinds, obj.kind)
        names = tuple(sorted(patch))
        guarded = None if seen is None else tuple(sorted(seen))
        values = [without_nul(patch[name]) for name in names]
        values += [(seen or {})[name] for name in guarded or ()]
        statement = _patch(obj.kind, spec, names, guarded)
        written = await self._db.execute(statement, *arguments(fence), obj.id, *values)
        if written and spec.watch.watched(names):
            self._db.hint(EVENTS)
        return written > 0

    async def _explain(self, fence: Fence, obj: ObjectRef) -> None:
        """Raise what keeps the owner from writing, if anything does."""
        spec = spec_of(self._kinds, obj.kind)
        if not await self._db.fetchval(HOLDS, *arguments(fence)):
            raise lost(fence)
        place = await self._db.fetchrow(_filled(GET, spec, columns="grp, shard"), obj.id)
        if place is None:
            raise NotFoundError(f"{obj.kind} {obj.id} does not exist", id=obj.id)
        if (place["grp"], place["shard"]) != (fence.group, fence.shard):
            raise lost(fence)

    async def fence_for(self, obj: ObjectRef, member: UUID, member_epoch: int) -> Fence | None:
        spec = spec_of(self._kinds, obj.kind)
        row = await self._db.fetchrow(_filled(FENCE_FOR, spec), obj.id, member, member_epoch)
        return None if row is None else Fence(row["grp"], row["shard"], member, row["epoch"])

    async def grant_route(self, obj: ObjectRef, gateway: UUID, incarnation: UUID) -> RouteGrant:
        spec = spec_of(self._kinds, obj.kind)

        async def work(conn: Connection) -> RouteGrant:
            await conn.execute(GRANT, obj.kind, obj.id, gateway, incarnation)
            row = await conn.fetchrow(_filled(GRANTED, spec), obj.kind, obj.id)
            if row is None:
                raise NotFoundError(f"{obj.kind} {obj.id} does not exist", id=obj.id)
            if row["gateway"] != gateway:
                raise route_taken(obj, row["gateway"], gateway)
            return RouteGrant(term=row["term"], floor=row["floor"])

        return await self._db.run(work)

    async def gateways(self) -> dict[UUID, int]:
        """How many BMCs belong to which gateway. Not in the port."""
        return {row["gateway"]: row["routes"] for row in await self._db.fetch(GATEWAYS)}

    async def move_routes(self, gateway: UUID, incarnation: UUID) -> int:
        """Give all BMCs to one gateway; returns how many it did not have. Not in the port.

        Only once no other gateway runs: what that had in flight would not be waited for.
        """

        async def work(conn: Connection) -> int:
            moved = await conn.execute(MOVE_ROUTES, gateway, incarnation)
            data = {"gateway": str(gateway), "moved": moved}
            await record(conn, told("audit.routes.move", data=data))
            return moved

        return await self._db.run(work)

    async def place_object(self, conn: Connection, group: str, obj: UUID) -> int:
        """Choose the shard for a new object of the group, and count it there.

        Call it in the transaction that inserts the row (or moves it into the
        group), *before* the row is touched: claims are locked before objects.
        Raises ``NotFoundError`` if the group has no shards. Not in the port.
        """
        for skip in ("skip locked", ""):
            shard: int | None = await conn.fetchval(PLACE.format(skip=skip), group, obj)
            if shard is not None:
                return shard
        raise NotFoundError(
            f"the conductor group {group!r} has no shards: no conductor of it was ever started",
            group=group,
        )

    async def unplace_object(self, conn: Connection, group: str, shard: int) -> None:
        """Uncount an object that is deleted, or moved away, in the same transaction.

        Before the row is touched, like ``place_object``. Whoever deletes an object
        makes sure in that transaction, holding its row, that it has no active job.
        """
        await conn.execute(UNPLACE, group, shard)


def route_taken(obj: ObjectRef, taken_by: UUID, gateway: UUID) -> ConflictError:
    """What to raise when a BMC belongs to another gateway."""
    return ConflictError(
        f"the BMC of {obj.kind} {obj.id} belongs to gateway {taken_by}, not to {gateway}: let "
        "[rack] url name one gateway on all hosts; if the other one is gone for good, run "
        "`holdfast doctor --fix gateway`",
        kind="gateway",
        gateway=taken_by,
    )


@lru_cache(maxsize=128)
def _patch(
    kind: str, spec: TableSpec, names: tuple[str, ...], guarded: tuple[str, ...] | None
) -> str:
    """The patch of an object outside a job, with its events if any field is watched."""
    assignments = spec.assignments(names, 6)
    guard = ""
    if guarded is not None:
        spec.check(guarded)
        first = 6 + len(names)
        same = [f"o.{name} is not distinct from ${first + n}" for n, name in enumerate(guarded)]
        guard = "".join(f" and {one}" for one in (_filled(IDLE, spec), *same))
    watched = spec.watch.watched(names)
    if not watched:
        return _filled(PATCH, spec, assignments=assignments, guard=guard)
    seen = sorted({*watched, *spec.watch.describing})
    return _filled(
        PATCH_TOLD,
        spec,
        assignments=assignments,
        guard=guard,
        seen="".join(f", o.{name}" for name in seen),
        returned=", ".join(watched),
        events=object_events(spec, kind, names, said="'{}'::jsonb"),
    )


@lru_cache(maxsize=64)
def _owned(spec: TableSpec, fields: tuple[str, ...], only: bool, idle: bool) -> str:
    """The owned objects: all, or of ``only`` those named, or those without an active job."""
    spec.check(fields)
    which = [_filled(ONLY, spec)] if only else []
    which += [f"and {_filled(IDLE, spec)}"] if idle else []
    names = ", ".join(f"o.{name}" for name in fields) or "1"
    return _filled(OWNED, spec, fields=names, which=" ".join(which))


def _filled(statement: str, spec: TableSpec, **parts: str) -> str:
    """A statement about one kind of object; names come from the spec only."""
    return statement.format(table=spec.table, key=spec.key, **parts)
