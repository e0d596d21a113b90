"""The steps of an unbound job, as its runner writes them: one statement each, fenced by the row."""

# ruff: noqa: S608 - statements are put together from constants
from __future__ import annotations

from uuid import UUID

from holdfast.errors import ConflictError, InvalidInputError, NotFoundError
from holdfast.store.model import Hold, Job, StepEnd, StepSleep
from holdfast.store.pg.database import Connection, Database, Row
from holdfast.store.pg.queue import HELD, LIVES, PgQueue, hold_lost
from holdfast.store.pg.rows import bounded_progress, job_of, not_in_hand
from holdfast.store.pg.writes import Rows, write_rows

# Right after a sleep that a signal cut short the job is queued, and nobody's but still ours.
BEGIN = f"""
update job
   set state = 'running', step = $4, attempt = attempt + 1, step_open = true, wake_at = null,
       updated_at = clock_timestamp()
 where id = $3 and state in ('queued', 'running') and (step is null or step = $4) and {HELD}
returning *
"""

# The deadline wakes the job, unless it has passed already: then this is its clean-up.
WAKE = """
    case when signal_seq > $10 then clock_timestamp()
         when deadline > clock_timestamp()
         then least(deadline, clock_timestamp() + $11::float8 * interval '1 second')
         else clock_timestamp() + $11::float8 * interval '1 second' end"""
# $4 step, $5 attempt, $6 memo, $7..$9 progress, $10 signals seen, $11 seconds.
SLEEP = f"""
update job
   set state = case when signal_seq > $10 then 'queued' else 'waiting' end,
       due_at = {WAKE}, wake_at = case when signal_seq > $10 then null else {WAKE} end,
       step_open = false, memo = $6,
       progress_done = coalesce($7::integer, progress_done),
       progress_total = coalesce($8::integer, progress_total),
       progress_message = coalesce($9::text, progress_message),
       updated_at = clock_timestamp()
 where id = $3 and state = 'running' and step = $4 and attempt = $5 and step_open and {HELD}
returning *
"""

PROGRESS = f"""
update job
   set progress_done = $4, progress_total = $5, progress_message = $6,
       updated_at = clock_timestamp()
 where id = $3 and state = 'running' and {HELD}
"""

JOB = f"select *, {LIVES} as lives from job where id = $3"


class QueuedSteps:
    """The methods of ``store.port.JobStore`` that take a ``Hold``."""

    def __init__(self, db: Database, queue: PgQueue, rows: Rows) -> None:
        self._db = db
        self._queue = queue
        self._rows = rows

    async def begin_step(self, hold: Hold, job: UUID, step: str) -> Job:
        row = await self._db.fetchrow(BEGIN, hold.owner, hold.epoch, job, step)
        if row is not None:
            return job_of(row)
        found = await self._explained(hold, job)
        raise ConflictError(
            f"job {job} is {found.state} at step {found.step!r}; {step!r} cannot begin",
            kind="step",
            job=job,
        )

    async def end_step(self, hold: Hold, job: UUID, end: StepEnd) -> Job:
        written = await self._queue.end_many(hold, [(job, end)])
        found = await self._explained(hold, job)
        if job not in written:
            raise not_in_hand(found, end.step, end.attempt)
        return found

    async def sleep_step(self, hold: Hold, job: UUID, sleep: StepSleep) -> Job:
        if sleep.patch:
            raise InvalidInputError("an unbound job has no object whose fields it could write")
        row = await self._sleep(hold, job, sleep)
        if row is not None:
            return job_of(row)
        found = await self._explained(hold, job)
        asleep = (found.step, found.attempt, found.step_open)
        if not found.state.ended and asleep == (sleep.step, sleep.attempt, False):
            return found
        raise not_in_hand(found, sleep.step, sleep.attempt)

    async def _sleep(self, hold: Hold, job: UUID, sleep: StepSleep) -> Row | None:
        args = (
            hold.owner,
            hold.epoch,
            job,
            sleep.step,
            sleep.attempt,
            sleep.memo,
            *bounded_progress(sleep.progress),
            sleep.seen_seq,
            sleep.wake_in_s,
        )
        if not sleep.writes:
            return await self._db.fetchrow(SLEEP, *args)

        async def work(conn: Connection) -> Row | None:
            row = await conn.fetchrow(SLEEP, *args)
            if row is not None:
                await write_rows(conn, self._rows, sleep.writes)
            return row

        return await self._db.run(work)

    async def progress(self, hold: Hold, job: UUID, done: int, total: int, message: str) -> None:
        shown = bounded_progress((done, total, message))
        if not await self._db.execute(PROGRESS, hold.owner, hold.epoch, job, *shown):
            found = await self._explained(hold, job)
            raise ConflictError(
                f"job {job} is {found.state} and not run under epoch {hold.epoch}",
                kind="step",
                job=job,
            )

    async def _explained(self, hold: Hold, job: UUID) -> Job:
        """The job, if it is this hold's; else what is wrong, raised."""
        row = await self._db.fetchrow(JOB, hold.owner, hold.epoch, job)
        if row is None:
            raise NotFoundError(f"job {job} does not exist", id=job)
        if not row["lives"] or (row["owner"], row["run_epoch"]) != (hold.owner, hold.epoch):
            raise hold_lost(hold, job)
        return job_of(row)
