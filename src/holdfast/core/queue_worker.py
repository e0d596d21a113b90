"""A member that runs unbound jobs: whatever is due in its queues, as much as it has room for.

One loop claims, so that what the database says runs here and is not known here can only
be an answer that was lost. Whatever ends is written by ``completions``, and after each
batch of ends the next claim follows at once: they may have let others go.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from typing import NoReturn
from uuid import UUID

import structlog
from msgspec.structs import replace

from holdfast.core.clock import Clock
from holdfast.core.completions import Completions
from holdfast.core.jobs import Handler
from holdfast.core.members import Membership, attempt
from holdfast.core.settings import CoreSettings
from holdfast.core.stepping import StepRunner, Turn
from holdfast.errors import NotFoundError
from holdfast.store.model import (
    Fence,
    HeldJob,
    Hold,
    Job,
    ObjectRef,
    StepEnd,
    StepSleep,
)
from holdfast.store.port import Lookout, Store, Waker

log = structlog.get_logger(__name__)

KEEP_JOBS_S = 7 * 86_400.0
PURGE_EVERY_S = 600.0
PURGE_BATCH = 2_000


class QueueWrites:
    """``stepping.StepWrites`` for unbound jobs: ends go through ``Completions``."""

    def __init__(self, store: Store, ends: Completions) -> None:
        self._store = store
        self._ends = ends
        self.jobs: dict[UUID, Job] = {}  # those that run here, as they were when last read

    async def begin_step(self, fence: Fence | Hold, job: UUID, step: str) -> Job:
        begun = self.jobs[job] = await self._store.begin_step(fence, job, step)
        return begun

    async def end_step(self, fence: Fence | Hold, job: UUID, end: StepEnd) -> Job:
        await self._ends.write(job, end)
        step = end.next_step or end.step
        return replace(self.jobs[job], state=end.state, step=step, step_open=False, memo=end.memo)

    async def sleep_step(self, fence: Fence | Hold, job: UUID, sleep: StepSleep) -> Job:
        return await self._store.sleep_step(fence, job, sleep)

    async def get_object(self, obj: ObjectRef) -> NoReturn:
        raise NotFoundError(f"an unbound job has no object such as {obj.kind} {obj.id}")


class QueueRunner:
    """One member's running unbound jobs. ``queues``: how many of each may run at a time."""

    def __init__(
        self,
        store: Store,
        membership: Membership,
        clock: Clock,
        handlers: Mapping[str, Handler],
        queues: Mapping[str, int],
    ) -> None:
        me = membership.member
        self._store = store
        self._membership = membership
        self._clock = clock
        self._queues = queues
        self.hold = Hold(me.id, me.epoch)
        self.ends = Completions(store, self.hold)
        self._writes = QueueWrites(store, self.ends)
        self._steps = StepRunner(
            self._writes,
            me,
            membership.window,
            clock,
            handlers,
            lambda _: membership.drain_wanted,
        )
        self._first_steps = {kind: plan.step(None).name for kind, plan in self._steps.plans.items()}
        self._tasks: dict[UUID, asyncio.Task[None]] = {}
        self._running: Counter[str] = Counter()
        self._lost: set[UUID] = set()
        self.look = asyncio.Event()  # there may be something to claim

    @property
    def running(self) -> int:
        return len(self._tasks)

    def full(self) -> set[str]:
        """The queues that nothing more is taken from now."""
        if self._membership.drain_wanted or not self._membership.window.open():
            return set(self._queues)
        return {queue for queue, most in self._queues.items() if most <= self._running[queue]}

    async def claim(self) -> int:
        """Start whatever is due and there is room for; returns how many."""
        room = {
            queue: most - self._running[queue]
            for queue, most in self._queues.items()
            if most > self._running[queue]
        }
        if self._membership.drain_wanted:
            return await self._let_go()
        if not self._membership.window.open():
            return 0
        if not room and not self._lost:
            return 0
        asked_at = self._clock.now()
        held = await self._store.claim(self.hold, room, self._first_steps, self._lost)
        self._lost.clear()
        for one in held:
            self._start(one, asked_at)
        return len(held)

    async def _let_go(self) -> int:
        """While draining: what has stopped at the end of a step goes on elsewhere."""
        lost, self._lost = self._lost - self._tasks.keys(), set()
        if lost:
            await self._store.release(self.hold, lost)
        return 0

    def _start(self, held: HeldJob, asked_at: float) -> None:
        job, queue = held.job, held.job.queue or ""
        turn = Turn(
            job=job,
            under=held.hold,
            now=held.now,
            asked_at=asked_at,
            begun=True,
            resumed=held.resumed,
        )
        self._writes.jobs[job.id] = job
        self._running[queue] += 1
        task = self._tasks[job.id] = asyncio.create_task(self._steps.drive(turn))
        task.add_done_callback(lambda done: self._forget(done, job.id, queue))

    def _forget(self, task: asyncio.Task[None], job: UUID, queue: str) -> None:
        # A job that slept and was woken at once may be claimed again before its task is done.
        if self._tasks.get(job) is task:
            del self._tasks[job], self._writes.jobs[job]
        self._running[queue] -= 1
        self.look.set()

    async def look_after(self) -> None:
        """Stop what is cancelled, find what was lost, and tend to what others left."""
        self._lost.clear()
        for job, cancelled in (await self._store.held(self.hold)).items():
            if job not in self._tasks:
                self._lost.add(job)
            elif cancelled:
                self._steps.cancel(job)
        await self._store.tend()

    async def stop(self) -> None:
        """Cut all tasks off; their jobs stay durable and go on elsewhere."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class QueueWorker:
    """Runs until its lease is over or it has drained; ``run`` says which.

    ``waker`` should listen to "queue.<name>" of each queue and to "members". Jobs that
    ended ``keep_jobs_s`` ago are deleted. ``lookout`` is told of every look. Draining: what
    runs goes on to the end of its step, and from there on elsewhere.
    """

    def __init__(
        self,
        store: Store,
        membership: Membership,
        handlers: Callable[[], Mapping[str, Handler]],
        queues: Mapping[str, int],
        settings: CoreSettings,
        clock: Clock,
        waker: Waker,
        *,
        keep_jobs_s: float = KEEP_JOBS_S,
        lookout: Lookout | None = None,
    ) -> None:
        self._store = store
        self.membership = membership
        self._handlers = handlers
        self._queues = queues
        self._settings = settings
        self._clock = clock
        self._waker = waker
        self._keep_jobs_s = keep_jobs_s
        self._lookout = lookout
        self._look_after_at = clock.now()
        self.runner: QueueRunner | None = None

    @property
    def ready(self) -> bool:
        """Registered, with a lease that is trusted."""
        return self.runner is not None and self.membership.window.open()

    async def run(self) -> str:
        """Work; returns "drained" or "lease_lost"."""
        await self.membership.register()
        runner = QueueRunner(
            self._store, self.membership, self._clock, self._handlers(), self._queues
        )
        self.runner = runner
        leasing = asyncio.create_task(self.membership.keep())
        draining = asyncio.create_task(self._drained(runner))
        working = [
            asyncio.create_task(work)
            for work in (
                self._work(runner),
                self._listen(runner),
                runner.ends.run(),
                self._purge(),
            )
        ]
        try:
            await asyncio.wait({leasing, draining, *working}, return_when=asyncio.FIRST_COMPLETED)
            for task in working:
                if task.done():
                    task.result()  # a bug: let it be seen, and the process end
            verdict = "drained" if draining.done() else "lease_lost"
        finally:
            draining.cancel()
            for task in working:
                task.cancel()
            await runner.stop()
            await self.membership.leave("drained" if draining.done() else "stopped")
            leasing.cancel()
            await asyncio.gather(leasing, draining, *working, return_exceptions=True)
        return verdict

    async def _work(self, runner: QueueRunner) -> None:
        """Claim for ever: at a hint, when something has ended, and now and then."""
        while True:
            runner.look.clear()
            if self._clock.now() >= self._look_after_at:
                await attempt(runner.look_after, "queue.look_after")
                self._look_after_at = self._clock.now() + self._settings.tick_s
            if self._lookout is not None:
                self._lookout.looking()
            if await attempt(runner.claim, "queue.claim") and self._lookout is not None:
                self._lookout.looked(runner.full())
            await runner.look.wait()

    async def _listen(self, runner: QueueRunner) -> None:
        """Bring the next look forward at every hint, and at least once a tick."""
        while True:
            hints = await self._waker.wait(self._settings.tick_s)
            if "members" in hints:
                self._look_after_at = self._clock.now()
            runner.look.set()

    async def _purge(self) -> None:
        while True:
            await asyncio.sleep(PURGE_EVERY_S)
            await attempt(self._purge_once, "queue.purge")

    async def _purge_once(self) -> None:
        while await self._store.purge_jobs(self._keep_jobs_s, PURGE_BATCH):
            await asyncio.sleep(0.2)

    async def _drained(self, runner: QueueRunner) -> None:
        """Return once asked to drain and nothing runs here any more (or the time is up)."""
        step_s = self._settings.tick_s / 5
        while not self.membership.drain_wanted:
            await asyncio.sleep(step_s)
        log.info("member.draining", slot=self.membership.member.slot)
        until = self._clock.now() + self._settings.drain_s
        announced = False
        while self._clock.now() < until:
            if not announced:
                announced = await attempt(self.membership.mark_draining, "member.drain")
            if announced and not runner.running:
                return
            await asyncio.sleep(step_s)
