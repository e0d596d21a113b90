"""Shards and who owns them. The claim is the truth; the ring is only a wish."""

# ruff: noqa: S608 - statements are put together from constants and the names in a TableSpec
from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from holdfast.store.model import Claim, Fence
from holdfast.store.pg.database import Connection, Database
from holdfast.store.pg.notify import CLAIMS
from holdfast.store.pg.rows import claim_of

COUNT_SHARDS = "select count(*) from shard_claim where grp = $1"
# Two that start at once with different numbers must not mix them.
LOCK_GROUP = "select pg_advisory_xact_lock(hashtextextended('holdfast.shards ' || $1, 0))"
CREATE_SHARDS = """
insert into shard_claim (grp, shard) select $1, n from generate_series(0, $2::integer - 1) n
"""

GROUPS = "select distinct grp from shard_claim order by grp"
CLAIMS_BY_SHARD = "select * from shard_claim where grp = $1 order by shard"

# Who takes: must be up at that epoch, and is kept so until the commit.
TAKER = """
taker as (select id, epoch from member where id = $1 and epoch = $2 and state = 'up' for share)"""

# {how}: "taken" or "handed over". One line of the event log for all that moves together.
MOVE = """
moved as (
    update shard_claim c
       set owner = taker.id, incarnation = taker.epoch, epoch = nextval('epoch_seq'),
           previous = c.owner, since = clock_timestamp()
      from locked, taker
     where c.grp = locked.grp and c.shard = locked.shard
    returning c.*
), losers as (
    select coalesce(m.slot, 'nobody') as slot, count(*) as shards
      from moved left join member m on m.id = moved.previous
     group by 1
), told as (
    insert into event (kind, result, object_kind, object_id, object_name, member, epoch, data)
    select 'claims.moved', '{how}', 'group', moved.grp, coalesce(nullif(moved.grp, ''), 'default'),
           taker.id, taker.epoch,
           jsonb_build_object('shards', count(*), 'objects', sum(moved.objects), 'from',
                              (select jsonb_object_agg(slot, shards) from losers))
      from moved, taker
     group by moved.grp, taker.id, taker.epoch
)
select * from moved
"""

# ``free`` is judged on one snapshot. An incarnation that is gone stays so, hence the
# claim is still free if its epoch is still the same once it has been locked; judging
# anew after a wait would compare the new claim with the old snapshot's members.
TAKE = f"""
with {TAKER}, free as (
    select c.grp, c.shard, c.epoch
      from shard_claim c
     where c.grp = $3 and c.shard = any($4::integer[])
       and not exists (select from member m
                        where m.id = c.owner and m.epoch = c.incarnation and m.state <> 'gone')
), locked as (
    select c.grp, c.shard
      from shard_claim c join free using (grp, shard)
     where c.epoch = free.epoch and exists (select from taker)
     order by c.shard
       for no key update of c
), {MOVE.format(how="taken")}"""

HAND_OVER = f"""
with {TAKER}, held as (
    select * from unnest($3::text[], $4::integer[], $5::uuid[], $6::bigint[])
                  as h (grp, shard, owner, epoch)
), locked as (
    select c.grp, c.shard
      from shard_claim c join held using (grp, shard)
     where c.owner = held.owner and c.epoch = held.epoch and exists (select from taker)
       and exists (select from member m
                    where m.id = c.owner and m.epoch = c.incarnation and m.state <> 'gone')
     order by c.grp, c.shard
       for no key update of c
), {MOVE.format(how="handed over")}"""


class PgClaims:
    """``store.port.ClaimStore`` on PostgreSQL."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def ensure_shards(self, group: str, count: int) -> int:
        there: int = await self._db.fetchval(COUNT_SHARDS, group)
        if there:
            return there

        async def create(conn: Connection) -> int:
            await conn.execute(LOCK_GROUP, group)
            if not await conn.fetchval(COUNT_SHARDS, group):
                await conn.execute(CREATE_SHARDS, group, count)
            return int(await conn.fetchval(COUNT_SHARDS, group))

        return await self._db.run(create)

    async def groups(self) -> list[str]:
        return [row["grp"] for row in await self._db.fetch(GROUPS)]

    async def claims(self, group: str) -> list[Claim]:
        return [claim_of(row) for row in await self._db.fetch(CLAIMS_BY_SHARD, group)]

    async def take(
        self, group: str, shards: Sequence[int], member: UUID, member_epoch: int
    ) -> list[Claim]:
        return await self._passed(TAKE, member, member_epoch, group, list(shards))

    async def hand_over(self, fences: Sequence[Fence], to: UUID, to_epoch: int) -> list[Claim]:
        return await self._passed(
            HAND_OVER,
            to,
            to_epoch,
            [fence.group for fence in fences],
            [fence.shard for fence in fences],
            [fence.owner for fence in fences],
            [fence.epoch for fence in fences],
        )

    async def _passed(self, statement: str, *args: object) -> list[Claim]:
        claims = [claim_of(row) for row in await self._db.fetch(statement, *args)]
        if claims:
            self._db.hint(CLAIMS)
        return sorted(claims, key=lambda claim: (claim.group, claim.shard))
