"""The feed of the event log: followers that share one reader."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from holdfast.core.events import EventFeed
from holdfast.errors import StoreUnavailableError
from holdfast.sim.memstore import MemStore
from holdfast.store.events import START, EventFilter, EventPage, Order, Position, told

EVERYTHING = EventFilter()


class Clock:
    now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


class Hinted:
    """A waker in the test's hand."""

    def __init__(self) -> None:
        self.hints = asyncio.Semaphore(0)

    async def wait(self, timeout_s: float) -> frozenset[str]:
        await self.hints.acquire()
        return frozenset()


class Counted(MemStore):
    """Counts the reads."""

    reads = 0
    away = False

    async def events(
        self,
        after: Position | None,
        limit: int,
        where: EventFilter | None = None,
        *,
        order: Order = "oldest",
    ) -> EventPage:
        self.reads += 1
        if self.away:
            raise StoreUnavailableError("the database does not answer")
        return await MemStore.events(self, after, limit, where, order=order)


@pytest.fixture
def store() -> Counted:
    return Counted(Clock(), {"thing": None})


@pytest.fixture
def waker() -> Hinted:
    return Hinted()


@pytest.fixture
def feed(store: Counted, waker: Hinted) -> EventFeed:
    return EventFeed(store, waker, gather_s=0)


async def write(store: MemStore, *numbers: int, kind: str = "audit.test") -> None:
    await store.record([told(kind, data={"n": number}) for number in numbers])


async def take(pages: AsyncGenerator[EventPage], count: int) -> list[int]:
    """The next events' numbers."""
    found: list[int] = []
    while len(found) < count:
        page = await anext(pages)
        found += [event.data["n"] for event in page.events]
    return found


async def test_a_follower_gets_the_past_from_its_position_and_then_what_happens(
    store: Counted, waker: Hinted, feed: EventFeed
):
    await write(store, 1, 2, 3)
    first = (await store.events(None, 1)).events[0].position
    async with aclosing(feed.follow(first, EVERYTHING, idle_s=60)) as pages:
        assert await take(pages, 2) == [2, 3]
        await write(store, 4)
        waker.hints.release()
        assert await take(pages, 1) == [4]


async def test_from_now_on_means_nothing_of_the_past(
    store: Counted, waker: Hinted, feed: EventFeed
):
    await write(store, 1)
    now = await feed.now()
    async with aclosing(feed.follow(now, EVERYTHING, idle_s=60)) as pages:
        waiting = asyncio.create_task(take(pages, 1))
        await asyncio.sleep(0)
        await write(store, 2)
        waker.hints.release()
        assert await waiting == [2]


async def test_many_followers_cost_one_read_per_hint(
    store: Counted, waker: Hinted, feed: EventFeed
):
    now = await feed.now()
    followers = [feed.follow(now, EVERYTHING, idle_s=60) for _ in range(50)]
    waiting = [asyncio.create_task(take(pages, 2)) for pages in followers]
    for _ in range(10):
        await asyncio.sleep(0)
    assert feed.followers == 50
    before = store.reads
    for number in (1, 2):
        await write(store, number)
        waker.hints.release()
        await asyncio.sleep(0.01)
    assert await asyncio.gather(*waiting) == [[1, 2]] * 50
    assert store.reads - before <= 4
    for pages in followers:
        await pages.aclose()
    assert feed.followers == 0


async def test_each_follower_sees_what_its_filter_admits(
    store: Counted, waker: Hinted, feed: EventFeed
):
    now = await feed.now()
    chosen = EventFilter(kinds=("job.*",))
    async with aclosing(feed.follow(now, chosen, idle_s=60)) as pages:
        waiting = asyncio.create_task(take(pages, 1))
        await asyncio.sleep(0)
        await write(store, 1)
        await write(store, 2, kind="job.ended")
        waker.hints.release()
        assert await waiting == [2]


async def test_silence_is_shown_and_moves_the_position_on(store: Counted, feed: EventFeed):
    chosen = EventFilter(kinds=("job.*",))
    await write(store, 1)
    async with aclosing(feed.follow(START, chosen, idle_s=0.001)) as pages:
        page = await anext(pages)
        assert page.events == ()
        assert page.position > START


async def test_a_store_that_is_away_ends_the_follower_at_its_position(
    store: Counted, waker: Hinted, feed: EventFeed
):
    await write(store, 1)
    async with aclosing(feed.follow(START, EVERYTHING, idle_s=0.001)) as pages:
        assert await take(pages, 1) == [1]
    store.away = True
    async with aclosing(feed.follow(START, EVERYTHING, idle_s=0.001)) as pages:
        with pytest.raises(StoreUnavailableError):
            await anext(pages)
    assert feed.followers == 0


async def test_the_shared_reader_outlives_an_outage(store: Counted, waker: Hinted, feed: EventFeed):
    now = await feed.now()
    async with aclosing(feed.follow(now, EVERYTHING, idle_s=60)) as pages:
        waiting = asyncio.create_task(take(pages, 2))
        await asyncio.sleep(0.01)
        store.away = True
        waker.hints.release()
        await asyncio.sleep(0.01)
        store.away = False
        await write(store, 1, 2)
        waker.hints.release()
        assert await waiting == [1, 2]
