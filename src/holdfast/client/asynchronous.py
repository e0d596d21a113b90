"""Queries from an event loop: the course's decisions, carried out with futures."""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
import threading
import time
from typing import TypeAlias

from holdfast.client.course import Attempt, Course, Dispatch
from holdfast.client.discovery import Source
from holdfast.client.errors import AnswerTooLargeError, DeadlineError, LostError
from holdfast.client.settings import Settings
from holdfast.client.streams import Stream, Streams, connect
from holdfast.client.watching import NONE_FOUND, Watch
from holdfast.client.wire import Answer, Query
from holdfast.errors import InvalidInputError

_Asked: TypeAlias = asyncio.Future[Answer]


class _UnderWay:
    """An attempt and its connection, once there is one."""

    __slots__ = ("attempt", "stream")

    def __init__(self, attempt: Attempt) -> None:
        self.attempt = attempt
        self.stream: Stream | None = None


class Asynchronous:
    """Asks queries; of one event loop."""

    def __init__(
        self, source: Source, settings: Settings, service: str | None, tls: ssl.SSLContext | None
    ) -> None:
        self.dispatch = Dispatch(settings, random.Random())  # noqa: S311 - no secret
        self.dispatch.instances.replace(source.known())
        self._settings = settings
        self._tls = tls
        self._source = source
        self._service = service
        self._streams = Streams(settings)
        self._found = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._watching: asyncio.Task[None] | None = None

    async def ask(
        self, query: Query, kind: str, deadline_s: float, *, hedged: bool, service: str
    ) -> tuple[Answer, Attempt]:
        """The answer, and whose.

        Raises ``NoInstanceError``, ``DeadlineError``, ``AnswerTooLargeError``.
        """
        now = time.monotonic()
        deadline = now + deadline_s
        if self._watching is None or self._loop is not asyncio.get_running_loop():
            self._start_watching()
        if not self.dispatch.instances.all:
            await self._wait_found(deadline_s)
        course = Course(self.dispatch, kind, now, deadline, hedged=hedged, service=service)
        under_way: dict[_Asked, _UnderWay] = {}
        try:
            while True:
                step = course.next(time.monotonic())
                if isinstance(step, Attempt):
                    self._start(step, query, deadline, under_way)
                    continue
                wait_s = max(0.0, step - time.monotonic())
                if not under_way:
                    await asyncio.sleep(wait_s)
                    continue
                done, _ = await asyncio.wait(
                    under_way, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED
                )
                for one in done:
                    found = self._end(course, one, under_way.pop(one))
                    if found is not None:
                        return found
        finally:
            course.close(time.monotonic())
            for one, way in under_way.items():
                one.cancel()
                if way.stream is not None:
                    way.stream.close()

    def _start_watching(self) -> None:
        """Raises ``InvalidInputError`` in a second loop."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop and self._loop is not None:
            if not self._loop.is_closed():
                raise InvalidInputError(
                    "This client is another event loop's: make one for each, or close that loop."
                )
            self._streams.forget()
        self._loop = loop
        self._found = asyncio.Event()
        self._streams.open()
        lock = threading.Lock()
        watch = Watch(self.dispatch, lock, self._source, self._service, self._tls, self._tidy)
        self._watching = asyncio.create_task(watch.run(self._found.set))

    async def _wait_found(self, deadline_s: float) -> None:
        try:
            async with asyncio.timeout(deadline_s):
                await self._found.wait()
        except TimeoutError:
            raise DeadlineError(NONE_FOUND) from None

    def _start(
        self, attempt: Attempt, query: Query, deadline: float, under_way: dict[_Asked, _UnderWay]
    ) -> None:
        instance = attempt.instance
        way = _UnderWay(attempt)
        way.stream = self._streams.take(instance, attempt.started)
        if way.stream is not None:
            data = query.to_bytes(instance.address, deadline - attempt.started)
            under_way[way.stream.ask(data)] = way
        else:
            under_way[asyncio.create_task(self._connect(way, query, deadline))] = way

    async def _connect(self, way: _UnderWay, query: Query, deadline: float) -> Answer:
        address = way.attempt.instance.address
        left_s = max(0.001, deadline - time.monotonic())
        limit_s = min(left_s, self._settings.connect_timeout_s)
        way.stream = await connect(address, limit_s, self._settings.answer_bytes_max, self._tls)
        return await way.stream.ask(query.to_bytes(address, deadline - time.monotonic()))

    def _end(self, course: Course, one: _Asked, way: _UnderWay) -> tuple[Answer, Attempt] | None:
        """The query's answer, if this is it."""
        now = time.monotonic()
        try:
            answer = one.result()
        except LostError as error:
            if way.stream is not None:
                way.stream.close()
            course.lost(way.attempt, error.message, now, sent=error.sent, stale=error.stale)
            return None
        except AnswerTooLargeError:
            if way.stream is not None:
                way.stream.close()
            course.too_large(way.attempt)
            raise
        if way.stream is not None:
            if answer.keep:
                self._streams.give_back(way.attempt.instance, way.stream, now)
            else:
                way.stream.close()
        over = course.answered(
            way.attempt,
            answer.status,
            now,
            retry_after_s=answer.retry_after_s,
            leaving=not answer.keep,
            error_type=answer.error_type(),
        )
        return (answer, way.attempt) if over else None

    def _tidy(self) -> None:
        self._streams.keep_only(set(self.dispatch.instances.all), time.monotonic())

    async def close(self) -> None:
        """Close idle connections, stop watching. A later query begins anew."""
        watching, self._watching = self._watching, None
        if self._loop is not asyncio.get_running_loop():
            self._streams.forget()
        elif watching is not None:
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching
        self._streams.close()
