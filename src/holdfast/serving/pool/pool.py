"""The workers of one generation: who gets which queries, when more come, when one is killed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from holdfast.serving.errors import (
    DeadlineError,
    LoadError,
    NotServingError,
    QueryError,
    QueueFullError,
    UnknownEndpointError,
    WorkerDiedError,
    error_body,
)
from holdfast.serving.packages.manifest import Pool as PoolSpec
from holdfast.serving.packages.manifest import Service, offers
from holdfast.serving.pool.quarantine import Quarantine
from holdfast.serving.pool.queue import FairQueue, Query
from holdfast.serving.pool.scratch import remove
from holdfast.serving.pool.spawner import Spawner
from holdfast.serving.pool.watch import WATCH_S, Seen
from holdfast.serving.pool.worker_line import WorkerLine
from holdfast.serving.workers.frames import Load

TICK_S: Final = 0.05
LOAD_S: Final = 300.0
_GROW_WAIT_S: Final = 0.05  # queries wait longer than this: one more worker
_IDLE_S: Final = 30.0
_REPEATS_MAX: Final = 2
_CPU_PER_WALL: Final = 4  # threads of a query may use so many cores for all of its time-out


class Pool:
    """Takes queries for one generation. All methods run in the loop's thread."""

    def __init__(self, name: str, spec: PoolSpec, load: Load, spawner: Spawner) -> None:
        self.name = name
        self.workers: set[WorkerLine] = set()
        self.queue = FairQueue(spec.queue * spec.ceil)
        self._offers = offers(msgspec.json.decode(load.service, type=Service))
        self.actions = {name: frozenset(actions) for name, (_, actions) in self._offers.items()}
        self.first_actions = {name: actions[0] for name, (_, actions) in self._offers.items()}
        for endpoint, (vectorised, _) in self._offers.items():
            self.queue.add_line(endpoint, vectorised=vectorised)
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
        self._started: asyncio.Future[None] | None = None  # while it starts
        self._tester: WorkerLine | None = None
        self._ticker: asyncio.TimerHandle | None = None
        self._look_at = 0.0
        self._looking: asyncio.Task[None] | None = None
        self._quarantine = Quarantine()
        self._timeout_s = spec.timeout_ms / 1000
        self._cpu_s = max(1, spec.timeout_ms * _CPU_PER_WALL // 1000)

    # ---- life ----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Load the generation in all workers of the floor at once, and run its tests in the first.

        Raises ``LoadError`` if that one fails; the pool is then closed. Whichever of the others
        fails, or finds no room, is left for later: with fewer the service is served, too.
        """
        self._started = self._loop.create_future()
        try:
            self._grow()
            self._load = msgspec.structs.replace(self._load, run_tests=False)
            self._keep_floor()
            async with asyncio.timeout(LOAD_S):
                await self._started
        except TimeoutError:
            self.close()
            raise LoadError(f"{self.name} was not loaded within {LOAD_S:g} s.") from None
        except BaseException:
            self.close()
            raise
        finally:
            self._started = None
        self._tick()

    def _look_started(self) -> None:
        started = self._started
        loading = self._starting or not all(worker.ready for worker in self.workers)
        if started is not None and not started.done() and not loading:
            started.set_result(None)

    def _fail_start(self, error: LoadError) -> None:
        if self._started is not None and not self._started.done():
            self._started.set_exception(error)

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
        if self._looking is not None:
            self._looking.cancel()
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
        if self._load.derived:
            self._loop.run_in_executor(None, remove, Path(self._load.derived))

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
        return self._quarantine.until > self._clock()

    # ---- queries -------------------------------------------------------------------------------

    def check(self, endpoint: str, action: str) -> None:
        """Raises ``UnknownEndpointError``, or ``QueryError`` for what its endpoint does not do."""
        actions = self.actions.get(endpoint)
        if actions is None:
            raise UnknownEndpointError(f"{self.name} has no endpoint {endpoint!r}.")
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
            self._idle.pop().give(*taken, self._timeout_s, self._cpu_s)

    # ---- what workers tell ---------------------------------------------------------------------

    def worker_ready(self, worker: WorkerLine) -> None:
        self._idle.append(worker)
        self._look_started()
        if self.queue.size:
            self._schedule()

    def worker_idle(self, worker: WorkerLine, spent_s: float, queries: int) -> None:
        self.queue.lines[worker.endpoint].learn(spent_s, queries)
        self._quarantine.deaths_in_a_row = 0
        self._idle.append(worker)
        if self.queue.size:
            self._schedule()
        else:
            self._look_empty()

    def worker_gone(self, worker: WorkerLine) -> None:
        self.workers.discard(worker)
        if worker in self._idle:
            self._idle.remove(worker)
        self._loop.run_in_executor(None, remove, worker.process.scratch)
        if worker.failure:
            self.last_failure = worker.failure
        if self._closed:
            for query in worker.inflight.values():
                _refuse(query, NotServingError(f"{self.name} was stopped: ask again."))
            return
        if not worker.leaving:
            self.deaths += 1
            if not worker.overdue:  # it could start and answer: the next one can at once
                self._count_death(worker)
        self._retry(worker)
        if self._started is not None:
            if worker is self._tester:
                why = worker.failure or "the worker died while loading."
                self._fail_start(LoadError(f"{self.name}: {why}"))
            self._look_started()
            return
        self._keep_floor()
        self._look_empty()

    def _count_death(self, worker: WorkerLine) -> None:
        self.last_failure = worker.failure or self.last_failure or "its workers die"
        now = self._clock()
        if worker.ready and worker.failure:  # the front stopped it
            self._quarantine.stopped(now, worker.born)
        elif worker.ready and not worker.inflight:
            self._quarantine.vanished(now, worker.born, answered=worker.answered > 0)
        else:
            self._quarantine.died(now, ready=worker.ready)

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
            alone = len(worker.inflight) == 1
            if worker.overdue and (query.repeats or alone or (known and place == 0)):
                _refuse(query, DeadlineError(f"No answer within {self._spec.timeout_ms} ms."))
            elif query.repeats >= _REPEATS_MAX:
                _refuse(query, WorkerDiedError("Every worker that is asked this query dies."))
            else:
                query.repeats += 1
                query.alone = True
                query.deadline = max(query.deadline, now + self._timeout_s)
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
                if worker.ready:
                    worker.kill_overdue()
                else:
                    worker.kill()
        self._keep_floor()
        if self.queue.oldest_wait_s(now) > _GROW_WAIT_S and not self._idle and not self._starting:
            self._grow()
        self._shrink(now)
        if now >= self._look_at:
            self._look_at = float("inf")  # one look at a time
            self._looking = self._loop.create_task(self._look())
        self._look_empty()
        self._ticker = self._loop.call_later(TICK_S, self._tick)

    async def _look(self) -> None:
        """Whether workers use what no query explains, or fill the disk: those are killed."""
        try:
            bytes_max = self._load.limits.scratch_bytes
            workers = [worker for worker in self.workers if not worker.killed]
            seen = await asyncio.to_thread(
                lambda: [Seen(worker.process, bytes_max) for worker in workers]
            )
            now = self._clock()
            for worker, one in zip(workers, seen, strict=True):
                if one.disk_bytes > bytes_max:
                    self._stop(worker, f"it has more than {bytes_max} bytes in its folder")
                elif one.threads > self._load.limits.threads:
                    self._stop(worker, f"it has {one.threads} threads")
                elif worker.budget.overdrawn(now, worker.worked_s(now), one.cpu_s):
                    self._stop(worker, "it goes on computing while it has no query")
        finally:
            self._look_at = self._clock() + WATCH_S

    def _stop(self, worker: WorkerLine, why: str) -> None:
        if worker in self.workers and not worker.killed:
            worker.failure = f"A worker was stopped: {why}."
            worker.kill()

    def _keep_floor(self) -> None:
        floor = self._spec.floor if not self._draining else min(1, self.queue.size)
        missing = floor - len(self.workers) - len(self._starting)
        for _ in range(max(0, missing)):
            self._grow()

    def _grow(self) -> None:
        full = len(self.workers) + len(self._starting) >= self._spec.ceil
        if self._closed or full or self._clock() < self._quarantine.not_before:
            return
        first = not self.workers and not self._starting  # which there always is room for
        if not first and not self._spawner.has_room:
            return
        task = self._loop.create_task(self._spawn(self._load, first=first))
        self._starting.add(task)

        def done(task: asyncio.Task[None]) -> None:
            self._starting.discard(task)
            self._look_started()

        task.add_done_callback(done)

    async def _spawn(self, load: Load, *, first: bool) -> None:
        if not first and not self._spawner.has_room:
            return  # others that were begun at the same moment have taken it
        try:
            service = self.name.partition("/")[0]
            process = await self._spawner.spawn(service, self._load.generation)
        except LoadError as error:
            self.last_failure = error.message
            self._quarantine.not_before = self._clock() + 1.0
            if load.run_tests:
                self._fail_start(error)
            return
        answer_bytes = self._load.limits.answer_bytes
        worker = WorkerLine(self, process, self._clock, answer_bytes, self._offers)
        self.workers.add(worker)
        if load.run_tests:
            self._tester = worker
        try:
            await self._loop.create_unix_connection(lambda: worker, sock=process.line)
        except BaseException:
            self.workers.discard(worker)
            process.kill()
            process.close()
            raise
        if self._closed:
            worker.kill()
            return
        told = msgspec.structs.replace(load, scratch=str(process.scratch))
        worker.load(told, LOAD_S)

    def _shrink(self, now: float) -> None:
        if len(self.workers) <= self._spec.cruise or not self._idle:
            return
        longest = min(self._idle, key=lambda worker: worker.idle_since)
        if now - longest.idle_since > _IDLE_S:
            self._idle.remove(longest)
            self.workers.discard(longest)
            longest.leave()


def _refuse(query: Query, error: Exception) -> None:
    if not query.cancelled:
        query.reply(query, *error_body(error))
