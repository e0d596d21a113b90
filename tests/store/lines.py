"""Unbound jobs on a store, as tests put them there and run them."""

from __future__ import annotations

from uuid import UUID, uuid4

from tests.store.stores import LEASE_S, Bench

from holdfast.store.model import (
    HeldJob,
    Hold,
    Job,
    JobError,
    JobState,
    Json,
    MemberSpec,
    QueuedJob,
    StepEnd,
)

STEP = "only"
GOOD = JobState.SUCCEEDED


def tiny(**fields: Json) -> QueuedJob:
    return QueuedJob(**{"id": uuid4(), "kind": "tiny", "queue": "work", **fields})


def ended(held: HeldJob, state: JobState = GOOD, **fields: Json) -> tuple[UUID, StepEnd]:
    """The end of the step that was claimed, and of the job."""
    error = None if state is GOOD else JobError(code="broken", message="it broke")
    step, attempt = held.job.step or "", held.job.attempt
    end = {"step": step, "attempt": attempt, "state": state, "error": error, **fields}
    return held.job.id, StepEnd(**end)


class Line:
    """A queue called ``work`` and its workers."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.store = bench.store

    async def worker(self, slot: str = "worker-1") -> Hold:
        spec = MemberSpec(id=uuid4(), role="worker", slot=slot, host="host-1")
        member = await self.store.register(spec, LEASE_S)
        return Hold(member.id, member.epoch)

    async def put(self, *, parent: UUID | None = None, **fields: Json) -> UUID:
        job = tiny(**fields)
        assert await self.store.enqueue([job], parent=parent) == 1
        return job.id

    async def claim(self, hold: Hold, room: int = 100, **more: Json) -> list[HeldJob]:
        return await self.store.claim(hold, {"work": room}, {"tiny": STEP}, **more)

    async def ids(self, hold: Hold, room: int = 100) -> list[UUID]:
        return [held.job.id for held in await self.claim(hold, room)]

    async def one(self, hold: Hold) -> HeldJob:
        [held] = await self.claim(hold, 1)
        return held

    async def end(self, held: HeldJob, state: JobState = GOOD, **fields: Json) -> None:
        job, end = ended(held, state, **fields)
        assert await self.store.end_many(held.hold, [(job, end)]) == {job}

    async def job(self, job: UUID) -> Job:
        found = await self.store.job(job)
        assert found is not None
        return found

    async def states(self, *jobs: UUID) -> list[str]:
        return [(await self.job(job)).state.value for job in jobs]
