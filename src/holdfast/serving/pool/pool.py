"""The workers of one generation: who gets which queries, when more come, when one is killed."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from typing import Final

import msgspec

from holdfast.serving.errors import (
    DeadlineError,
    LoadError,
    NotServingError,
    QueryError,
    QueueFullError,
    WorkerDiedError,
    error_body,
)
from holdfast.serving.packages.manifest import Pool as PoolSpec
from holdfast.serving.pool.queue import FairQueue, Query
from holdfast.serving.pool.spawner import Spawner
from holdfast.serving.pool.worker_line import WorkerLine
from holdfast.serving.workers.frames import Load, Ready

TICK_S: Final = 0.05
LOAD_S: Final = 300.0
_GROW_WAIT_S: Final = 0.05  # queries wait longer than this: one more worker
_IDLE_S: Final = 30.0
_REPEATS_MAX: Final = 2
_BACKOFF_S: Final = (0.0, 0.0, 0.1, 0.5, 1.0, 2.0, 5.0)
_QUARANTINE_DEATHS: Final = 5
_QUARANTINE_S: Final = 30.0
_CPU_PER_WALL: Final = 4  # threads of a query may use so many cores for all of its time-out


class Pool:
    """Takes queries for one generation. All methods run in the loop's thread."""

    def __init__(self, name: str, spec: PoolSpec, load: Load, spawner: Spawner) -> None:
        self.name = name
        self.workers: set[WorkerLine] = set()
        self.queue = FairQueue(spec.queue * spec.ceil)
        self.actions: dict[str, frozenset[str]] = {}
        self.first_actions: dict[str, str] = {}
        self.deaths = 0
        self.retries = 0
        self.last_failure = ""
        self._spec = spec
        self._load = load
        self._spawner = spawner
        self._idle: list[WorkerLine] = []
        self._starting: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._clock: Callable[[], float] = self._loop.time
        self._scheduled = False
        self._draining = False
        self._closed = False
        self._emptied: asyncio.Future[None] | None = None
        self._first: asyncio.Future[None] | None = None
        self._ticker: asyncio.TimerHandle | None = None
        self._deaths_in_a_row = 0
        self._not_before = 0.0
        self._quarantined_until = 0.0
        self._cpu_s = max(1, spec.timeout_ms * _CPU_PER_WALL // 1000)

    # ---- life ----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Load the generation in one worker, run its tests, then start the others of the floor.

        Raises ``LoadError``; the pool is then closed.
        """
        self._first = self._loop.create_future()
        try:
            self._grow()
            async with asyncio.timeout(LOAD_S):
                await self._first
        except TimeoutError:
            self.close()
            raise LoadError(f"{self.name} was not loaded within {LOAD_S:g} s.") from None
        except BaseException:
            self.close()
            raise
        finally:
            self._first = None
        self._load = msgspec.structs.replace(self._load, run_tests=False)
        self._tick()

    async def drain(self) -> None:
        """Take nothing new; returns when all is answered and the workers are told to end."""
        self._draining = True
        if self.queue.size or any(worker.busy for worker in self.workers):
            self._emptied = self._loop.create_future()
            await self._emptied
        self.close()

    def close(self) -> None:
        """End all workers now; what waits is answered that it must be asked elsewhere."""
        self._closed = True
        if self._ticker is not None:
            self._ticker.cancel()
        for task in self._starting:
            task.cancel()
        error = NotServingError(f"{self.name} is being stopped: ask again.")
        for query in self.queue.everything():
            _refuse(query, error)
        for worker in list(self.workers):
            if worker.busy or not worker.ready:
                worker.kill()
            else:
                worker.leave()

    @property
    def ready(self) -> bool:
        """Whether a worker is there to answer."""
        return any(worker.ready for worker in self.workers)

    @property
    def size(self) -> int:
        """Queries that wait or are being worked on."""
        return self.queue.size + sum(len(worker.inflight) for worker in self.workers)

    @property
    def quarantined(self) -> bool:
        """Whether its workers died so often that they are left alone for a while."""
        return self._quarantined_until > self._clock()

    # ---- queries -------------------------------------------------------------------------------

    def check(self, endpoint: str, action: str) -> None:
        """Raises ``QueryError`` if the generation has no such thing."""
        actions = self.actions.get(endpoint)
        if actions is None:
            raise QueryError(f"{self.name} has no endpoint {endpoint!r}.")
        if action not in actions:
            raise QueryError(
                f"The endpoint {endpoint!r} does {', '.join(sorted(actions))}, not {action!r}."
            )

    def submit(self, query: Query) -> None:
        """Take a checked query; raises ``QueueFullError`` or ``NotServingError``."""
        if self._closed or (not self.workers and self.quarantined):
            raise NotServingError(f"{self.name} cannot be served now: {self.last_failure}")
        if not self.queue.put(query):
            raise QueueFullError(
                f"{self.queue.waiting_max} queries wait for {query.endpoint!r} already."
            )
        self._schedule()

    def _schedule(self) -> None:
        # At the end of the loop's turn, so that all that has come by then goes together.
        if not self._scheduled and self._idle:
            self._scheduled = True
            self._loop.call_soon(self._dispatch)

    def _dispatch(self) -> None:
        self._scheduled = False
        while self._idle and self.queue.size:
            taken = self.queue.take(len(self._idle))
            if taken is None:
                return
            self._idle.pop().give(taken[0], taken[1], self._cpu_s)

    # ---- what workers tell ---------------------------------------------------------------------

    def worker_ready(self, worker: WorkerLine, ready: Ready) -> None:
        for endpoint, (vectorised, actions) in ready.endpoints.items():
            self.actions[endpoint] = frozenset(actions)
            self.first_actions[endpoint] = actions[0]
            self.queue.add_line(endpoint, vectorised=vectorised)
        self._idle.append(worker)
        if self._first is not None and not self._first.done():
            self._first.set_result(None)
        if self.queue.size:
            self._schedule()

    def worker_idle(self, worker: WorkerLine, spent_s: float, queries: int) -> None:
        self.queue.lines[worker.endpoint].learn(spent_s, queries)
        self._deaths_in_a_row = 0
        self._idle.append(worker)
        if self.queue.size:
            self._schedule()
        else:
            self._look_empty()

    def worker_gone(self, worker: WorkerLine) -> None:
        self.workers.discard(worker)
        if worker in self._idle:
            self._idle.remove(worker)
        self._loop.run_in_executor(None, _remove, worker)
        if worker.failure:
            self.last_failure = worker.failure
        if self._closed:
            for query in worker.inflight.values():
                _refuse(query, NotServingError(f"{self.name} was stopped: ask again."))
            return
        if worker.inflight or not worker.ready:
            self.deaths += 1
            self._count_death(worker)
        self._retry(worker)
        if self._first is not None and not self._first.done():
            self._first.set_exception(
                LoadError(f"{self.name}: {worker.failure or 'the worker died while loading.'}")
            )
            return
        self._keep_floor()
        self._look_empty()

    def _count_death(self, worker: WorkerLine) -> None:
        self.last_failure = worker.failure or self.last_failure or "its workers die"
        self._deaths_in_a_row += 1
        step = min(self._deaths_in_a_row, len(_BACKOFF_S)) - 1
        now = self._clock()
        self._not_before = now + _BACKOFF_S[step]
        if self._deaths_in_a_row >= _QUARANTINE_DEATHS and not worker.ready:
            self._quarantined_until = self._not_before = now + _QUARANTINE_S

    def _retry(self, worker: WorkerLine) -> None:
        """Whoever was with the worker is asked again, alone.

        Once after a deadline. Twice after a death: the first time it need not have been the
        cause, and the second time the worker may have been killed from outside.

        If the worker was killed for a deadline, the one it was stuck at is known when it takes
        them one by one; if it takes them together, each shows itself when asked alone.
        """
        now = self._clock()
        together = self.queue.lines.get(worker.endpoint)
        known = together is not None and not together.vectorised
        back: list[Query] = []
        for place, query in enumerate(worker.inflight.values()):
            if query.cancelled:
                continue
            stuck = worker.killed and query.deadline <= now
            alone = len(worker.inflight) == 1
            if stuck and (query.repeats or alone or (known and place == 0)):
                _refuse(query, DeadlineError(f"No answer within {self._spec.timeout_ms} ms."))
            elif query.repeats >= _REPEATS_MAX:
                _refuse(query, WorkerDiedError("Every worker that is asked this query dies."))
            else:
                query.repeats += 1
                query.alone = True
                query.deadline = max(query.deadline, now + self._spec.timeout_ms / 1000)
                back.append(query)
        self.retries += len(back)
        for query in reversed(back):
            self.queue.put_back(query)
        worker.inflight.clear()
        if back:
            self._schedule()

    def _look_empty(self) -> None:
        done = self._emptied
        if done is None or done.done() or self.queue.size:
            return
        if not any(worker.busy and worker.inflight for worker in self.workers):
            done.set_result(None)

    # ---- how many ------------------------------------------------------------------------------

    def _tick(self) -> None:
        if self._closed:
            return
        now = self._clock()
        for query in self.queue.expired(now):
            _refuse(query, DeadlineError(f"No answer within {self._spec.timeout_ms} ms."))
        for worker in list(self.workers):
            if worker.deadline <= now:
                worker.kill()
        self._keep_floor()
        if self.queue.oldest_wait_s(now) > _GROW_WAIT_S and not self._idle and not self._starting:
            self._grow()
        self._shrink(now)
        self._look_empty()
        self._ticker = self._loop.call_later(TICK_S, self._tick)

    def _keep_floor(self) -> None:
        floor = self._spec.floor if not self._draining else min(1, self.queue.size)
        missing = floor - len(self.workers) - len(self._starting)
        for _ in range(max(0, missing)):
            self._grow()

    def _grow(self) -> None:
        full = len(self.workers) + len(self._starting) >= self._spec.ceil
        if self._closed or full or self._clock() < self._not_before:
            return
        task = self._loop.create_task(self._spawn())
        self._starting.add(task)
        task.add_done_callback(self._starting.discard)

    async def _spawn(self) -> None:
        try:
            process = await self._spawner.spawn()
        except LoadError as error:
            self.last_failure = error.message
            self._not_before = self._clock() + 1.0
            if self._first is not None and not self._first.done():
                self._first.set_exception(error)
            return
        worker = WorkerLine(self, process, self._clock)
        self.workers.add(worker)
        await self._loop.create_unix_connection(lambda: worker, sock=process.line)
        if self._closed:
            worker.kill()
            return
        worker.load(msgspec.structs.replace(self._load, scratch=str(process.scratch)))

    def _shrink(self, now: float) -> None:
        if len(self.workers) <= self._spec.cruise or not self._idle:
            return
        longest = min(self._idle, key=lambda worker: worker.idle_since)
        if now - longest.idle_since > _IDLE_S:
            self._idle.remove(longest)
            self.workers.discard(longest)
            longest.leave()


def _remove(worker: WorkerLine) -> None:
    shutil.rmtree(worker.process.scratch, ignore_errors=True)


def _refuse(query: Query, error: Exception) -> None:
    if not query.cancelled:
        query.reply(query, *error_body(error))
