"""A simulated house of queue workers over one store in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, TypeVar
from uuid import UUID, uuid5

from holdfast.core.jobs import Handler, Outcome, Step, StepContext
from holdfast.core.members import Membership
from holdfast.core.queue_worker import QueueWorker
from holdfast.core.settings import CoreSettings
from holdfast.sim.loop import Process, SimLoop
from holdfast.sim.memstore import MemStore
from holdfast.store.model import Job, JobError, JobState, MemberSpec, QueuedJob, Write

SETTINGS = CoreSettings(lease_s=3.0, lease_margin_s=0.6, drain_s=30.0)
T = TypeVar("T")
Run = Callable[[StepContext], Awaitable[Outcome]]


class Waker:
    """``Waker`` without any hint."""

    async def wait(self, timeout_s: float) -> frozenset[str]:
        await asyncio.sleep(timeout_s)
        return frozenset()


class LoopClock:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def now(self) -> float:
        return self._loop.time()


class Kind:
    """A kind of unbound job made of the functions given."""

    def __init__(self, kind: str, *steps: Run, cleanup: tuple[Run, ...] = (), **of_step: Any):
        self.kind = kind
        self.steps = tuple(Step(name=f"s{i}", run=run, **of_step) for i, run in enumerate(steps))
        self.cleanup = tuple(Step(name=f"c{i}", run=run) for i, run in enumerate(cleanup))

    def ended(
        self, obj: Mapping[str, Any], job: Job, state: JobState, error: JobError | None
    ) -> dict[str, Any]:
        raise AssertionError("an unbound job has no object")

    def closing(self, job: Job, error: JobError, now: float) -> tuple[Write, ...]:
        return ()

    def trouble(self, error: JobError) -> dict[str, Any]:
        raise AssertionError("an unbound job has no object")


class House:
    """Workers of the queue ``work``. ``store_of``: the store as one of them sees it."""

    def __init__(
        self,
        *handlers: Handler,
        seed: int = 5,
        room: int = 4,
        store_of: Callable[[MemStore], Any] = lambda store: store,
    ) -> None:
        self.loop = SimLoop(seed)
        self.store = MemStore(self.loop.time, {})
        self.handlers = {handler.kind: handler for handler in handlers}
        self._room = room
        self._store_of = store_of
        self.workers: dict[str, QueueWorker] = {}
        self.processes: dict[str, Process] = {}
        self.verdicts: dict[str, asyncio.Task[str]] = {}

    def start(self, slot: str) -> None:
        clock = LoopClock(self.loop)
        number = len(self.workers)
        spec = MemberSpec(
            id=uuid5(UUID(int=7), f"{slot}/{number}"), role="worker", slot=slot, host=slot
        )
        store = self._store_of(self.store)
        membership = Membership(store, spec, SETTINGS, clock)
        queues = {"work": self._room}
        worker = QueueWorker(
            store, membership, lambda: self.handlers, queues, SETTINGS, clock, Waker()
        )
        process = Process(slot)
        self.workers[slot], self.processes[slot] = worker, process
        self.verdicts[slot] = self.loop.spawn(process, worker.run())

    async def put(self, kind: str, count: int = 1, **fields: Any) -> list[UUID]:
        jobs = [
            QueuedJob(id=self.loop.uuid(), kind=kind, queue="work", **fields) for _ in range(count)
        ]
        await self.store.enqueue(jobs)
        return [job.id for job in jobs]

    async def ended(self) -> None:
        while any(not job.state.ended for job in self.store.tables.jobs.values()):
            await asyncio.sleep(0.1)

    def job(self, job: UUID) -> Job:
        return self.store.tables.jobs[job]

    def states(self, jobs: list[UUID]) -> set[JobState]:
        return {self.job(job).state for job in jobs}

    def play(self, main: Coroutine[Any, Any, T]) -> T:
        try:
            result = self.loop.run(main)
            assert self.loop.errors == []
            return result
        finally:
            self.loop.close()
