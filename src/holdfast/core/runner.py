"""Runs the jobs of the objects a member owns. The database is the truth; tasks are its shadow.

Each run of a step is: begin (durable) -> run -> end, sleep or fail (durable, fenced,
one transaction; see ``stepping``). Whatever else happens (a lost lease or fence, a store
without an answer, this process killed) the task just stops: what the database says is
then acquired again, by this member or by the next owner.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from uuid import UUID

from holdfast.core.clock import Clock
from holdfast.core.jobs import Handler
from holdfast.core.lease import TrustWindow
from holdfast.core.stepping import StepRunner, Turn
from holdfast.store.model import JobLimit, Member
from holdfast.store.port import Store


class JobRunner:
    """One member's running jobs. ``departing`` names shards in which no step may start."""

    def __init__(
        self,
        store: Store,
        me: Member,
        window: TrustWindow,
        clock: Clock,
        handlers: Mapping[str, Handler],
        departing: Callable[[], Collection[int]],
        running_max: int,
        limits: Sequence[JobLimit] = (),
    ) -> None:
        self._store = store
        self._me = me
        self._window = window
        self._clock = clock
        self._departing = departing
        self._running_max = running_max
        self._limits = limits
        self._steps = StepRunner(
            store, me, window, clock, handlers, lambda job: job.shard in departing()
        )
        self._tasks: dict[UUID, tuple[int, asyncio.Task[None]]] = {}

    def active_shards(self) -> set[int]:
        """Shards in which a step runs right now."""
        return {shard for shard, _ in self._tasks.values()}

    @property
    def running(self) -> int:
        return len(self._tasks)

    async def poll(self) -> int:
        """Start whatever the database says should run here; returns how many."""
        room = self._running_max - len(self._tasks)
        if room <= 0 or not self._window.open():
            return 0
        asked_at = self._clock.now()
        owned = await self._store.acquire(
            self._me.id, self._me.epoch, list(self._tasks), room, self._limits
        )
        started = 0
        for item in owned:
            if item.job.id in self._tasks or item.job.shard in self._departing():
                continue
            turn = Turn(job=item.job, under=item.fence, now=item.now, asked_at=asked_at)
            task = asyncio.create_task(self._steps.drive(turn))
            self._tasks[item.job.id] = (item.job.shard, task)
            task.add_done_callback(lambda _, job=item.job.id: self._forget(job))
            started += 1
        return started

    async def stop(self) -> None:
        """Cut all tasks off; their jobs stay durable and go on elsewhere."""
        tasks = [task for _, task in self._tasks.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _forget(self, job: UUID) -> None:
        self._tasks.pop(job, None)
