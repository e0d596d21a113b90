"""One worker as the front sees it: its line, and what it is working on."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Final, Protocol, cast

import msgspec

from holdfast.serving.errors import ERROR_STATUSES, TEXT_CHARS_MAX
from holdfast.serving.pool.queue import Query
from holdfast.serving.pool.spawner import Process
from holdfast.serving.pool.watch import Budget
from holdfast.serving.workers.frames import (
    HEAD_BYTES_MAX,
    Answers,
    Batch,
    Failed,
    Load,
    Ready,
    Splitter,
    pack,
    unpack_answer,
)

_STATUSES: Final = ERROR_STATUSES | {200}


class Owner(Protocol):
    """The pool, told what happens to its workers."""

    def worker_ready(self, worker: WorkerLine) -> None: ...
    def worker_idle(self, worker: WorkerLine, spent_s: float, queries: int) -> None: ...
    def worker_gone(self, worker: WorkerLine) -> None: ...


class WorkerLine(asyncio.Protocol):
    """States: starting -> idle <-> busy -> gone.

    ``failure``: why it could not load, or was stopped. ``offers``: what the package says that
    its endpoints do; a worker that says otherwise is not used.
    """

    def __init__(
        self,
        owner: Owner,
        process: Process,
        clock: Callable[[], float],
        answer_bytes: int,
        offers: dict[str, tuple[bool, list[str]]],
    ) -> None:
        self.process = process
        self.endpoint = ""
        self.inflight: dict[int, Query] = {}
        self.deadline = float("inf")
        self.ready = False
        self.busy = False
        self.answered = 0
        self.idle_since = 0.0
        self.failure = ""
        self.killed = False
        self.leaving = False  # whether it was told to end
        self.overdue = False  # whether it was killed for the time that a query took
        self.born = self.began = 0.0
        self.budget = Budget(os.cpu_count() or 1)
        self._worked_s = 0.0
        self._owner = owner
        self._offers = offers
        self._clock = clock
        self._splitter = Splitter(HEAD_BYTES_MAX)  # until it is ready
        self._frame_bytes_max = answer_bytes + HEAD_BYTES_MAX
        self._transport: asyncio.Transport | None = None
        self._batch_queries = 0
        self._number = 0
        self._timeout_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def load(self, frame: Load, timeout_s: float) -> None:
        """Tell it what to become, and by when."""
        self.born = self.began = self._clock()
        self.deadline = self.began + timeout_s
        self._write(pack(frame))

    def worked_s(self, now: float) -> float:
        """How long it has had something to do; to load, at first."""
        return self._worked_s + (now - self.began if self.busy or not self.ready else 0.0)

    def give(self, endpoint: str, queries: list[Query], timeout_s: float, cpu_s: int) -> None:
        """Give an idle worker a batch; the first answer, and each next one, has that time."""
        told: list[tuple[int, str, bytes]] = []
        number = self._number
        inflight = self.inflight
        for query in queries:
            number += 1
            inflight[number] = query
            told.append((number, query.action, query.body))
        self._number = number
        self._timeout_s = timeout_s
        now = self._clock()
        self.deadline = now + timeout_s
        self.endpoint = endpoint
        self.busy = True
        self.began = now
        self._batch_queries = len(queries)
        self._write(pack(Batch(endpoint, cpu_s, told)))

    def kill_overdue(self) -> None:
        """End it, since what it has takes longer than the endpoint allows."""
        self.overdue = True
        self.kill()

    def kill(self) -> None:
        """End the process; ``worker_gone`` follows."""
        self.killed = True
        self.process.kill()
        if self._transport is not None:
            self._transport.abort()

    def leave(self) -> None:
        """Close the line of an idle worker, which then ends by itself."""
        self.leaving = True
        if self._transport is not None:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        if self.killed:
            return
        if self.ready and not self.busy:
            self._distrust("it sent what nobody asked for")
            return
        try:
            frames = [unpack_answer(frame) for frame in self._splitter.feed(data)]
        except (msgspec.DecodeError, ValueError, MemoryError):
            self._distrust("what it sent is no frame")  # the package's code wrote to our line
            return
        for frame in frames:
            if self.killed:
                return
            if isinstance(frame, Answers) and self.busy:
                self._answers(frame)
            elif isinstance(frame, Ready) and not self.ready:
                if frame.endpoints != self._offers:
                    self._distrust("it says that it has other endpoints than its package")
                    return
                self.ready = True
                self.deadline = float("inf")
                self._splitter.bytes_max = self._frame_bytes_max
                self.idle_since = self._clock()
                self._worked_s = self.idle_since - self.began
                self._owner.worker_ready(self)
            elif isinstance(frame, Failed) and not self.ready:
                self.failure = frame.message[:TEXT_CHARS_MAX]
            else:
                self._distrust("it sent what nobody asked for")
        if self.ready and not self.busy and not self.killed and not self._splitter.between:
            self._distrust("it sent what nobody asked for")

    def _distrust(self, why: str) -> None:
        self.failure = f"A worker was stopped: {why}."
        self.kill()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self.process.kill()  # it may have closed the line only
        self.process.close()
        self._owner.worker_gone(self)

    def _answers(self, frame: Answers) -> None:
        inflight = self.inflight
        for number, status, body in frame.answers:
            if number not in inflight or status not in _STATUSES:
                self._distrust("its answers are none")
                return
            query = inflight.pop(number)
            self.answered += 1
            if not query.cancelled:
                query.reply(query, status, body)
        if frame.done:
            if inflight:
                self._distrust("it left queries without an answer")
                return
            self.busy = False
            self.deadline = float("inf")
            self.idle_since = self._clock()
            spent_s = self.idle_since - self.began
            self._worked_s += spent_s
            self._owner.worker_idle(self, spent_s, self._batch_queries)
        elif inflight and frame.answers:
            self.deadline = self._clock() + self._timeout_s

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)
