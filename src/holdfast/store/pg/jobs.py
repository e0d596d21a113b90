"""Durable jobs as seen from outside their steps: submitted, signalled, acquired, read."""

# ruff: noqa: S608 - statements are put together from constants and the names in a TableSpec
from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

from holdfast.errors import ConflictError, NotFoundError
from holdfast.store.events import NewEvent, Watch, actor, changes, described
from holdfast.store.model import (
    Fence,
    Job,
    JobLimit,
    Json,
    NewJob,
    ObjectRef,
    OwnedJob,
    StepRecord,
    Submission,
)
from holdfast.store.pg.admission import LIMITED_WAIT, admit, keep_back, limited_kinds
from holdfast.store.pg.database import Connection, Database, Row, without_nul
from holdfast.store.pg.events import RECORD, name_of, projects_of
from holdfast.store.pg.notify import JOBS, queue_topic
from holdfast.store.pg.queue import PgQueue
from holdfast.store.pg.rows import ACTIVE, ACTIVE_ANYWHERE, job_of, record_of
from holdfast.store.pg.tables import Kinds, TableSpec, spec_of

# The job a submission made before, or else the one that has the object in hand.
IN_THE_WAY = f"""
select * from job where id = $1 or (object_id = $2 and {ACTIVE}) order by (id = $1) desc limit 1
"""

# $10: the events of it, among them that of the job itself.
INSERT_JOB = f"""
with j as (
    insert into job (id, kind, object_kind, object_id, grp, shard, args, deadline, requested_by)
    values ($1, $2, $3, $4, $5, $6, $7,
            clock_timestamp() + $8::double precision * interval '1 second', $9)
    returning *
), told as ({RECORD.format(place="$10")}
)
select * from j
"""

# What is ``busy`` runs here already. Rows that others hold are left for the next time;
# a claim about to pass on is waited for, and its jobs then left to the new owner.
# Found by the index job_due; the odd order keeps the planner from walking through all
# jobs there ever were by the index of their creation.
ACQUIRE = f"""
with wanted as (
    select j.id, c.epoch
      from shard_claim c join job j on j.grp = c.grp and j.shard = c.shard
     where c.owner = $1 and c.incarnation = $2
       and exists (select from member m where m.id = $1 and m.epoch = $2 and m.state <> 'gone')
       and j.{ACTIVE} and j.queue is null
       and coalesce(j.wake_at, '-infinity'::timestamptz) <= statement_timestamp()
       and j.id <> all($3::uuid[])
       and (j.run_epoch is not null or j.cancel_requested
            or j.kind <> all($5::text[]) or j.id = any($6::uuid[]))
     order by j.created_at + interval '0', j.id
     limit $4
       for share of c
       for no key update of j skip locked
)
update job j
   set state = 'running', wake_at = null, run_epoch = wanted.epoch,
       attempts = attempts + (run_epoch is distinct from wanted.epoch)::integer,
       deadline = deadline + case when run_epoch is null and kind = any($5)
                                  then clock_timestamp() - created_at else interval '0' end,
       updated_at = clock_timestamp()
  from wanted
 where j.id = wanted.id
returning j.*, clock_timestamp() as now
"""

SIGNAL = """
update job
   set signal_seq = signal_seq + 1, inbox = inbox || jsonb_build_object($2::text, $3::jsonb),
       due_at = case when state = 'waiting' and queue is not null
                     then clock_timestamp() else due_at end,
       state = case state when 'waiting' then 'queued' else state end, wake_at = null,
       updated_at = clock_timestamp()
 where id = $1 and state in ('blocked', 'queued', 'running', 'waiting')
returning queue
"""

# Counted as a signal, so that a step about to sleep notices it, once.
CANCEL = f"""
with was as (
    select id, cancel_requested from job where id = $1 and {ACTIVE} for no key update
), j as (
    update job
       set signal_seq = signal_seq + 1, cancel_requested = true,
           state = case state when 'waiting' then 'queued' else state end, wake_at = null,
           updated_at = clock_timestamp()
     where id = (select id from was)
    returning *
), told as (
    insert into event (kind, user_id, actor, project, request,
                       object_kind, object_id, object_name, projects, data)
    select 'job.cancel_requested', $2::text, $3::text, $4::text, $5::text,
           j.object_kind, j.object_id::text, {{name}}, {{projects}},
           jsonb_build_object('job', j.id, 'job_kind', j.kind, 'step', j.step)
      from was, j join {{table}} n on n.{{key}} = j.object_id
     where not was.cancel_requested
)
select from j
"""

KIND_OF = "select object_kind, queue from job where id = $1"
JOB = "select * from job where id = $1"
ACTIVE_JOB = f"select * from job where object_kind = $1 and object_id = $2 and {ACTIVE}"
JOBS_NEWEST = "select * from job where {where} order by created_at desc, id desc limit $1"
JOURNAL = "select * from job_step where job = $1 order by ordinal"


# Found by the index of their creation, which came before their end. One that others wait for
# stays until it has passed them on.
PURGE = """
with old as (
    select id from job
     where queue is null and passed
       and created_at < statement_timestamp() - $1::float8 * interval '1 second'
       and finished_at < statement_timestamp() - $1::float8 * interval '1 second'
     order by created_at limit $2 for update skip locked
), edges as (
    delete from job_edge e using old where e.pred = old.id
)
delete from job j using old where j.id = old.id
"""


class PgJobs:
    """The outer half of ``store.port.JobStore`` on PostgreSQL (the inner one: ``steps``)."""

    def __init__(self, db: Database, kinds: Kinds) -> None:
        self._db = db
        self._kinds = kinds

    async def submit(self, submission: Submission) -> Job:
        spec = spec_of(self._kinds, submission.job.object.kind)
        spec.check(submission.expect)

        async def work(conn: Connection) -> Job:
            return await _submit(conn, spec, submission)

        job = await self._db.run(work)
        self._db.hint(JOBS)
        return job

    async def insert_job(self, conn: Connection, new: NewJob, group: str, shard: int) -> Job:
        """Enqueue a job in a transaction of the caller's, which holds the object's row.

        Raises ``ConflictError`` if the object has an active job. Not in the port;
        call ``Database.hint("jobs")`` once the transaction is committed.
        """
        await _refuse_if_busy(conn, new)
        spec = spec_of(self._kinds, new.object.kind)
        row = None
        if names := ", ".join(spec.watch.describing):
            row = await conn.fetchrow(
                f"select {names} from {spec.table} where {spec.key} = $1", new.object.id
            )
        told = _submitted(spec.watch, new, {} if row is None else dict(row))
        return await _insert(conn, new, group, shard, [told])

    async def acquire(
        self,
        member: UUID,
        member_epoch: int,
        busy: Sequence[UUID],
        limit: int,
        limits: Sequence[JobLimit] = (),
    ) -> list[OwnedJob]:
        wanted = (member, member_epoch, list(busy), limit, limited_kinds(limits))

        async def work(conn: Connection) -> list[Row]:
            admitted = await admit(conn, member, member_epoch, limits)
            rows = await conn.fetch(ACQUIRE, *wanted, admitted)
            await keep_back(conn, member, member_epoch, limits)
            return rows

        # Most of the time nobody waits for a place: then it is one statement.
        crowded = limits and await self._db.fetchval(LIMITED_WAIT, wanted[-1])
        rows = await (self._db.run(work) if crowded else self._db.fetch(ACQUIRE, *wanted, []))
        rows.sort(key=lambda row: (row["created_at"], row["id"]))
        return [
            OwnedJob(
                job=job_of(row),
                fence=Fence(row["grp"], row["shard"], member, row["run_epoch"]),
                now=row["now"],
            )
            for row in rows
        ]

    async def signal(self, job: UUID, key: str, payload: Json) -> bool:
        row = await self._db.fetchrow(SIGNAL, job, without_nul(key), payload)
        if row is None:
            return False
        self._db.hint(JOBS if row["queue"] is None else queue_topic(row["queue"]))
        return True

    async def cancel(self, job: UUID) -> bool:
        row = await self._db.fetchrow(KIND_OF, job)
        if row is None:
            return False
        who = actor()
        by = (who.user_id, who.label, who.project, who.request)
        if row["queue"] is not None:
            return await PgQueue(self._db).cancel_queued(job, *by)
        spec = spec_of(self._kinds, row["object_kind"])
        statement = CANCEL.format(
            table=spec.table, key=spec.key, name=name_of(spec), projects=projects_of(spec)
        )
        cancelled = await self._db.execute(statement, job, *by) > 0
        if cancelled:
            self._db.hint(JOBS)
        return cancelled

    async def job(self, job: UUID) -> Job | None:
        row = await self._db.fetchrow(JOB, job)
        return None if row is None else job_of(row)

    async def active_job(self, obj: ObjectRef) -> Job | None:
        row = await self._db.fetchrow(ACTIVE_JOB, obj.kind, obj.id)
        return None if row is None else job_of(row)

    async def jobs(
        self,
        *,
        obj: ObjectRef | None = None,
        queue: str | None = None,
        bound: bool = False,
        active: bool = False,
        limit: int = 100,
    ) -> list[Job]:
        # Whole statements rather than "or $2 is null": each then has an index to follow.
        where = ["true"]
        args: list[object] = [limit]
        if obj is not None:
            where.append("object_kind = $2 and object_id = $3")
            args += [obj.kind, obj.id]
        if queue is not None:
            args.append(queue)
            where.append(f"queue = ${len(args)}")
        if bound:
            where.append("queue is null")
        if active:
            where.append(ACTIVE if bound or obj else ACTIVE_ANYWHERE)
        statement = JOBS_NEWEST.format(where=" and ".join(where))
        return [job_of(row) for row in await self._db.fetch(statement, *args)]

    async def journal(self, job: UUID) -> list[StepRecord]:
        return [record_of(row) for row in await self._db.fetch(JOURNAL, job)]

    async def purge_bound_jobs(self, keep_s: float, limit: int) -> int:
        return await self._db.execute(PURGE, keep_s, limit)


async def _submit(conn: Connection, spec: TableSpec, submission: Submission) -> Job:
    new = submission.job
    watch = spec.watch
    seen = {"grp", "shard", *submission.expect, *watch.watched(tuple(submission.patch))}
    fields = ", ".join(sorted(seen | set(watch.describing)))
    # Held to the end: two submissions for one object come one after the other.
    row = await conn.fetchrow(
        f"select {fields} from {spec.table} where {spec.key} = $1 for no key update",
        new.object.id,
    )
    found = await conn.fetchrow(IN_THE_WAY, new.id, new.object.id)
    if found is not None and found["id"] == new.id:
        return _repeated(new, job_of(found))
    if row is None:
        raise NotFoundError(f"{new.object.kind} {new.object.id} does not exist", id=new.object.id)
    check_expectations(submission.expect, row)
    if found is not None:
        raise busy(job_of(found))
    if submission.patch:
        names = sorted(submission.patch)
        await conn.execute(
            f"update {spec.table} set {spec.assignments(names, 2)} where {spec.key} = $1",
            new.object.id,
            *(without_nul(submission.patch[name]) for name in names),
        )
    was = dict(row)
    told = changes(watch, new.object, was, submission.patch, data=_of(new))
    return await _insert(conn, new, was["grp"], was["shard"], [_submitted(watch, new, was), *told])


def _of(new: NewJob) -> dict[str, Json]:
    return {"job": str(new.id), "job_kind": new.kind}


def _submitted(watch: Watch, new: NewJob, document: dict[str, Json]) -> NewEvent:
    """That a user (or the system) asked for it. Its arguments stay out: they may be secret."""
    return described(watch, new.object, document, "job.submitted", _of(new))


async def _insert(
    conn: Connection, new: NewJob, group: str, shard: int, told: list[NewEvent]
) -> Job:
    row = await conn.fetchrow(
        INSERT_JOB,
        new.id,
        new.kind,
        new.object.kind,
        new.object.id,
        group,
        shard,
        new.args,
        new.deadline_s,
        new.requested_by,
        told,
    )
    assert row is not None  # noqa: S101 - an insert returns its row
    return job_of(row)


async def _refuse_if_busy(conn: Connection, new: NewJob) -> None:
    found = await conn.fetchrow(IN_THE_WAY, new.id, new.object.id)
    if found is not None:
        raise busy(job_of(found))


def _repeated(new: NewJob, made: Job) -> Job:
    if made.binding is None or (made.kind, made.object) != (new.kind, new.object):
        raise ConflictError(
            f"the id {new.id} is that of another job ({made.kind}); choose a new one",
            kind="job_id",
            job=made.id,
        )
    return made


def check_expectations(expect: Mapping[str, tuple[Json, ...]], row: Row) -> None:
    """``ConflictError`` with kind "state" unless each field has one of its allowed values."""
    for field, allowed in expect.items():
        if row[field] not in allowed:
            choices = ", ".join(repr(value) for value in allowed)
            raise ConflictError(
                f"{field} is {row[field]!r}; this needs it to be {choices}",
                kind="state",
                field=field,
                actual=row[field],
                allowed=allowed,
            )


def busy(job: Job) -> ConflictError:
    """What to raise when another job has the object in hand."""
    return ConflictError(
        f"{job.object.kind} {job.object.id} is busy with {job.kind}; "
        "wait for it to end, or cancel it",
        kind="busy",
        job=job.id,
        job_kind=job.kind,
    )
