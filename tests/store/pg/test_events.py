"""What only PostgreSQL can get wrong: transactions side by side, and a restored dump."""

from __future__ import annotations

import asyncio
import random

import pytest
from tests.store.stores import PgBench

from holdfast.store.events import EventFilter, Position, told
from holdfast.store.pg import events
from holdfast.store.pg.events import record


async def seen_from(pg: PgBench, position: Position | None) -> tuple[list[int], Position]:
    found: list[int] = []
    while True:
        page = await pg.store.events(position, 100)
        found += [event.data["n"] for event in page.events]
        position = page.position
        if not page.more:
            return found, position


async def test_no_position_passes_a_transaction_that_is_still_running(pg: PgBench):
    """The later id commits first; a reader by id alone would lose the earlier one."""
    async with pg.db.transaction() as slow:
        await record(slow, told("audit.slow", data={"n": 1}))
        await pg.store.record([told("audit.quick", data={"n": 2})])
        found, position = await seen_from(pg, None)
        assert found == []  # the quick one is committed, but the slow one comes before it
    await pg.settle()
    found, position = await seen_from(pg, position)
    assert found == [1, 2]


async def test_many_writers_at_once_lose_and_repeat_nothing(pg: PgBench):
    chance = random.Random(7)
    writers, each = 8, 25

    async def write(writer: int) -> None:
        for n in range(each):
            async with pg.db.transaction() as conn:
                await record(conn, told("audit.test", data={"n": writer * each + n}))
                for _ in range(chance.randrange(4)):
                    await conn.execute("select 1")  # stays open for a while
                await record(conn, told("audit.test", data={"n": -(writer * each + n) - 1}))

    async def read(until: asyncio.Event) -> list[int]:
        found: list[int] = []
        position = None
        while True:
            last = until.is_set()
            new, position = await seen_from(pg, position)
            found += new
            if last:
                return found

    done = asyncio.Event()
    readers = [asyncio.create_task(read(done)) for _ in range(2)]
    await asyncio.gather(*(write(writer) for writer in range(writers)))
    await pg.settle()
    done.set()
    first, second = await asyncio.gather(*readers)
    assert first == second  # all readers see the same order
    total = writers * each
    assert sorted(first) == list(range(-total, total))
    # The two events of one transaction stand together, in the order in which they were written.
    assert all(-a - 1 == b for a, b in zip(first[::2], first[1::2], strict=True))


async def test_a_read_is_bounded_and_goes_on_after_what_it_looked_at(
    pg: PgBench, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(events, "LOOKED_AT_MAX", 10)
    await pg.store.record([told("audit.rare" if n == 25 else "audit.dull") for n in range(40)])
    await pg.settle()
    where = EventFilter(kinds=("audit.rare",))
    pages, position = [], None
    while True:
        page = await pg.store.events(position, 5, where)
        pages.append(len(page.events))
        position = page.position
        if not page.more:
            break
    assert pages == [0, 0, 1, 0, 0]


async def test_after_a_restore_from_a_dump_readers_go_on_and_old_lines_can_be_purged(pg: PgBench):
    """A dump keeps the transactions' ids, while the new cluster counts from the beginning."""
    await pg.store.record([told("audit.before", data={"n": 1}), told("audit.b", data={"n": 2})])
    await pg.settle()
    page = await pg.store.events(None, 1)
    ahead = 10**12
    await pg.db.execute("update event set txid = $1::text::xid8", str(ahead))
    position = Position(ahead, page.position.id)  # of a reader that saw the first line
    await pg.store.record([told("audit.after", data={"n": 3})])
    assert await pg.store.purge_events(1000, 100) == 0
    await pg.settle()
    found, _ = await seen_from(pg, position)
    assert found == [2, 3]
    await pg.pass_time(2000)
    assert await pg.store.purge_events(1000, 100) == 3
