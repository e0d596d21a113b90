"""Queries from threads: the course's decisions, carried out with sockets and poll().

The caller's own thread waits for an attempt and its hedge at once; no thread is started for a
query. One thread watches the instances (``watching``).
"""

from __future__ import annotations

import asyncio
import os
import random
import select
import ssl
import threading
import time
import weakref

from holdfast.client.course import Attempt, Course, Dispatch
from holdfast.client.discovery import Source
from holdfast.client.errors import DeadlineError, LostError
from holdfast.client.lines import Line, Lines
from holdfast.client.settings import Settings
from holdfast.client.watching import NONE_FOUND, Watch
from holdfast.client.wire import Answer, Query

_HEDGE_CONNECT_MAX_S = 0.25  # while a hedge connects, nobody looks whether the first has answered


class Blocking:
    """Asks queries; of any number of threads."""

    def __init__(
        self, source: Source, settings: Settings, service: str | None, tls: ssl.SSLContext | None
    ) -> None:
        self._source = source
        self._settings = settings
        self._service = service
        self._tls = tls
        self._pid = 0
        self._begin()

    def _begin(self) -> None:
        """Also in a child after a fork: sockets, locks and threads are the parent's."""
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self.dispatch = Dispatch(self._settings, random.Random())  # noqa: S311 - no secret
        self.dispatch.instances.replace(self._source.known())
        self._lines = Lines(self._settings, self._tls)
        self._found = threading.Event()
        self._watching: _Watching | None = None

    def ask(
        self, query: Query, kind: str, deadline_s: float, *, hedged: bool
    ) -> tuple[Answer, Attempt]:
        """The answer, and whose. Raises ``NoInstanceError``, ``DeadlineError``."""
        if self._pid != os.getpid():
            self._begin()
        now = time.monotonic()
        deadline = now + deadline_s
        if self._watching is None:
            self._watch()
        if not self.dispatch.instances.all and not self._found.wait(deadline_s):
            raise DeadlineError(NONE_FOUND)
        with self._lock:
            course = Course(self.dispatch, kind, now, deadline, hedged=hedged)
        under_way: dict[int, tuple[Attempt, Line]] = {}
        try:
            while True:
                now = time.monotonic()
                with self._lock:
                    step = course.next(now)
                if isinstance(step, Attempt):
                    self._start(course, step, query, deadline, under_way)
                else:
                    answer = self._wait(course, step, under_way)
                    if answer is not None:
                        return answer
        finally:
            with self._lock:
                course.close(time.monotonic())
            for _, line in under_way.values():
                line.close()

    def _start(
        self,
        course: Course,
        attempt: Attempt,
        query: Query,
        deadline: float,
        under_way: dict[int, tuple[Attempt, Line]],
    ) -> None:
        instance = attempt.instance
        line: Line | None = None
        try:
            line = self._lines.take(instance, attempt.started)
            left_s = max(0.001, deadline - time.monotonic())
            if line is None:
                limit_s = _HEDGE_CONNECT_MAX_S if under_way else self._settings.connect_timeout_s
                line = self._lines.connect(instance.address, min(left_s, limit_s))
                left_s = max(0.001, deadline - time.monotonic())
            line.send(query.to_bytes(instance.address, left_s), left_s)
        except LostError as error:
            if line is not None:
                line.close()
            self._lost(course, attempt, error)
        else:
            under_way[line.fileno()] = (attempt, line)

    def _wait(
        self, course: Course, until: float, under_way: dict[int, tuple[Attempt, Line]]
    ) -> tuple[Answer, Attempt] | None:
        """Wait for the first that answers, but not longer than that; read what has come."""
        wait_s = max(0.0, until - time.monotonic())
        if not under_way:
            time.sleep(wait_s)
            return None
        watch = select.poll()
        for number in under_way:
            watch.register(number, select.POLLIN)
        for number, _ in watch.poll(wait_s * 1000):
            attempt, line = under_way[number]
            try:
                answer = line.receive()
            except LostError as error:
                del under_way[number]
                line.close()
                self._lost(course, attempt, error)
                continue
            if answer is None:
                continue
            del under_way[number]
            now = time.monotonic()
            if answer.keep:
                self._lines.give_back(attempt.instance, line, now)
            else:
                line.close()
            with self._lock:
                over = course.answered(
                    attempt,
                    answer.status,
                    now,
                    retry_after_s=answer.retry_after_s,
                    leaving=not answer.keep,
                )
            if over:
                return answer, attempt
        return None

    def _lost(self, course: Course, attempt: Attempt, error: LostError) -> None:
        with self._lock:
            course.lost(attempt, error.message, time.monotonic(), sent=error.sent)

    # ---- the watching thread -------------------------------------------------------------------

    def _watch(self) -> None:
        with self._lock:
            if self._watching is None:
                lines, dispatch = self._lines, self.dispatch

                def tidy() -> None:
                    lines.keep_only(set(dispatch.instances.all), time.monotonic())

                watch = Watch(dispatch, self._lock, self._source, self._service, self._tls, tidy)
                self._watching = _Watching(watch, self._found)
                # A client that is simply forgotten does not leave its thread behind.
                weakref.finalize(self, self._watching.stop)

    def close(self) -> None:
        """Close idle connections, stop watching. A later query begins anew."""
        watching, self._watching = self._watching, None
        if watching is not None:
            watching.stop()
        self._lines.close()


class _Watching:
    """A thread with a loop of its own."""

    def __init__(self, watch: Watch, found: threading.Event) -> None:
        self._pid = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._task = self._loop.create_task(watch.run(found.set))
        name = "holdfast-client-watch"
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._task)
        except asyncio.CancelledError:
            self._loop.close()

    def stop(self) -> None:
        if self._pid == os.getpid() and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._task.cancel)
            if threading.current_thread() is not self._thread:
                self._thread.join(timeout=2.0)
