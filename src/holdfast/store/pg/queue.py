"""Unbound jobs in PostgreSQL: claimed and ended in batches, one statement each.

The fence of such a job is its own row: a write of its runner's and the statement that
takes the job from a runner who is gone change the same row, so one of them sees the
other, and no lock on the member is needed.
"""

# ruff: noqa: S608 - statements are put together from constants
from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from uuid import UUID

from holdfast.errors import FenceLostError, InvalidInputError
from holdfast.store.events import TEXT_CHARS_MAX
from holdfast.store.model import HeldJob, Hold, StepEnd
from holdfast.store.pg.database import Connection, Database, Row
from holdfast.store.pg.graph import ENDED, PASS_ON, PgGraph
from holdfast.store.pg.notify import EVENTS
from holdfast.store.pg.rows import bounded_error, bounded_progress, job_of
from holdfast.store.pg.writes import NO_ROWS, Rows, write_rows

# The member $1 in its incarnation $2; its job.
LIVES = "exists (select from member m where m.id = $1 and m.epoch = $2 and m.state <> 'gone')"
HELD = f"owner = $1 and run_epoch = $2 and {LIVES}"

# $3, $4: queues, and how many are wanted of each. $5, $6: the kinds this worker knows, and the
# first step of each. $7: what runs under this hold already, and whose answer was lost.
# A lateral query for each queue, so that each follows the index job_line.
CLAIM = f"""
with picked as materialized (
    select j.*
      from unnest($3::text[], $4::integer[]) as q (name, room),
           lateral (select id, kind, step_open from job
                     where queue = q.name and state in ('queued', 'waiting')
                       and due_at <= statement_timestamp() and kind = any($5::text[]) and {LIVES}
                     order by due_at, id
                     limit q.room
                       for no key update skip locked) j
), again as materialized (
    select id, kind, step_open from job
     where id = any($7::uuid[]) and state = 'running' and queue is not null and {HELD}
       for no key update skip locked
)
update job j
   set state = 'running', owner = $1, run_epoch = $2, wake_at = null,
       step = coalesce(j.step, k.step), attempt = j.attempt + 1, step_open = true,
       attempts = attempts + ((j.owner, j.run_epoch) is distinct from ($1, $2))::integer,
       updated_at = clock_timestamp()
  from (select * from picked union all select * from again) p,
       unnest($5::text[], $6::text[]) as k (kind, step)
 where j.id = p.id and k.kind = p.kind
   and j.id = any(array(select id from picked union all select id from again))
returning j.*, p.step_open as resumed, clock_timestamp() as now
"""

RELEASE = f"""
update job set state = 'queued', updated_at = clock_timestamp()
 where id = any($3) and state = 'running' and queue is not null and {HELD}
returning queue
"""

RUNNING = """
select id, cancel_requested from job
 where owner = $1 and run_epoch = $2 and state = 'running' and queue is not null
"""

# $3: the ends, as JSON. Locks what is ended and what comes after it by id, all at once.
# An end passes on at once unless an edge came meanwhile (store.pg.graph), something is
# still before it (its children), or what comes after it is ended here, too (its parent).
END = f"""
with given as materialized (
    select * from jsonb_to_recordset($3) as g (
        id uuid, step text, attempt integer, next_step text, state text, memo jsonb,
        output jsonb, result jsonb, error jsonb, done integer, total integer, message text)
), path as materialized (
    select e.pred, e.succ, e.kind
      from given g join job_edge e on e.pred = g.id where g.next_step is null
), locked as materialized (
    select j.id, j.state, j.step, j.attempt, j.step_open, j.owner, j.run_epoch,
           j.remaining, j.successors
      from job j
     where j.id = any(array(select id from given union select succ from path))
     order by j.id
       for no key update of j
), seen as materialized (
    select p.pred as id, count(*) as edges, bool_or(g.id is not null) as to_given
      from path p left join given g on g.id = p.succ
     group by p.pred
), ended as (
    update job j
       set state = g.state, step = coalesce(g.next_step, j.step), step_open = false,
           attempt = case when g.next_step is null then j.attempt else 0 end,
           memo = coalesce(g.memo, '{{}}'), result = g.result, error = g.error,
           progress_done = coalesce(g.done, j.progress_done),
           progress_total = coalesce(g.total, j.progress_total),
           progress_message = coalesce(g.message, j.progress_message),
           updated_at = clock_timestamp(),
           finished_at = case when g.next_step is null then clock_timestamp() end,
           passed = g.next_step is null and l.remaining = 0
               and l.successors = coalesce(s.edges, 0) and not coalesce(s.to_given, false)
      from given g join locked l using (id) left join seen s using (id)
     where j.id = g.id and j.id = any(array(select id from given))
       and l.state = 'running' and l.step = g.step and l.attempt = g.attempt
       and l.step_open and l.owner = $1 and l.run_epoch = $2 and {LIVES}
    returning j.id, j.queue, j.state, j.error, j.requested_by, j.kind, j.passed, j.remaining
), gone as (
    select id, state from ended where passed
), journal as (
    insert into job_step (job, ordinal, step, attempt, member, epoch, output)
    select g.id, 1 + (select count(*) from job_step s where s.job = g.id),
           g.step, g.attempt, $1, $2, g.output
      from given g join ended using (id)
), told as (
    insert into event (kind, result, actor, object_kind, object_id, member, epoch, data)
    select 'job.ended', state, nullif(requested_by, ''), 'job', id::text, $1, $2,
           jsonb_build_object('job', id, 'job_kind', kind,
                              'error', left(error->>'message', {TEXT_CHARS_MAX}))
      from ended where state in ('failed', 'cancelled')
), {PASS_ON}
union all
select id, queue, false, null from ended
union all
select id, queue, false, true from ended where {ENDED} and remaining = 0 and not passed
"""
# Ends that stand from before: the answer was lost.
STAND = """
select g.id
  from unnest($3::uuid[], $4::text[], $5::integer[]) as g (id, step, attempt)
 where (g.step, g.attempt, $1::uuid, $2::bigint) = (
     select s.step, s.attempt, s.member, s.epoch
       from job_step s where s.job = g.id order by s.ordinal desc limit 1)
"""

# One that never began ends at once, in its place in line; another as soon as it is noticed.
CANCEL = f"""
with j as (
    update job j
       set signal_seq = signal_seq + 1, cancel_requested = true,
           state = case when state = 'blocked' or state = 'queued' and attempts = 0
                        then 'cancelled' when state = 'waiting' then 'queued' else state end,
           error = case when state = 'blocked' or state = 'queued' and attempts = 0
                        then jsonb_build_object('code', 'cancelled',
                                                'message', 'aborted by request') end,
           finished_at = case when state = 'blocked' or state = 'queued' and attempts = 0
                              then clock_timestamp() end,
           passed = (state = 'blocked' or state = 'queued' and attempts = 0)
                    and remaining = 0 and successors = 0,
           due_at = case state when 'waiting' then clock_timestamp() else due_at end,
           wake_at = null, updated_at = clock_timestamp()
     where id = $1 and queue is not null and not {ENDED}
    returning *
), was as (
    select cancel_requested from job where id = $1
), told as (
    insert into event (kind, user_id, actor, project, request, object_kind, object_id, data)
    select 'job.cancel_requested', $2::text, $3::text, $4::text, $5::text, 'job', j.id::text,
           jsonb_build_object('job', j.id, 'job_kind', j.kind, 'step', j.step)
      from j, was where not was.cancel_requested
), let_go as (
    delete from resource_shared s using j where s.job = j.id and j.passed
)
select queue, {ENDED} as ended from j
"""

# $1: the ancestor, $2: those that have begun, too (else they are only woken), $3: kinds.
CANCEL_UNDER = f"""
with recursive family as (
    select $1::uuid as id
    union all
    select j.id
      from family f join job_edge e on e.succ = f.id
      join job j on j.id = e.pred and j.parent = f.id
), locked as materialized (
    select j.id, j.state = 'blocked' or j.state = 'queued' and j.attempts = 0 as fresh
      from job j
     where j.id = any(array(select id from family)) and j.id <> $1 and not {ENDED}
       and j.kind = any($3::text[])
     order by j.id
       for no key update of j
)
update job j
   set signal_seq = signal_seq + 1, cancel_requested = l.fresh or $2 or j.cancel_requested,
       state = case when l.fresh then 'cancelled' when state = 'waiting' then 'queued'
                    else state end,
       error = case when l.fresh
                    then jsonb_build_object('code', 'cancelled', 'message', 'aborted by request')
               end,
       finished_at = case when l.fresh then clock_timestamp() end,
       passed = l.fresh and remaining = 0 and successors = 0,
       due_at = case state when 'waiting' then clock_timestamp() else due_at end,
       wake_at = null, updated_at = clock_timestamp()
  from locked l
 where j.id = l.id and j.id = any(array(select id from locked))
returning j.id, j.queue, l.fresh as ended
"""

# What a worker looks for that nobody else may have seen to.
AMISS = f"""
select
    array(select j.id from job j
           where j.state = 'running' and j.queue is not null
             and not exists (select from member m where m.id = j.owner and m.epoch = j.run_epoch
                                and m.state <> 'gone')
           limit $1) as orphans,
    array(select id from job where state = 'blocked' and deadline <= statement_timestamp()
           order by deadline limit $1) as expired,
    array(select id from job where not passed and remaining = 0 and {ENDED} limit $1) as unpassed,
    array(select id from job where state = 'blocked' and reserving and remaining = 0
           order by due_at, id limit $1) as reservable
"""
# Judged on one snapshot, before the row is locked: an incarnation that is gone stays so, but a
# new one is not in it. So only a row that is still the same is taken.
ORPHANS = """
with orphan as materialized (
    select j.id, j.owner, j.run_epoch from job j
     where j.id = any($1) and j.state = 'running' and j.queue is not null
       and not exists (select from member m where m.id = j.owner and m.epoch = j.run_epoch
                          and m.state <> 'gone')
), locked as (
    select j.id from job j join orphan o using (id)
     where j.id = any($1) and j.state = 'running'
       and j.owner = o.owner and j.run_epoch = o.run_epoch
     order by j.id
       for no key update of j skip locked
)
update job j
   set state = 'queued', updated_at = clock_timestamp()
  from locked where j.id = locked.id and j.id = any($1)
returning j.queue
"""
EXPIRE = """
with locked as (
    select id from job
     where id = any($1) and state = 'blocked' and deadline <= clock_timestamp()
     order by id for no key update skip locked
)
update job j
   set state = 'failed', finished_at = clock_timestamp(), updated_at = clock_timestamp(),
       passed = j.remaining = 0 and j.successors = 0,
       error = jsonb_build_object('code', 'deadline', 'message',
                                  'the deadline passed before the job could begin')
  from locked where j.id = locked.id and j.id = any($1)
returning j.id
"""

WAITS_FOR = """
select e.pred from job_edge e join job j on j.id = e.pred
 where e.succ = $1 and not j.passed order by j.created_at, j.id limit $2
"""

PURGE = """
with old as (
    select id from job
     where queue is not null and passed
       and finished_at < clock_timestamp() - $1::float8 * interval '1 second'
     order by finished_at limit $2 for update skip locked
), edges as (
    delete from job_edge e using old where e.pred = old.id
)
delete from job j using old where j.id = old.id
"""
# Tails that nobody holds or waits in. Judged on one snapshot: so only one whose last comer is
# still the same goes. (Shared ones who come meanwhile are found by their own rows.)
PURGE_TAILS = """
with free as materialized (
    select holder, resource, exclusive from resource_tail t
     where not exists (select from job j where j.id = t.exclusive and not j.passed)
       and not exists (select from resource_shared s
                        where s.holder = t.holder and s.resource = t.resource)
     limit $1
), locked as (
    select t.holder, t.resource from resource_tail t join free using (holder, resource)
     where t.exclusive is not distinct from free.exclusive
     order by t.holder, t.resource
       for update of t skip locked
)
delete from resource_tail t using locked l where t.holder = l.holder and t.resource = l.resource
"""

HOLD = f"""
select id from job where id = $3 and state = 'running' and {HELD} for share
"""


class PgQueue(PgGraph):
    """``store.port.QueueStore`` on PostgreSQL."""

    def __init__(self, db: Database, rows: Rows = NO_ROWS) -> None:
        super().__init__(db)
        self._db = db
        self._rows = rows

    async def claim(
        self,
        hold: Hold,
        room: Mapping[str, int],
        first_steps: Mapping[str, str],
        again: Collection[UUID] = (),
    ) -> list[HeldJob]:
        rows = await self._db.fetch(
            CLAIM,
            hold.owner,
            hold.epoch,
            list(room),
            list(room.values()),
            list(first_steps),
            list(first_steps.values()),
            list(again),
        )
        rows.sort(key=lambda row: (row["due_at"], row["id"]))
        return [
            HeldJob(job=job_of(row), hold=hold, now=row["now"], resumed=row["resumed"])
            for row in rows
        ]

    async def held(self, hold: Hold) -> dict[UUID, bool]:
        rows = await self._db.fetch(RUNNING, hold.owner, hold.epoch)
        return {row["id"]: row["cancel_requested"] for row in rows}

    async def end_many(self, hold: Hold, ends: Sequence[tuple[UUID, StepEnd]]) -> set[UUID]:
        rows = await self._end(hold, ends)
        written = {row["id"] for row in rows if row["due"] is None}
        missed = [(job, end) for job, end in ends if job not in written]
        if missed:
            written |= await self._stand(hold, missed)
        if any(end.error is not None for _, end in ends):
            self._db.hint(EVENTS)
        self.hint_queues({row["queue"] for row in rows if row["ready"]})
        due = [row["id"] for row in rows if row["due"]]
        if due:
            await self.move_on(due)
        return written

    async def _end(self, hold: Hold, ends: Sequence[tuple[UUID, StepEnd]]) -> list[Row]:
        given = [_given(*one) for one in ends]
        if not any(end.writes for _, end in ends):
            return await self._db.fetch(END, hold.owner, hold.epoch, given)

        async def work(conn: Connection) -> list[Row]:
            rows = await conn.fetch(END, hold.owner, hold.epoch, given)
            ended = {row["id"] for row in rows if row["due"] is None}
            writes = (write for job, end in ends if job in ended for write in end.writes)
            await write_rows(conn, self._rows, writes)
            return rows

        return await self._db.run(work)

    async def _stand(self, hold: Hold, ends: Sequence[tuple[UUID, StepEnd]]) -> set[UUID]:
        rows = await self._db.fetch(
            STAND,
            hold.owner,
            hold.epoch,
            [job for job, _ in ends],
            [end.step for _, end in ends],
            [end.attempt for _, end in ends],
        )
        return {row["id"] for row in rows}

    async def release(self, hold: Hold, jobs: Collection[UUID]) -> int:
        rows = await self._db.fetch(RELEASE, hold.owner, hold.epoch, list(jobs))
        self.hint_queues({row["queue"] for row in rows})
        return len(rows)

    async def cancel_queued(self, job: UUID, *who: str | None) -> bool:
        """Cancel an unbound job; ``who``: user id, label, project and request, for the log."""
        row = await self._db.fetchrow(CANCEL, job, *who)
        if row is None:
            return False
        self.hint_queues([row["queue"]])
        if row["ended"]:
            await self.move_on([job])
        return True

    async def cancel_under(self, parent: UUID, kinds: Collection[str], *, begun: bool) -> int:
        rows = await self._db.fetch(CANCEL_UNDER, parent, begun, list(kinds))
        self.hint_queues({row["queue"] for row in rows})
        await self.move_on([row["id"] for row in rows if row["ended"]])
        return len(rows)

    async def tend(self, limit: int = 500) -> int:
        row = await self._db.fetchrow(AMISS, limit)
        assert row is not None  # noqa: S101 - arrays without a table make a row
        orphans: list[Row] = []
        expired: list[Row] = []
        if row["orphans"]:
            orphans = await self._db.fetch(ORPHANS, row["orphans"])
            self.hint_queues({orphan["queue"] for orphan in orphans})
        if row["expired"]:
            expired = await self._db.fetch(EXPIRE, row["expired"])
        todo = [*row["unpassed"], *(one["id"] for one in expired), *row["reservable"]]
        return len(orphans) + len(expired) + await self.move_on(todo)

    async def waits_for(self, job: UUID, limit: int = 100) -> list[UUID]:
        return [row["pred"] for row in await self._db.fetch(WAITS_FOR, job, limit)]

    async def purge_jobs(self, keep_s: float, limit: int) -> int:
        await self._db.execute(PURGE_TAILS, limit)
        return await self._db.execute(PURGE, keep_s, limit)

    async def hold_in(self, conn: Connection, hold: Hold, job: UUID) -> None:
        """Make what a transaction of the caller's writes the deed of whoever runs this job.

        Raises ``FenceLostError`` unless ``hold`` still runs it, and keeps it so until the
        transaction ends. Not in the port.
        """
        if await conn.fetchrow(HOLD, hold.owner, hold.epoch, job) is None:
            raise hold_lost(hold, job)


def hold_lost(hold: Hold, job: UUID) -> FenceLostError:
    """What to raise when a job is no longer run under this hold."""
    return FenceLostError(
        f"job {job} is no longer run by member {hold.owner} under epoch {hold.epoch}; "
        "whoever has it now goes on",
        job=job,
        epoch=hold.epoch,
    )


def _given(job: UUID, end: StepEnd) -> dict[str, object]:
    if (end.next_step is None) is not end.state.ended:
        raise InvalidInputError("a step leads either to a next step or to the job's end")
    if end.patch:
        raise InvalidInputError("an unbound job has no object whose fields it could write")
    done, total, message = bounded_progress(end.progress)
    return {
        "id": job,
        "step": end.step,
        "attempt": end.attempt,
        "next_step": end.next_step,
        "state": end.state,
        "memo": end.memo,
        "output": end.output,
        "result": end.result,
        "error": bounded_error(end.error),
        "done": done,
        "total": total,
        "message": message,
    }
