"""Hints through a broker in virtual time: who is woken, when it is acknowledged, what gets lost."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from aio_pika.exceptions import DeliveryError
from pamqp.commands import Basic
from tests.core.queues import SETTINGS, Kind
from tests.store.broker.house import BrokerHouse, FakeBroker

from holdfast.core.jobs import Done, Outcome, StepContext
from holdfast.sim.loop import SimLoop
from holdfast.store.broker.consumer import Consumer
from holdfast.store.broker.publisher import CONFIRM_S, PENDING_MAX, Publisher
from holdfast.store.pg.notify import EVENTS, MEMBERS, PgWaker, queue_topic

SOON_S = 0.1  # far less than a tick
WORK = queue_topic("work")


class Begun:
    """When each job was begun, and by whom."""

    def __init__(self, lasts_s: float) -> None:
        self.lasts_s = lasts_s
        self.at: list[tuple[float, str]] = []

    async def run(self, ctx: StepContext) -> Outcome:
        self.at.append((asyncio.get_running_loop().time(), ctx.member.slot))
        await asyncio.sleep(self.lasts_s)
        return Done()


async def between_ticks() -> float:
    """A moment at which no worker is about to look by itself."""
    await asyncio.sleep(20 * SETTINGS.tick_s + SETTINGS.tick_s / 4)
    return asyncio.get_running_loop().time()


def test_a_hint_wakes_one_worker_at_once_and_is_acknowledged_after_its_look():
    begun = Begun(0.01)
    house = BrokerHouse(Kind("tiny", begun.run), room=10)

    async def main() -> float:
        for slot in ("a", "b", "c"):
            house.start(slot)
        house.publish()
        now = await between_ticks()
        await house.put("tiny", 3)
        await asyncio.sleep(SOON_S)
        return now

    now = house.play(main())
    assert len({slot for _, slot in begun.at}) == 1, "one message wakes one worker"
    assert len(begun.at) == 3
    assert all(at - now < SOON_S for at, _ in begun.at)
    [message] = house.broker.sent
    assert message.acked_at is not None
    assert message.acked_at >= begun.at[-1][0]


def test_a_worker_without_room_hands_the_hint_on_and_keeps_its_own_until_it_has_room():
    begun = Begun(60.0)
    house = BrokerHouse(Kind("long", begun.run), room=4)

    async def main() -> tuple[float, list[float | None]]:
        for slot in ("a", "b", "c"):
            house.start(slot)
        house.publish()
        now = await between_ticks()
        await house.put("long", 10)
        await asyncio.sleep(SOON_S)
        unacked = [message.acked_at for message in house.broker.sent]
        await asyncio.sleep(61)
        return now, unacked

    now, unacked = house.play(main())
    assert sorted(Counter(slot for _, slot in begun.at).values()) == [2, 4, 4]
    assert all(at - now < SOON_S for at, _ in begun.at), "nobody waited for a tick"
    assert sum(at is None for at in unacked) == 2, "two are full and wait for room"
    assert all(message.acked_at is not None for message in house.broker.sent)


def test_without_any_message_work_begins_with_the_next_tick():
    begun = Begun(0.01)
    house = BrokerHouse(Kind("tiny", begun.run), room=10)
    house.store.tables.hints.clear()

    async def main() -> float:
        house.start("a")
        house.publish()
        now = await between_ticks()
        await house.put("tiny", 3)
        await asyncio.sleep(2 * SETTINGS.tick_s)
        return now

    now = house.play(main())
    assert len(begun.at) == 3
    assert all(SOON_S < at - now <= SETTINGS.tick_s + 0.01 for at, _ in begun.at)


def run(main: Any) -> Any:
    loop = SimLoop(3)
    try:
        return loop.run(main)
    finally:
        loop.close()


class Held:
    """A consumer with messages in hand, without a worker."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.passed: list[str] = []
        self.broker = FakeBroker()
        self.consumer = Consumer({"work"}, self.heard.append, self.passed.append)

    async def message(self) -> Any:
        task = asyncio.ensure_future(self.consumer.use(self.broker))  # type: ignore[arg-type]
        await self.broker.publish(None, "")
        await asyncio.sleep(0)
        self.task = task
        return self.broker.sent[0]


def test_a_message_that_comes_during_a_look_waits_for_the_next():
    async def main() -> None:
        held = Held()
        held.consumer.looking()
        message = await held.message()
        held.consumer.looked(set())
        await asyncio.sleep(1)
        assert message.acked_at is None
        held.consumer.looking()
        held.consumer.looked(set())
        await asyncio.sleep(1)
        assert message.acked_at is not None

    run(main())


def test_a_full_worker_hands_on_once_not_at_every_look():
    async def main() -> None:
        held = Held()
        message = await held.message()
        for _ in range(5):
            held.consumer.looking()
            held.consumer.looked({"work"})
        await asyncio.sleep(1)
        assert held.passed == [WORK]
        assert message.acked_at is None

    run(main())


def test_what_is_in_hand_when_the_connection_ends_is_forgotten():
    async def main() -> None:
        held = Held()
        message = await held.message()
        held.task.cancel()
        await asyncio.sleep(1)
        held.consumer.looking()
        held.consumer.looked(set())
        await asyncio.sleep(1)
        assert message.acked_at is None, "the broker gives it to somebody else"

    run(main())


async def taken_up(publisher: Publisher, broker: FakeBroker) -> asyncio.Task[None]:
    task = asyncio.ensure_future(publisher.use(broker))  # type: ignore[arg-type]
    await asyncio.sleep(0.001)
    return task  # type: ignore[return-value]


def test_hints_that_come_while_one_is_under_way_become_one_message():
    async def main() -> None:
        broker = FakeBroker()
        publisher = Publisher(lambda *_: None)
        await taken_up(publisher, broker)
        for _ in range(100):
            assert publisher.take((WORK,)) == ()
            await asyncio.sleep(0.0001)
        await asyncio.sleep(1)
        assert 1 <= len(broker.sent) <= 3
        assert publisher.sent == len(broker.sent)
        assert publisher.dropped == 0

    run(main())


def test_what_is_no_hint_about_a_queue_goes_by_notify():
    async def main() -> None:
        publisher = Publisher(lambda *_: None)
        await taken_up(publisher, FakeBroker())
        assert publisher.take((MEMBERS, WORK, EVENTS)) == (MEMBERS, EVENTS)
        assert publisher.take((MEMBERS,)) == (MEMBERS,)

    run(main())


def test_without_a_connection_hints_go_by_notify_and_are_counted():
    publisher = Publisher(lambda *_: None)
    assert publisher.take((MEMBERS, WORK)) == (MEMBERS, WORK)
    assert publisher.dropped == 1


def test_the_buffer_is_bounded():
    async def main() -> None:
        publisher = Publisher(lambda *_: None)
        await taken_up(publisher, FakeBroker(confirm_s=None))
        topics = [queue_topic(f"q{number}") for number in range(PENDING_MAX + 10)]
        assert sum(len(publisher.take((topic,))) for topic in topics) == 10
        assert publisher.dropped == 10

    run(main())


@pytest.mark.parametrize(
    ("spoil", "ends"),
    [
        (lambda broker: setattr(broker, "confirm_s", None), True),
        (lambda broker: setattr(broker, "refusing", DeliveryError(None, Basic.Nack())), False),
        (lambda broker: setattr(broker, "refusing", ConnectionResetError()), True),
    ],
    ids=["swallowed", "refused", "hung up"],
)
def test_what_is_not_confirmed_goes_by_notify(spoil: Callable[[FakeBroker], None], ends: bool):
    async def main() -> None:
        broker = FakeBroker()
        instead: list[str] = []
        publisher = Publisher(lambda *topics: instead.extend(topics))
        task = await taken_up(publisher, broker)
        spoil(broker)
        assert publisher.take((WORK,)) == ()
        await asyncio.sleep(CONFIRM_S + 0.1)
        assert instead == [WORK]
        assert publisher.dropped == 1
        assert task.done() is ends
        assert publisher.take((WORK,)) == ((WORK,) if ends else ())

    run(main())


def test_one_waker_hears_both_ways():
    async def main() -> None:
        waker = PgWaker("postgresql://nobody@127.0.0.1:1/none", (WORK, MEMBERS))
        loop = asyncio.get_running_loop()
        loop.call_later(1, waker.hear, WORK)
        loop.call_later(1, waker._on_notify, None, 0, "", f"{MEMBERS},{EVENTS}")
        began = loop.time()
        assert await waker.wait(60) == {WORK, MEMBERS}
        assert loop.time() - began == pytest.approx(1)
        loop.call_later(1, waker.hear, "queue.another")
        assert await waker.wait(60) == frozenset()
        assert loop.time() - began == pytest.approx(61)

    run(main())
