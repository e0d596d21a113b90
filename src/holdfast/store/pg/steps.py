"""The steps of a job, as its owner writes them: one fenced statement each, so all or nothing."""

# ruff: noqa: S608 - statements are put together from constants and the names in a TableSpec
from __future__ import annotations

from functools import lru_cache
from typing import Any
from uuid import UUID

from holdfast.errors import ConflictError, InvalidInputError, NotFoundError
from holdfast.store.events import TEXT_CHARS_MAX
from holdfast.store.model import Fence, Hold, Job, Json, StepEnd, StepSleep
from holdfast.store.pg.database import Database, Row, without_nul
from holdfast.store.pg.events import object_events
from holdfast.store.pg.fence import FENCE, HOLDS, arguments, lost
from holdfast.store.pg.notify import EVENTS
from holdfast.store.pg.queue import PgQueue
from holdfast.store.pg.queued_steps import QueuedSteps
from holdfast.store.pg.rows import bounded_error, bounded_progress, job_of, not_in_hand
from holdfast.store.pg.tables import Kinds, TableSpec, spec_of
from holdfast.store.pg.writes import NO_ROWS, Rows

KINDS_KEPT_MAX = 10_000

# $5 is the job. Only a job in the fenced shard is written, and only at the step it is at:
# a request that was long under way must not lead it back.
BEGIN = f"""
with {FENCE}
update job
   set state = 'running', step = $6,
       attempt = attempt + 1,
       step_open = true, wake_at = null, run_epoch = $4,
       attempts = attempts + (run_epoch is distinct from $4)::integer,
       updated_at = clock_timestamp()
 where id = $5 and grp = $1 and shard = $2 and state in ('queued', 'running')
   and (step is null or step = $6) and exists (select from f)
returning *
"""

# The step in hand: begun under this very fence and not yet ended or asleep. A late
# write of an earlier attempt finds nothing.
IN_HAND = """
 where id = $5 and grp = $1 and shard = $2 and state = 'running' and run_epoch = $4
   and step = $6 and attempt = $7 and step_open and exists (select from f)"""

PROGRESS_SET = """
       progress_done = coalesce($9::integer, progress_done),
       progress_total = coalesce($10::integer, progress_total),
       progress_message = coalesce($11::text, progress_message),"""

# $8 memo, $9..$11 progress, $12 output, $13 next step (null: the job ends),
# $14 state, $15 result, $16 error, $17... the object's fields. What happened to the object,
# and that the job ended, goes into the event log with it.
END = f"""
with {FENCE}{{object_lock}}, j as (
    update job
       set state = $14, step = coalesce($13, step), step_open = false, memo = $8,
           attempt = case when $13::text is null then attempt else 0 end,
           {PROGRESS_SET}
           result = $15, error = $16, wake_at = null, updated_at = clock_timestamp(),
           finished_at = case when $13::text is null then clock_timestamp() end,
           passed = $13::text is null and successors = 0 and remaining = 0
    {IN_HAND}{{object_there}}
    returning *
), journal as (
    insert into job_step (job, ordinal, step, attempt, member, epoch, output)
    select j.id, 1 + (select count(*) from job_step s where s.job = $5), $6, $7, $3, $4, $12
      from j
){{object_patch}}{{events}}
select * from j
"""

# $8 memo, $9..$11 progress, $12 signals seen, $13 seconds, $14... the object's fields.
# The deadline wakes the job, unless it has passed already: then this is its clean-up.
SLEEP = f"""
with {FENCE}{{object_lock}}, j as (
    update job
       set state = case when signal_seq > $12 then 'queued' else 'waiting' end,
           wake_at = case
               when signal_seq > $12 then null
               when deadline > clock_timestamp()
               then least(deadline, clock_timestamp() + $13::float8 * interval '1 second')
               else clock_timestamp() + $13::float8 * interval '1 second' end,
           step_open = false, memo = $8,
           {PROGRESS_SET}
           updated_at = clock_timestamp()
    {IN_HAND}{{object_there}}
    returning *
){{object_patch}}{{events}}
select * from j
"""

# The object of job $5, held before the job is: the order in which all lock.
OBJECT_LOCK = """, n as (
    select o.{key} as id{seen}
      from {table} o
     where o.{key} = (select object_id from job where id = $5)
       and o.grp = $1 and o.shard = $2 and exists (select from f)
       for no key update of o
)"""
OBJECT_THERE = " and object_id = (select id from n)"
OBJECT_PATCH = """, o as (
    update {table} set {assignments} where {key} = (select object_id from j)
    returning {returned}
)"""
ENDED = (
    "('job.ended', j.state, true,"
    f" jsonb_build_object('error', left(j.error->>'message', {TEXT_CHARS_MAX})))"
)
BY_JOB = "jsonb_build_object('job', j.id, 'job_kind', j.kind, 'step', $6::text)"

PROGRESS = f"""
with {FENCE}
update job
   set progress_done = $6, progress_total = $7, progress_message = $8,
       updated_at = clock_timestamp()
 where id = $5 and grp = $1 and shard = $2 and state = 'running' and run_epoch = $4
   and exists (select from f)
"""

JOB = "select * from job where id = $1"
LAST_RECORD = "select * from job_step where job = $1 order by ordinal desc limit 1"


class PgSteps:
    """The inner half of ``store.port.JobStore`` on PostgreSQL."""

    def __init__(self, db: Database, kinds: Kinds, rows: Rows = NO_ROWS) -> None:
        self._db = db
        self._kinds = kinds
        self._object_kinds: dict[UUID, str] = {}
        self._queued = QueuedSteps(db, PgQueue(db, rows), rows)

    async def begin_step(self, fence: Fence | Hold, job: UUID, step: str) -> Job:
        if isinstance(fence, Hold):
            return await self._queued.begin_step(fence, job, step)
        row = await self._db.fetchrow(BEGIN, *arguments(fence), job, step)
        if row is None:
            found = await self._explained(fence, job)
            raise ConflictError(
                f"job {job} is {found.state} at step {found.step!r}; {step!r} cannot begin",
                kind="step",
                job=job,
            )
        if len(self._object_kinds) >= KINDS_KEPT_MAX:
            self._object_kinds.clear()
        self._object_kinds[job] = row["object_kind"]
        return job_of(row)

    async def end_step(self, fence: Fence | Hold, job: UUID, end: StepEnd) -> Job:
        if isinstance(fence, Hold):
            return await self._queued.end_step(fence, job, end)
        if (end.next_step is None) is not end.state.ended:
            raise InvalidInputError("a step leads either to a next step or to the job's end")
        row = await self._write(
            END,
            (fence, job, end.step, end.attempt),
            end.patch,
            end.memo,
            *bounded_progress(end.progress),
            end.output,
            end.next_step,
            end.state,
            end.result,
            bounded_error(end.error),
            ends=end.next_step is None,
        )
        if row is not None:
            return job_of(row)
        found = await self._explained(fence, job)
        last = await self._db.fetchrow(LAST_RECORD, job)
        written = (end.step, end.attempt, fence.owner, fence.epoch)
        if last is not None and written == tuple(
            last[name] for name in ("step", "attempt", "member", "epoch")
        ):
            return found
        raise not_in_hand(found, end.step, end.attempt)

    async def sleep_step(self, fence: Fence | Hold, job: UUID, sleep: StepSleep) -> Job:
        if isinstance(fence, Hold):
            return await self._queued.sleep_step(fence, job, sleep)
        row = await self._write(
            SLEEP,
            (fence, job, sleep.step, sleep.attempt),
            sleep.patch,
            sleep.memo,
            *bounded_progress(sleep.progress),
            sleep.seen_seq,
            sleep.wake_in_s,
        )
        if row is not None:
            return job_of(row)
        found = await self._explained(fence, job)
        asleep = (found.step, found.attempt, found.step_open, found.run_epoch)
        if not found.state.ended and asleep == (sleep.step, sleep.attempt, False, fence.epoch):
            return found
        raise not_in_hand(found, sleep.step, sleep.attempt)

    async def progress(
        self, fence: Fence | Hold, job: UUID, done: int, total: int, message: str
    ) -> None:
        if isinstance(fence, Hold):
            await self._queued.progress(fence, job, done, total, message)
            return
        written = await self._db.execute(
            PROGRESS, *arguments(fence), job, *bounded_progress((done, total, message))
        )
        if not written:
            found = await self._explained(fence, job)
            raise ConflictError(
                f"job {job} is {found.state} and not run under epoch {fence.epoch}",
                kind="step",
                job=job,
            )

    async def _write(
        self,
        statement: str,
        in_hand: tuple[Fence, UUID, str, int],
        patch: dict[str, Json],
        *args: object,
        ends: bool = False,
    ) -> Row | None:
        """Run END or SLEEP with the object's patch; None if it wrote nothing."""
        fence, job, step, attempt = in_hand
        names = tuple(sorted(patch))
        about = await self._about(job) if names or ends else None
        # The fence, the job and the step take $1..$7.
        text = _filled(statement, about, names, 8 + len(args), ends=ends)
        values = (without_nul(patch[name]) for name in names)
        row = await self._db.fetchrow(text, *arguments(fence), job, step, attempt, *args, *values)
        if row is not None and about is not None and (ends or about[1].watch.watched(names)):
            self._db.hint(EVENTS)
        return row

    async def _about(self, job: UUID) -> tuple[str, TableSpec]:
        """The kind and table of the job's object. Remembered: a job keeps its object."""
        kind = self._object_kinds.get(job)
        if kind is None:
            kind = await self._db.fetchval("select object_kind from job where id = $1", job)
            if kind is None:
                raise NotFoundError(f"job {job} does not exist", id=job)
        return kind, spec_of(self._kinds, kind)

    async def _explained(self, fence: Fence, job: UUID) -> Job:
        """The job, if the fence holds and covers it; else what is wrong, raised."""
        row = await self._db.fetchrow(JOB, job)
        if row is None:
            raise NotFoundError(f"job {job} does not exist", id=job)
        covered = (row["grp"], row["shard"]) == (fence.group, fence.shard)
        if not covered or not await self._db.fetchval(HOLDS, *arguments(fence)):
            raise lost(fence)
        return job_of(row)


@lru_cache(maxsize=512)
def _filled(
    statement: str,
    about: tuple[str, TableSpec] | None,
    names: tuple[str, ...],
    first: int,
    *,
    ends: bool,
) -> str:
    """The statement with the object's part in it, if there is one, and with its events."""
    if about is None:
        return statement.format(object_lock="", object_there="", object_patch="", events="")
    kind, spec = about
    table: dict[str, Any] = {"table": spec.table, "key": spec.key}
    watched = spec.watch.watched(names)
    seen = sorted({*watched, *spec.watch.describing})
    parts = {
        "object_lock": OBJECT_LOCK.format(seen="".join(f", o.{name}" for name in seen), **table),
        "object_there": OBJECT_THERE,
        "object_patch": "",
        "events": "",
    }
    if names:
        parts["object_patch"] = OBJECT_PATCH.format(
            assignments=spec.assignments(names, first),
            returned=", ".join(watched) or spec.key,
            **table,
        )
    if watched or ends:
        told = object_events(
            spec,
            kind,
            names,
            said=BY_JOB,
            actor="nullif(j.requested_by, '')",
            source="j, n, o" if names else "j, n",
            lines=(ENDED,) if ends else (),
        )
        parts["events"] = f", told as ({told}\n)"
    return statement.format(**parts)
