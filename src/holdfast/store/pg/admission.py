"""Limits on how many jobs of a kind an owner has under way: beyond them a job waits, kept back.

A job counts from its first start to its end, whoever started it. One that was never
started is *kept back* by a ``wake_at`` of infinity, which the index ``job_due`` leaves
out of every search; so a thousand that wait cost a search nothing. Only the owner of
a shard starts its jobs, one search after the other, so the count needs no lock.
"""

# ruff: noqa: S608 - statements are put together from constants
from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from holdfast.store.model import JobLimit, kept_back_message
from holdfast.store.pg.database import Connection
from holdfast.store.pg.rows import ACTIVE

UNSTARTED = "j.state = 'queued' and j.run_epoch is null and j.queue is null"
# As the index job_due has it, so that those kept back already are not looked at.
DUE = f"j.{ACTIVE} and j.queue is null and coalesce(j.wake_at, '-infinity'::timestamptz)"

LIMITED_WAIT = f"select exists (select from job j where {UNSTARTED} and j.kind = any($1::text[]))"

# $3, $4, $5: the limited kinds, the number of the limit each is under, and its height.
# Lets the oldest go on, as many as there are places; says which. The claim is asked for in a
# scalar query, for a join would be made with all that wait, rather than with the oldest.
ADMIT = f"""
with own as (
    select grp, shard from shard_claim where owner = $1 and incarnation = $2
), kind as (
    select * from unnest($3::text[], $4::integer[], $5::bigint[]) as k (kind, lane, most)
), free as (
    select k.lane, greatest(max(k.most) - count(j.id), 0) as places
      from kind k
      left join (job j join own using (grp, shard))
        on j.kind = k.kind and {DUE} < 'infinity' and j.run_epoch is not null
     group by k.lane
), admitted as (
    select ranked.id
      from (
        select oldest.id, free.places,
               row_number() over (partition by k.lane order by oldest.created_at, oldest.id) place
          from free join kind k using (lane), lateral (
            select j.id, j.created_at
              from job j
             where {UNSTARTED} and j.kind = k.kind and not j.cancel_requested
               and (select true from shard_claim c
                     where c.grp = j.grp and c.shard = j.shard
                       and c.owner = $1 and c.incarnation = $2)
             order by j.created_at, j.id
             limit free.places
          ) oldest
      ) ranked
     where ranked.place <= ranked.places
), go as (
    update job j set wake_at = null, progress_message = ''
      from admitted
     where j.id = admitted.id and j.wake_at = 'infinity'
)
select id from admitted
"""

# Keeps the others back, with a word to people about why ($4, one per kind).
KEEP_BACK = f"""
update job j
   set wake_at = 'infinity', progress_message = k.message
  from shard_claim c, unnest($3::text[], $4::text[]) as k (kind, message)
 where c.owner = $1 and c.incarnation = $2 and j.grp = c.grp and j.shard = c.shard
   and {UNSTARTED} and {DUE} = '-infinity' and not j.cancel_requested and j.kind = k.kind
"""


def limited_kinds(limits: Sequence[JobLimit]) -> list[str]:
    """Every kind that is under a limit."""
    return [kind for limit in limits for kind in limit.kinds]


async def admit(
    conn: Connection, member: UUID, member_epoch: int, limits: Sequence[JobLimit]
) -> list[UUID]:
    """The unstarted jobs of limited kinds that may start now, oldest first of each limit."""
    lanes = [n for n, limit in enumerate(limits) for _ in limit.kinds]
    most = [limit.running_max for limit in limits for _ in limit.kinds]
    rows = await conn.fetch(ADMIT, member, member_epoch, limited_kinds(limits), lanes, most)
    return [row["id"] for row in rows]


async def keep_back(
    conn: Connection, member: UUID, member_epoch: int, limits: Sequence[JobLimit]
) -> None:
    """Keep back what was not started; call it after what may start is ``running``."""
    messages = [kept_back_message(limit) for limit in limits for _ in limit.kinds]
    await conn.execute(KEEP_BACK, member, member_epoch, limited_kinds(limits), messages)
