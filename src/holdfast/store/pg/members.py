"""Members and their leases. Liveness is judged here, by the database's clock, and nowhere else."""

# ruff: noqa: S608 - statements are put together from constants and the names in a TableSpec
from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from holdfast.errors import ConflictError
from holdfast.store.events import actor
from holdfast.store.model import Member, MemberSpec, MemberState, Renewal
from holdfast.store.pg.database import Connection, Database
from holdfast.store.pg.notify import MEMBERS
from holdfast.store.pg.rows import member_of

# Who a member is, as events tell it; ``m`` is what became of its row.
TOLD = """
    insert into event (kind, result, user_id, actor, project, request,
                       object_kind, object_id, object_name, member, epoch, data)
    select '{kind}', {result}, {actor}, 'member', m.id::text, m.slot, m.id, m.epoch,
           jsonb_build_object('role', m.role, 'host', m.host, 'zone', m.zone, 'group', m.grp,
                              'version', m.version)
      from m"""
NOBODY = "null, null, null, null"
REGISTERED = TOLD.format(kind="member.registered", result="null", actor=NOBODY)
DRAINING = TOLD.format(kind="member.draining", result="null", actor=NOBODY)
GONE = TOLD.format(kind="member.gone", result="m.gone_reason", actor=NOBODY)
DRAIN_REQUESTED = TOLD.format(
    kind="member.drain_requested", result="null", actor="$2::text, $3::text, $4::text, $5::text"
)

# The epoch is drawn once the row is locked, so that a later incarnation has a higher one.
REGISTER = f"""
with m as (
insert into member (id, role, slot, host, zone, grp, version, address,
                    epoch, state, lease_s, lease_until)
values ($1, $2, $3, $4, $5, $6, $7, $8,
        nextval('epoch_seq'), 'up', $9, clock_timestamp() + $9 * interval '1 second')
on conflict (id) do update set
    role = excluded.role, slot = excluded.slot, host = excluded.host, zone = excluded.zone,
    grp = excluded.grp, version = excluded.version, address = excluded.address,
    epoch = nextval('epoch_seq'), state = 'up', drain_requested = false,
    lease_s = excluded.lease_s,
    lease_until = clock_timestamp() + excluded.lease_s * interval '1 second',
    registered_at = clock_timestamp(), gone_reason = null
 where member.state = 'gone'
returning *
), told as ({REGISTERED}
)
select * from m
"""

# An expired lease may still be renewed; only one that was marked over may not.
RENEW = """
update member
   set lease_until = clock_timestamp() + $3 * interval '1 second', lease_s = $3
 where id = $1 and epoch = $2 and state <> 'gone'
returning state, drain_requested
"""

# The database's present life: when it started, and on which timeline it writes
# (the first eight digits of a WAL file's name). A fail-over changes the timeline,
# a restart the start time.
LIFE = """
life as (
    select pg_postmaster_start_time() as started_at,
           left(pg_walfile_name(pg_current_wal_lsn()), 8) as timeline
)"""

# Writes (and locks) nothing unless there is something to notice.
NOTICE_LIFE = f"""
with {LIFE}
insert into database_life as d (only_row, started_at, timeline, noticed_at)
select true, started_at, timeline, clock_timestamp() from life
 where not exists (select from database_life known
                    where known.started_at = life.started_at and known.timeline = life.timeline)
on conflict (only_row) do update
   set started_at = excluded.started_at, timeline = excluded.timeline,
       noticed_at = clock_timestamp()
 where (d.started_at, d.timeline) is distinct from (excluded.started_at, excluded.timeline)
"""

# ``skip locked``: whoever is just being renewed, or used as a fence, is not dead.
REAP = f"""
with {LIFE}, over as (
    select m.id
      from member m, database_life d, life
     where m.state <> 'gone' and m.lease_until < clock_timestamp()
       and d.started_at = life.started_at and d.timeline = life.timeline
       and d.noticed_at + m.lease_s * interval '1 second' < clock_timestamp()
       and ($1::uuid[] is null
            or (m.id, m.epoch, m.lease_until)
               in (select * from unnest($1::uuid[], $2::bigint[], $3::timestamptz[])))
     order by m.id
       for update of m skip locked
), m as (
    update member m set state = 'gone', gone_reason = 'lease expired'
      from over where m.id = over.id
    returning m.*
), told as ({GONE}
)
select * from m
"""

END_LEASE = f"""
with m as (
    update member set state = 'gone', gone_reason = $3
     where id = $1 and epoch = $2 and state <> 'gone'
    returning *
), told as ({GONE}
)
select from m
"""

# Locked, so that who asks for another at the same moment waits, and counts without this one.
STAYING = """
select other.id
  from member m join member other on other.role = m.role and other.grp = m.grp
 where m.id = $1 and other.state = 'up' and not other.drain_requested
   and other.lease_until > clock_timestamp()
 order by other.id
   for no key update of other
"""

REQUEST_DRAIN = f"""
with m as (
    update member set drain_requested = true where id = $1 and state <> 'gone'
    returning *
), told as ({DRAIN_REQUESTED}
)
select from m
"""

# Repeated until it is answered, and told about once.
MARK_DRAINING = f"""
with was as (
    select id, state from member
     where id = $1 and epoch = $2 and state <> 'gone' for no key update
), m as (
    update member set state = 'draining' where id = (select id from was)
    returning *
), told as ({DRAINING}, was
     where was.state <> 'draining'
)
select from m
"""

MEMBERS_BY_SLOT = """
select * from member
 where ($1::text is null or role = $1) and ($2 or state <> 'gone')
 order by slot, id
"""

# Whose row is missing counts as gone everywhere, so this only must not confuse those who read.
PURGE = """
with named as materialized (
    select owner as id from shard_claim union select previous from shard_claim
    union select owner from job where state = 'running' and queue is not null
), old as (
    select m.id from member m
     where m.state = 'gone'
       and m.lease_until < statement_timestamp() - $1::float8 * interval '1 second'
       and m.id not in (select id from named where id is not null)
     order by m.lease_until limit $2 for update skip locked
)
delete from member m using old where m.id = old.id
"""


class PgMembers:
    """``store.port.MemberStore`` on PostgreSQL."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def register(self, spec: MemberSpec, lease_s: float) -> Member:
        row = await self._db.fetchrow(
            REGISTER,
            spec.id,
            spec.role,
            spec.slot,
            spec.host,
            spec.zone,
            spec.group,
            spec.version,
            spec.address,
            lease_s,
        )
        if row is None:
            raise ConflictError(
                f"member {spec.id} ({spec.slot}) is still registered by an earlier process; "
                "it can register again once that lease is over",
                kind="registered",
                member=spec.id,
            )
        self._db.hint(MEMBERS)
        return member_of(row)

    async def renew(self, member: UUID, epoch: int, lease_s: float) -> Renewal | None:
        row = await self._db.fetchrow(RENEW, member, epoch, lease_s)
        if row is None:
            return None
        return Renewal(state=MemberState(row["state"]), drain_requested=row["drain_requested"])

    async def reap(self, still: Collection[tuple[UUID, int, float]] | None = None) -> list[Member]:
        await self._db.execute(NOTICE_LIFE)
        seen = [None if still is None else [one[part] for one in still] for part in range(3)]
        rows = await self._db.fetch(REAP, *seen)
        if rows:
            self._db.hint(MEMBERS)
        return [member_of(row) for row in rows]

    async def end_lease(self, member: UUID, epoch: int, reason: str) -> bool:
        return await self._changed(END_LEASE, member, epoch, reason)

    async def request_drain(self, member: UUID, *, spare_last: bool = False) -> bool:
        who = actor()
        asked = (member, who.user_id, who.label, who.project, who.request)

        async def work(conn: Connection) -> bool:
            if spare_last:
                staying = [row["id"] for row in await conn.fetch(STAYING, member)]
                if staying == [member]:
                    return False
            return await conn.execute(REQUEST_DRAIN, *asked) > 0

        changed = await self._db.run(work)
        if changed:
            self._db.hint(MEMBERS)
        return changed

    async def mark_draining(self, member: UUID, epoch: int) -> bool:
        return await self._changed(MARK_DRAINING, member, epoch)

    async def members(self, role: str | None = None, *, gone: bool = False) -> list[Member]:
        return [member_of(row) for row in await self._db.fetch(MEMBERS_BY_SLOT, role, gone)]

    async def purge_members(self, keep_s: float, limit: int) -> int:
        return await self._db.execute(PURGE, keep_s, limit)

    async def _changed(self, statement: str, *args: object) -> bool:
        changed = await self._db.execute(statement, *args) > 0
        if changed:
            self._db.hint(MEMBERS)
        return changed
