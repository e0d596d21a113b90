"""Queries from threads: the course's decisions, carried out with sockets and poll().

The caller's own thread waits for an attempt and its hedge at once; no thread is started for a
query. One thread watches the instances (``watching``).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import select
import ssl
import threading
import time
import weakref
from typing import ClassVar

from holdfast.client.course import Attempt, Course, Dispatch
from holdfast.client.discovery import Source
from holdfast.client.errors import AnswerTooLargeError, DeadlineError, LostError
from holdfast.client.lines import Line, Lines
from holdfast.client.settings import Settings
from holdfast.client.watching import NONE_FOUND, Watch
from holdfast.client.wire import Answer, Query

_HEDGE_CONNECT_MAX_S = 0.25  # while a hedge connects, nobody looks whether the first has answered


class Blocking:
    """Asks queries; of any number of threads."""

    _all: ClassVar[weakref.WeakSet[Blocking]] = weakref.WeakSet()

    def __init__(
        self, source: Source, settings: Settings, service: str | None, tls: ssl.SSLContext | None
    ) -> None:
        self._source = source
        self._settings = settings
        self._service = service
        self._tls = tls
        self._all.add(self)
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self.dispatch = Dispatch(self._settings, random.Random())  # noqa: S311 - no secret
        self.dispatch.instances.replace(self._source.known())
        self._lines = Lines(self._settings, self._tls)
        self._found = threading.Event()
        self._watching: _Watching | None = None

    @classmethod
    def begin_anew(cls) -> None:
        """In a child after a fork: sockets, locks and threads are the parent's."""
        for one in list(cls._all):
            one._begin()

    def ask(
        self, query: Query, kind: str, deadline_s: float, *, hedged: bool, service: str
    ) -> tuple[Answer, Attempt]:
        """The answer, and whose.

        Raises ``NoInstanceError``, ``DeadlineError``, ``AnswerTooLargeError``.
        """
        now = time.monotonic()
        deadline = now + deadline_s
        if self._watching is None:
            self._watch()
        if not self.dispatch.instances.all and not self._found.wait(deadline_s):
            raise DeadlineError(NONE_FOUND)
        with self._lock:
            course = Course(self.dispatch, kind, now, deadline, hedged=hedged, service=service)
        under_way: dict[int, tuple[Attempt, Line]] = {}
        try:
            while True:
                now = time.monotonic()
                with self._lock:
                    step = course.next(now)
                if isinstance(step, Attempt):
                    answer = self._start(course, step, query, deadline, under_way)
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
    ) -> tuple[Answer, Attempt] | None:
        """Send it; gives the query's answer if it came before all was sent."""
        instance = attempt.instance
        line: Line | None = None
        try:
            line = self._lines.take(instance, attempt.started)
            left_s = max(0.001, deadline - time.monotonic())
            if line is None:
                limit_s = _HEDGE_CONNECT_MAX_S if under_way else self._settings.connect_timeout_s
                line = self._lines.connect(instance.address, min(left_s, limit_s))
                left_s = max(0.001, deadline - time.monotonic())
            answer = line.send(query.to_bytes(instance.address, left_s), left_s)
        except (LostError, AnswerTooLargeError) as error:
            if line is not None:
                line.close()
            self._lost(course, attempt, error)
            return None
        if answer is not None:
            return self._answered(course, attempt, line, answer)
        under_way[line.fileno()] = (attempt, line)
        return None

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
            except (LostError, AnswerTooLargeError) as error:
                del under_way[number]
                line.close()
                self._lost(course, attempt, error)
                continue
            if answer is None:
                continue
            del under_way[number]
            found = self._answered(course, attempt, line, answer)
            if found is not None:
                return found
        return None

    def _answered(
        self, course: Course, attempt: Attempt, line: Line, answer: Answer
    ) -> tuple[Answer, Attempt] | None:
        """The query's answer, if this is it."""
        now = time.monotonic()
        if answer.keep:
            self._lines.give_back(attempt.instance, line, now)
        else:
            line.close()
        error_type = answer.error_type()
        with self._lock:
            over = course.answered(
                attempt,
                answer.status,
                now,
                retry_after_s=answer.retry_after_s,
                leaving=not answer.keep,
                error_type=error_type,
            )
        return (answer, attempt) if over else None

    def _lost(
        self, course: Course, attempt: Attempt, error: LostError | AnswerTooLargeError
    ) -> None:
        """No answer that can be used; raises ``AnswerTooLargeError``: it would never be one."""
        with self._lock:
            if isinstance(error, AnswerTooLargeError):
                course.too_large(attempt)
                raise error
            now = time.monotonic()
            course.lost(attempt, error.message, now, sent=error.sent, stale=error.stale)

    # ---- the watching thread -------------------------------------------------------------------

    def _watch(self) -> None:
        with self._lock:
            if self._watching is None:
                lines, dispatch = self._lines, self.dispatch

                def tidy() -> None:
                    lines.keep_only(set(dispatch.instances.all), time.monotonic())

                watch = Watch(dispatch, self._lock, self._source, self._service, self._tls, tidy)
                lines.open()
                self._watching = _Watching(watch, self._found)
                # A client that is simply forgotten does not leave its thread behind.
                self._forgotten = weakref.finalize(self, self._watching.stop)

    def close(self) -> None:
        """Close idle connections, stop watching. A later query begins anew."""
        with self._lock:
            watching, self._watching = self._watching, None
            self._lines.close()
        if watching is not None:
            self._forgotten.detach()
            watching.stop()


os.register_at_fork(after_in_child=Blocking.begin_anew)


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
            pass
        finally:
            self._loop.close()

    def stop(self) -> None:
        if self._pid == os.getpid():
            with contextlib.suppress(RuntimeError):  # it is closed
                self._loop.call_soon_threadsafe(self._task.cancel)
            if threading.current_thread() is not self._thread:
                self._thread.join(timeout=2.0)
