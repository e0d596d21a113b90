"""Graphs and reservations in PostgreSQL (the rules are in ``store.graph``).

Locks come in one order: tails by resource, then jobs by id, whoever ends, enqueues or
reserves. An edge is counted on both its jobs (``remaining``, ``successors``) in the
transaction that writes it, which holds both rows. So a statement that ends a job, and
counts fewer edges in its snapshot than the row says, knows that one came meanwhile: it
leaves the job ended but not *passed*, and the next statement finds it.
"""

# ruff: noqa: S608 - statements are put together from constants
from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from uuid import UUID

import msgspec

from holdfast.errors import ConflictError, NotFoundError
from holdfast.store.graph import (
    EVERYBODY,
    Edge,
    EdgeKind,
    Entry,
    Known,
    Place,
    Tail,
    Want,
    check_child,
    checked,
    enter,
    outside,
    reserved,
)
from holdfast.store.model import JobState, QueuedJob
from holdfast.store.pg.database import Connection, Database, Row
from holdfast.store.pg.notify import queue_topic

ENDED = "state in ('succeeded', 'failed', 'cancelled')"
TURN_MAX = 500  # jobs moved on in one transaction
ROUNDS_MAX = 50  # of a chain of jobs that fail each other; a later call goes on from there

# In all that follows jobs are found by "id = any(array)", whatever they are then joined with:
# that is the one form which follows the primary key even in a plan that was made, and kept,
# while the table was small.

# Opens the edges of ``gone`` (id, state), whose rows and successors are locked; ``path`` has
# its edges, and those of others. Returns which jobs are ``ready`` to run now, and which are
# ``due`` to be moved on themselves.
PASS_ON = f"""
opened as materialized (
    select e.succ, count(*)::integer as n,
           min(e.pred::text) filter (where e.kind = 'dependency' and g.state <> 'succeeded') as bad
      from gone g join path e on e.pred = g.id
     group by e.succ
), freed as (
    update job j
       set remaining = j.remaining - o.n,
           state = case when j.state <> 'blocked' then j.state
                        when o.bad is not null then 'failed'
                        when j.remaining = o.n and not j.reserving then 'queued'
                        else 'blocked' end,
           error = case when j.state <> 'blocked' or o.bad is null then j.error else
               jsonb_build_object('code', 'dependency_failed', 'message',
                   'job ' || o.bad || ', which this one depends on, did not succeed') end,
           finished_at = case when j.state = 'blocked' and o.bad is not null
                              then clock_timestamp() else j.finished_at end,
           passed = j.remaining = o.n and j.successors = 0
                    and (j.{ENDED} or j.state = 'blocked' and o.bad is not null),
           updated_at = clock_timestamp()
      from opened o
     where j.id = o.succ and j.id = any(array(select succ from opened))
    returning j.id, j.queue, j.state, j.remaining, j.reserving, j.passed
), let_go as (
    delete from resource_shared s
     where s.job in (select id from gone union all select id from freed where passed)
)
select id, queue, state = 'queued' as ready,
       remaining = 0 and (state = 'blocked' and reserving or {ENDED} and not passed) as due
  from freed
 where remaining = 0 and not passed and state <> 'running' and state <> 'waiting'
"""

# $1: which of those that have ended and wait for nobody.
MOVE_ON = f"""
with due as materialized (
    select id from job where id = any($1) and not passed and remaining = 0 and {ENDED}
), path as materialized (
    select e.pred, e.succ, e.kind from due d join job_edge e on e.pred = d.id
), locked as materialized (
    select j.id, j.state, j.remaining, j.passed, j.successors
      from job j
     where j.id = any(array(select id from due union select succ from path))
     order by j.id
       for no key update of j
), gone as (
    update job j
       set passed = true
      from locked l
     where j.id = l.id and not l.passed and l.remaining = 0 and l.{ENDED}
       and j.id = any(array(select id from due))
       and l.successors = (select count(*) from path where pred = l.id)
    returning j.id, j.state
), {PASS_ON}
union all
select l.id, null, false, true
  from locked l
 where not l.passed and l.remaining = 0 and l.{ENDED} and l.id in (select id from due)
   and l.id not in (select id from gone)
"""

WANTS = """
select id, queue, holder, exclusive, shared from job
 where id = any($1) and state = 'blocked' and reserving and remaining = 0
 order by due_at, id
"""
MAKE_TAILS = """
insert into resource_tail (holder, resource)
select h, r from unnest($1::uuid[], $2::text[]) as p (h, r)
 where not exists (select from resource_tail t where t.holder = h and t.resource = r)
 order by h, r
on conflict do nothing
"""
LOCK_TAILS = """
select t.holder, t.resource, t.exclusive
  from resource_tail t join unnest($1::uuid[], $2::text[]) as p (h, r)
       on t.holder = p.h and t.resource = p.r
 order by t.holder, t.resource
   for {how} of t
"""
SHARED = """
select s.holder, s.resource, s.job
  from resource_shared s join unnest($1::uuid[], $2::text[]) as p (h, r)
       on s.holder = p.h and s.resource = p.r
"""
WRITE_TAILS = """
update resource_tail t set exclusive = p.e
  from unnest($1::uuid[], $2::text[], $3::uuid[]) as p (h, r, e)
 where t.holder = p.h and t.resource = p.r
"""
DROP_SHARED = """
delete from resource_shared s using unnest($1::uuid[], $2::text[]) as p (h, r)
 where s.holder = p.h and s.resource = p.r
"""
ADD_SHARED = """
insert into resource_shared (holder, resource, job)
select * from unnest($1::uuid[], $2::text[], $3::uuid[])
"""

LOCK_JOBS = """
select id, kind, queue, state, passed, parent, remaining, reserving, attempts
  from job where id = any($1) order by id for no key update
"""
ADD_EDGES = """
insert into job_edge (pred, succ, kind)
select * from unnest($1::uuid[], $2::uuid[], $3::text[])
"""
# Counts edges on the jobs at both ends; those that are just being inserted have theirs.
COUNT_EDGES = """
update job j set successors = j.successors + c.n
  from unnest($1::uuid[], $2::integer[]) as c (id, n)
 where j.id = c.id
"""
COUNT_CHILDREN = "update job set remaining = remaining + $2 where id = $1"
# In the queue for all it wants: blocked by those before it, or free to run.
IN_LINE = """
update job j
   set reserving = false, remaining = c.n,
       state = case when c.n = 0 then 'queued' else 'blocked' end
  from unnest($1::uuid[], $2::integer[]) as c (id, n)
 where j.id = c.id
"""

# $2 parent, $3 holder. In line in the order given, a microsecond apart, the last of them now.
INSERT_JOBS = """
insert into job (id, kind, queue, args, state, exclusive, shared, remaining, successors,
                 reserving, passed, error, deadline, requested_by, parent, holder,
                 created_at, due_at, finished_at)
select g.id, g.kind, g.queue, coalesce(g.args, '{}'), g.state,
       coalesce(g.exclusive, '{}'), coalesce(g.shared, '{}'),
       g.remaining, g.successors, g.reserving, g.passed, g.error,
       t.now + g.deadline_s * interval '1 second', coalesce(g.requested_by, ''), $2, $3,
       t.now - g.back * interval '1 microsecond', t.now - g.back * interval '1 microsecond',
       case when g.state = 'failed' then t.now end
  from jsonb_to_recordset($1) as g (
           id uuid, kind text, queue text, args jsonb, state text, exclusive text[],
           shared text[], remaining integer, successors integer, reserving boolean,
           passed boolean, error jsonb, deadline_s double precision, requested_by text,
           back integer),
       (select clock_timestamp() as now) t
"""
PARENT = "select id, queue, exclusive, shared, holder from job where id = $1"
RESERVES = "select exclusive, shared from job where id = $1"


class PgGraph:
    """The half of ``store.port.QueueStore`` about what comes before what."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def enqueue(self, jobs: Sequence[QueuedJob], *, parent: UUID | None = None) -> int:
        async def work(conn: Connection) -> list[Entry]:
            return await enqueue(conn, jobs, parent)

        try:
            entries = await self._db.run(work)
        except ConflictError as fault:
            if fault.details.get("constraint") != "job_pkey":
                raise
            # Somebody enqueued one of them at the same time: now it is there to be seen.
            entries = await self._db.run(work)
        self.hint_queues(entry.job.queue for entry in entries)
        await self.move_on([entry.job.id for entry in entries if entry.reserving])
        return len(entries)

    async def enqueue_in(
        self, conn: Connection, jobs: Sequence[QueuedJob], *, parent: UUID | None = None
    ) -> int:
        """``enqueue`` in the caller's transaction, which locks no jobs before. Not in the port.

        Call ``hint_queues`` once it is committed. Raises ``ConflictError`` (``duplicate``)
        if one of the jobs is being enqueued elsewhere at the same time.
        """
        return len(await enqueue(conn, jobs, parent))

    def hint_queues(self, queues: Iterable[str | None]) -> None:
        """Tell the workers of these queues."""
        topics = {queue_topic(queue) for queue in queues if queue is not None}
        if topics:
            self._db.hint(*topics)

    async def move_on(self, jobs: Collection[UUID]) -> int:
        """Pass on what those have held up that ended, queue those that want to reserve.

        And so on with what that brings about, one transaction at a time: a chain of a
        thousand jobs that fail each other locks no more than a few rows at once, and if
        this process dies half way the next ``tend`` goes on. Returns how many moved.
        """
        moved, queues, todo = 0, set[str | None](), list(dict.fromkeys(jobs))
        for _ in range(ROUNDS_MAX):
            if not todo:
                break
            now, todo = todo[:TURN_MAX], todo[TURN_MAX:]
            rows = await self._db.fetch(MOVE_ON, now)
            ready = await self._reserve(now)
            queues |= {row["queue"] for row in rows if row["ready"]} | ready.keys()
            moved += len(rows) + ready.total()
            todo += [row["id"] for row in rows if row["due"]]
        self.hint_queues(queues)
        return moved

    async def _reserve(self, jobs: Sequence[UUID]) -> Counter[str]:
        """Queue for resources whichever of these jobs shall; how many, by queue."""

        async def work(conn: Connection) -> Counter[str]:
            rows = await conn.fetch(WANTS, jobs)
            wants = [want_of(row) for row in rows]
            tails = await lock_tails(conn, wants)
            named = {job for tail in tails.values() for job in tail.jobs}
            locked = await conn.fetch(LOCK_JOBS, [*named, *(want.job for want in wants)])
            still = {
                row["id"]
                for row in locked
                if row["state"] == "blocked" and row["reserving"] and not row["remaining"]
            }
            passed = named - {row["id"] for row in locked if not row["passed"]}
            wants = [want for want in wants if want.job in still]
            before = reserved(wants, tails, passed)
            await write_tails(conn, wants, tails)
            await _write_reservations(conn, before, new=())
            return Counter(row["queue"] for row in rows if row["id"] in still)

        if not await self._db.fetch(WANTS, jobs):
            return Counter()
        return await self._db.run(work)


async def enqueue(conn: Connection, jobs: Sequence[QueuedJob], parent: UUID | None) -> list[Entry]:
    """Write those of the jobs that are not there yet, in the caller's transaction."""
    batch = checked(jobs)
    holder = EVERYBODY if parent is None else await _holder(conn, parent, batch)
    at_once = [_want(job, holder) for job in batch if not (job.after or job.after_end)]
    tails = await lock_tails(conn, [want for want in at_once if want.places()])
    named = {job for tail in tails.values() for job in tail.jobs}
    outer = outside(batch)
    wanted = {*(job.id for job in batch), *outer, *named}
    if parent is not None:
        wanted.add(parent)
    locked = {row["id"]: row for row in await conn.fetch(LOCK_JOBS, list(wanted))}
    new = [job for job in batch if not _is_there(job, locked.get(job.id))]
    if not new:
        return []
    _check_there(locked, outer)
    if parent is not None:
        _check_parent(locked[parent])
    known = {
        job: Known(JobState(r["state"]), r["passed"], r["parent"]) for job, r in locked.items()
    }
    entries, edges = enter(new, known, parent)
    made = {entry.job.id: entry for entry in entries}
    wants = [want for want in at_once if want.job in made and made[want.job].reserving]
    passed = {job for job in named if job not in known or known[job].passed}
    before = reserved(wants, tails, passed)
    for job, preds in before.items():
        entry = made[job]
        entry.reserving, entry.remaining = False, len(preds)
        entry.state = JobState.BLOCKED if preds else JobState.QUEUED
        for pred in preds:
            if pred in made:
                made[pred].successors += 1
    await _insert(conn, entries, parent, holder)
    await write_tails(conn, wants, tails)
    await _write_edges(conn, edges, made)
    await _write_reservations(conn, before, new=made)
    if parent is not None:
        children = sum(edge.succ == parent for edge in edges)
        await conn.execute(COUNT_CHILDREN, parent, children)
    return entries


async def _holder(conn: Connection, parent: UUID, batch: Iterable[QueuedJob]) -> UUID:
    """The nearest ancestor that reserves something; then its children reserve nothing else."""
    row = await conn.fetchrow(PARENT, parent)
    if row is None or row["queue"] is None:
        raise NotFoundError(f"job {parent}, the parent, is not there, or not unbound", id=parent)
    if row["exclusive"] or row["shared"]:
        holder, reserves = parent, row
    else:
        holder = row["holder"]
        reserves = await conn.fetchrow(RESERVES, holder)
    if reserves is not None:
        for job in batch:
            check_child(job, reserves["exclusive"], reserves["shared"])
    return holder


def _is_there(job: QueuedJob, row: Row | None) -> bool:
    if row is not None and (row["kind"], row["queue"]) != (job.kind, job.queue):
        raise ConflictError(
            f"the id {job.id} is that of another job ({row['kind']}); choose a new one",
            kind="job_id",
            job=job.id,
        )
    return row is not None


def _check_there(locked: Mapping[UUID, Row], outer: Collection[UUID]) -> None:
    missing = sorted(outer - locked.keys())
    if missing:
        raise NotFoundError(
            f"job {missing[0]}, which others come after, does not exist", id=missing[0]
        )


def _check_parent(row: Row) -> None:
    if not row["attempts"] or JobState(row["state"]).ended:
        raise ConflictError(
            f"job {row['id']} is {row['state']}: only a job that has begun, and not ended, "
            "has children",
            kind="parent",
            job=row["id"],
        )


def _want(job: QueuedJob, holder: UUID) -> Want:
    return Want(job.id, holder, job.exclusive, job.shared)


def want_of(row: Row) -> Want:
    """What a row of ``job`` reserves."""
    return Want(row["id"], row["holder"], tuple(row["exclusive"]), tuple(row["shared"]))


async def lock_tails(conn: Connection, wants: Sequence[Want]) -> dict[Place, Tail]:
    """The tails of all these wants, locked in one order; the shared jobs where they count."""
    modes: dict[Place, bool] = {}
    for want in wants:
        for place, alone in want.places():
            modes[place] = alone or modes.get(place, False)
    if not modes:
        return {}
    holders, names = _columns(modes)
    # Those who only share need not wait for each other.
    how = "update" if any(modes.values()) else "share"
    tails: dict[Place, Tail] = {}
    while len(tails) < len(modes):  # again if one was purged in between
        await conn.execute(MAKE_TAILS, holders, names)
        rows = await conn.fetch(LOCK_TAILS.format(how=how), holders, names)
        tails = {(row["holder"], row["resource"]): Tail(row["exclusive"]) for row in rows}
    alone = [place for place, mode in modes.items() if mode]
    if alone:
        for row in await conn.fetch(SHARED, *_columns(alone)):
            tails[row["holder"], row["resource"]].shared.append(row["job"])
    return tails


async def write_tails(conn: Connection, wants: Sequence[Want], tails: Mapping[Place, Tail]) -> None:
    """What the tails have become by these wants."""
    touched = {place: alone for want in wants for place, alone in want.places()}
    taken = {place for want in wants for place, alone in want.places() if alone}
    if taken:
        columns = _columns(taken)
        ends = [tails[holder, name].exclusive for holder, name in zip(*columns, strict=True)]
        await conn.execute(WRITE_TAILS, *columns, ends)
        await conn.execute(DROP_SHARED, *columns)
    mine = {want.job for want in wants}
    added = [(place, job) for place in touched for job in tails[place].shared if job in mine]
    if added:
        columns = _columns([place for place, _ in added])
        await conn.execute(ADD_SHARED, *columns, [job for _, job in added])


def _columns(places: Iterable[Place]) -> tuple[list[UUID], list[str]]:
    listed = list(places)
    return [holder for holder, _ in listed], [name for _, name in listed]


async def _insert(
    conn: Connection, entries: Sequence[Entry], parent: UUID | None, holder: UUID
) -> None:
    last = len(entries) - 1
    rows = [
        {
            "id": entry.job.id,
            "kind": entry.job.kind,
            "queue": entry.job.queue,
            "args": entry.job.args,
            "state": entry.state,
            "exclusive": entry.job.exclusive,
            "shared": entry.job.shared,
            "remaining": entry.remaining,
            "successors": entry.successors,
            "reserving": entry.reserving,
            "passed": entry.passed,
            "error": None if entry.error is None else msgspec.to_builtins(entry.error),
            "deadline_s": entry.job.deadline_s,
            "requested_by": entry.job.requested_by,
            "back": last - n,
        }
        for n, entry in enumerate(entries)
    ]
    await conn.execute(INSERT_JOBS, rows, parent, holder)


async def _write_edges(conn: Connection, edges: Sequence[Edge], new: Collection[UUID]) -> None:
    """Insert edges, and count those of jobs that are not new (whose rows say it already)."""
    if not edges:
        return
    preds = [edge.pred for edge in edges]
    kinds = [edge.kind.value for edge in edges]
    await conn.execute(ADD_EDGES, preds, [edge.succ for edge in edges], kinds)
    counts = Counter(pred for pred in preds if pred not in new)
    if counts:
        await conn.execute(COUNT_EDGES, list(counts), list(counts.values()))


async def _write_reservations(
    conn: Connection, before: Mapping[UUID, Sequence[UUID]], new: Collection[UUID]
) -> None:
    """The edges of jobs that have been queued for what they want; ``new`` ones are inserted so."""
    edges = [
        Edge(pred, job, EdgeKind.RESERVATION) for job, preds in before.items() for pred in preds
    ]
    await _write_edges(conn, edges, new)
    there = [job for job in before if job not in new]
    if there:
        await conn.execute(IN_LINE, there, [len(before[job]) for job in there])
