"""Owned objects as documents, their places in shards, and the routes to their BMCs."""

# ruff: noqa: S608 - statements are put together from constants and the names in a TableSpec
from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

from holdfast.errors import NotFoundError
from holdfast.store.model import Fence, Json, ObjectRef, RouteGrant
from holdfast.store.pg.database import Connection, Database, without_nul
from holdfast.store.pg.fence import FENCE, HOLDS, arguments, lost
from holdfast.store.pg.tables import Kinds, TableSpec, spec_of

GET = "select {columns} from {table} where {key} = $1"

OWNED = """
select o.{key} as "_id", o.grp as "_grp", o.shard as "_shard", c.epoch as "_epoch", {fields}
  from shard_claim c
  join {table} o on o.grp = c.grp and o.shard = c.shard
 where c.owner = $1 and c.incarnation = $2
   and exists (select from member m where m.id = $1 and m.epoch = $2 and m.state <> 'gone')
 order by o.{key}
"""

PATCH = f"""
with {FENCE}
update {{table}} set {{assignments}}
 where {{key}} = $5 and grp = $1 and shard = $2 and exists (select from f)
"""

FENCE_FOR = """
select c.grp, c.shard, c.epoch
  from {table} o join shard_claim c on c.grp = o.grp and c.shard = o.shard
 where o.{key} = $1 and c.owner = $2 and c.incarnation = $3
   and exists (select from member m where m.id = $2 and m.epoch = $3 and m.state <> 'gone')
"""

# The term is drawn once the route is locked, so that terms of one BMC only rise.
GRANT = """
insert into bmc_route as r (object_kind, object_id, gateway, incarnation, term)
values ($1, $2, $3, $4, nextval('epoch_seq'))
on conflict (object_kind, object_id) do update
   set gateway = excluded.gateway, incarnation = excluded.incarnation, term = nextval('epoch_seq')
 where (r.gateway, r.incarnation) is distinct from (excluded.gateway, excluded.incarnation)
"""
GRANTED = """
select r.term, greatest(o.entered_epoch, coalesce(c.epoch, 0)) as floor
  from bmc_route r
  join {table} o on o.{key} = r.object_id
  left join shard_claim c on c.grp = o.grp and c.shard = o.shard
 where r.object_kind = $1 and r.object_id = $2
"""

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
        self, kind: str, member: UUID, member_epoch: int, fields: Sequence[str]
    ) -> list[tuple[ObjectRef, Fence, dict[str, Json]]]:
        spec = spec_of(self._kinds, kind)
        spec.check(fields)
        names = ", ".join(f"o.{name}" for name in fields) or "1"
        rows = await self._db.fetch(_filled(OWNED, spec, fields=names), member, member_epoch)
        return [
            (
                ObjectRef(kind, row["_id"]),
                Fence(row["_grp"], row["_shard"], member, row["_epoch"]),
                {name: row[name] for name in fields},
            )
            for row in rows
        ]

    async def patch_object(self, fence: Fence, obj: ObjectRef, patch: Mapping[str, Json]) -> None:
        spec = spec_of(self._kinds, obj.kind)
        names = sorted(patch)
        statement = _filled(PATCH, spec, assignments=spec.assignments(names, 6))
        values = (without_nul(patch[name]) for name in names)
        if names and await self._db.execute(statement, *arguments(fence), obj.id, *values):
            return
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
            return RouteGrant(term=row["term"], floor=row["floor"])

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


def _filled(statement: str, spec: TableSpec, **parts: str) -> str:
    """A statement about one kind of object; names come from the spec only."""
    return statement.format(table=spec.table, key=spec.key, **parts)
