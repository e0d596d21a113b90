"""Readers of the event log: any number of followers over one query, and its retention.

A follower's position is the whole of its state, and the log is its outbox: whoever
keeps the position of what it has dealt with gets everything at least once, over any
number of restarts (``store.events``). The newest part is read once per process for
all followers together; whoever is further behind reads the store until it catches up.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import suppress
from itertools import takewhile

import structlog

from holdfast.errors import StoreUnavailableError
from holdfast.store.events import START, Event, EventFilter, EventPage, Position
from holdfast.store.port import EventStore, Waker

log = structlog.get_logger(__name__)

PAGE = 200
KEPT_MAX = 2_000


class Patience:
    """A ``Waker`` that nobody wakes: what is there is found by looking."""

    async def wait(self, timeout_s: float) -> frozenset[str]:
        await asyncio.sleep(timeout_s)
        return frozenset()


class EventFeed:
    """The tail of the log, shared by the followers in this process.

    It is read while somebody follows and at no other time. ``poll_s``: how often it is
    read without a hint; ``gather_s``: how long hints are gathered before it is.
    """

    def __init__(
        self, store: EventStore, waker: Waker, *, poll_s: float = 1.0, gather_s: float = 0.1
    ) -> None:
        self._store = store
        self._waker = waker
        self._poll_s = poll_s
        self._gather_s = gather_s
        self._kept: deque[Event] = deque()
        self._from: Position | None = None  # everything after it ...
        self._to = START  # ... and up to here is in ``_kept``
        self._moved = asyncio.Event()
        self._followers = 0
        self._reading: asyncio.Task[None] | None = None

    @property
    def followers(self) -> int:
        return self._followers

    async def follow(
        self, position: Position, where: EventFilter, *, idle_s: float
    ) -> AsyncGenerator[EventPage]:
        """Pages of what happens after a position, for ever.

        A page without events comes when there was none for ``idle_s``. Raises
        ``StoreUnavailableError``; then follow again from the last position.
        """
        self._followers += 1
        if self._reading is None:
            self._reading = asyncio.create_task(self._read_for_ever(), name="event feed")
        try:
            while True:
                moved = self._moved
                page = self._remembered(position, where)
                if page is None:
                    page = await self._store.events(position, PAGE, where)
                position = page.position
                if page.events:
                    yield page
                if not page.more and not await _within(moved, idle_s):
                    yield EventPage((), position, more=False)
        finally:
            self._followers -= 1
            if self._followers == 0:
                self._stop()

    def _stop(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
        self._reading, self._from = None, None
        self._kept.clear()

    async def now(self) -> Position:
        """The end of the log: whatever is committed from now on comes after it."""
        position: Position | None = None
        page = await self._store.events(None, 1, order="newest")
        if page.events:
            position = page.events[0].position
        while True:
            page = await self._store.events(position, PAGE)
            position = page.position
            if not page.more:
                return position

    def _remembered(self, position: Position, where: EventFilter) -> EventPage | None:
        """The page from memory, if it reaches back so far."""
        if self._from is None or not self._from <= position <= self._to:
            return None
        newer = takewhile(lambda event: event.position > position, reversed(self._kept))
        found = [event for event in newer if where.admits(event)]
        return EventPage(tuple(reversed(found)), self._to, more=False)

    async def _read_for_ever(self) -> None:
        while True:
            try:
                await self._read()
            except StoreUnavailableError as fault:
                log.warning("store_unavailable", during="events.read", fault=str(fault))
            await self._waker.wait(self._poll_s)
            await asyncio.sleep(self._gather_s)

    async def _read(self) -> None:
        if self._from is None:
            self._from = self._to = await self.now()
            self._tell()  # somebody may have looked before this, and wait for what came since
        while True:
            page = await self._store.events(self._to, PAGE)
            self._kept.extend(page.events)
            self._to = page.position
            while len(self._kept) > KEPT_MAX:
                self._from = self._kept.popleft().position
            if page.events:
                self._tell()
            if not page.more:
                return

    def _tell(self) -> None:
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()


async def _within(event: asyncio.Event, timeout_s: float) -> bool:
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await event.wait()
    return event.is_set()
