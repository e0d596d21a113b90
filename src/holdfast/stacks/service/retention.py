"""How long deleted stacks and sources that nobody needs any more are kept."""

from __future__ import annotations

from holdfast.store.pg.database import Connection, Database

BATCH = 500
SOURCE_KEEP_S = 86_400.0

# Stacks that were deleted long ago, those that others are still below left out.
OLD = """
select id from stack
 where deleted_at < clock_timestamp() - $1::float8 * interval '1 second'
   and not exists (select from stack n where n.root = stack.id and n.owner is not null
                     and n.id <> stack.id)
 order by deleted_at limit $2 for update skip locked
"""
FORGET = (
    "delete from stack_event where stack = any($1)",
    "delete from stack_source where stack = any($1)",
    "delete from stack_resource where stack = any($1)",
)
DROP = "delete from stack where id = any($1) returning delegation"
DROP_DELEGATIONS = "delete from delegation where id = any($1)"
# Sources of updates that were followed by others.
SUPERSEDED = """
delete from stack_source c
 where c.id in (
     select o.id from stack_source o join stack s on s.id = o.stack
      where o.created_at < clock_timestamp() - $1::float8 * interval '1 second'
        and o.id <> s.source and o.id is distinct from s.previous
        and not exists (select from stack_resource r where r.stack = s.id and r.source = o.id)
      limit $2)
"""
# Delegations that were revoked because another took their place.
REVOKED = """
delete from delegation d
 where d.id in (
     select o.id from delegation o
      where o.revoked_at < clock_timestamp() - $1::float8 * interval '1 second'
        and not exists (select from stack s where s.delegation = o.id) limit $2)
"""
# After a restore from a dump transactions are counted anew (store.pg.events).
REBASE = """
update stack_event set txid = 1
 where id in (select id from stack_event
               where txid >= pg_snapshot_xmax(pg_current_snapshot())::text::bigint limit $1)
"""


class Retention:
    """``keep_s``: how long deleted stacks can still be shown."""

    def __init__(self, db: Database, keep_s: float) -> None:
        self._db = db
        self._keep_s = keep_s

    async def purge(self) -> int:
        """Delete what is old, in batches; returns how many stacks went."""
        gone = 0
        while count := await self._db.run(self._batch):
            gone += count
        await self._db.execute(SUPERSEDED, SOURCE_KEEP_S, BATCH)
        await self._db.execute(REVOKED, SOURCE_KEEP_S, BATCH)
        while await self._db.execute(REBASE, BATCH):
            continue
        return gone

    async def _batch(self, conn: Connection) -> int:
        ids = [row["id"] for row in await conn.fetch(OLD, self._keep_s, BATCH)]
        if not ids:
            return 0
        for statement in FORGET:
            await conn.execute(statement, ids)
        rows = await conn.fetch(DROP, ids)
        delegations = [row["delegation"] for row in rows if row["delegation"] is not None]
        await conn.execute(DROP_DELEGATIONS, delegations)
        return len(ids)
