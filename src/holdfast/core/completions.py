"""The ends of unbound jobs' steps, written together by natural batching.

Whatever has ended while the last write was under way goes into the next one: with
nothing to do an end is written at once, under load hundreds share a statement, and no
timer adds to either.
"""

from __future__ import annotations

import asyncio
from uuid import UUID

import msgspec
import structlog

from holdfast.errors import ConflictError, HoldfastError, StoreUnavailableError
from holdfast.store.model import Hold, JobError, JobState, StepEnd
from holdfast.store.port import QueueStore

log = structlog.get_logger(__name__)

BATCH_MAX = 500


class Completion(msgspec.Struct, frozen=True):
    """The end of one step, and who waits for it to be written."""

    job: UUID
    end: StepEnd
    written: asyncio.Future[None]


class Completions:
    """Writes the ends of one member's steps; ``run`` it as a task."""

    def __init__(self, store: QueueStore, hold: Hold) -> None:
        self._store = store
        self._hold = hold
        self._waiting: list[Completion] = []
        self._some = asyncio.Event()

    async def write(self, job: UUID, end: StepEnd) -> None:
        """Return once the end is written.

        Raises ``StoreUnavailableError`` when that is not known, and ``ConflictError``
        when the step is not in hand here any more.
        """
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(Completion(job, end, written))
        self._some.set()
        await written

    async def run(self) -> None:
        """Write for ever, one batch after the other."""
        while True:
            await self._some.wait()
            batch, self._waiting = self._waiting[:BATCH_MAX], self._waiting[BATCH_MAX:]
            if not self._waiting:
                self._some.clear()
            await self._write(batch)

    async def _write(self, batch: list[Completion]) -> None:
        try:
            stand = await self._store.end_many(self._hold, [(one.job, one.end) for one in batch])
        except StoreUnavailableError as fault:
            for one in batch:
                _tell(one, fault)
        except Exception as fault:  # noqa: BLE001 - what cannot be written must not hold up others
            if len(batch) > 1:
                for one in batch:
                    await self._write([one])
            else:
                await self._write_instead(batch[0], fault)
        else:
            for one in batch:
                _tell(one, None if one.job in stand else _not_in_hand(one))

    async def _write_instead(self, one: Completion, fault: Exception) -> None:
        """An end that no store takes, such as a result without a JSON form, is a failure."""
        log.error("job.end_unwritable", job=str(one.job), step=one.end.step, fault=str(fault))
        error = JobError(code="internal", message=f"its end cannot be stored: {fault}"[:2000])
        end = StepEnd(
            step=one.end.step, attempt=one.end.attempt, state=JobState.FAILED, error=error
        )
        try:
            stand = await self._store.end_many(self._hold, [(one.job, end)])
        except HoldfastError as again:
            _tell(one, again)
        else:
            # In either case nothing is left to do here: the job has ended, though not as asked.
            _tell(one, _not_in_hand(one) if one.job not in stand else _replaced(one))


def _tell(one: Completion, fault: Exception | None) -> None:
    if one.written.done():
        return  # whoever waited was cut off
    if fault is None:
        one.written.set_result(None)
    else:
        one.written.set_exception(fault)


def _not_in_hand(one: Completion) -> ConflictError:
    return ConflictError(
        f"attempt {one.end.attempt} of step {one.end.step!r} of job {one.job} is not in hand here",
        kind="step",
        job=one.job,
    )


def _replaced(one: Completion) -> ConflictError:
    return ConflictError(
        f"job {one.job} was failed, because the end of step {one.end.step!r} cannot be stored",
        kind="step",
        job=one.job,
    )
