"""A broker in memory, as far as hints need one, and queue workers that hear from it.

All in virtual time. The broker gives each message to one consumer that has none, in turn.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid5

from tests.core.queues import SETTINGS, LoopClock

from holdfast.core.jobs import Handler
from holdfast.core.members import Membership
from holdfast.core.queue_worker import QueueWorker
from holdfast.sim.loop import Process, SimLoop
from holdfast.sim.memstore import MemStore
from holdfast.sim.processes import SimWaker
from holdfast.store.broker.consumer import Consumer
from holdfast.store.broker.publisher import Publisher
from holdfast.store.model import MemberSpec, QueuedJob


class Message:
    def __init__(self, broker: FakeBroker) -> None:
        self._broker = broker
        self.acked_at: float | None = None

    async def ack(self) -> None:
        self.acked_at = asyncio.get_running_loop().time()
        self._broker.free(self)


class FakeBroker:
    """One queue. ``confirm_s``: how long it takes over a publisher confirm; None: for ever."""

    def __init__(self, confirm_s: float | None = 0.005) -> None:
        self.confirm_s = confirm_s
        self.ready: deque[Message] = deque()
        self.sent: list[Message] = []
        self.consumers: deque[Callable[[Message], Any]] = deque()
        self.in_hand: dict[Message, Callable[[Message], Any]] = {}
        self.refusing: Exception | None = None

    async def publish(self, _message: Any, _routing_key: str) -> None:
        if self.confirm_s is None:
            await asyncio.get_running_loop().create_future()
        await asyncio.sleep(self.confirm_s or 0.0)
        if self.refusing is not None:
            raise self.refusing
        message = Message(self)
        self.sent.append(message)
        self.ready.append(message)
        self._give()

    def free(self, message: Message) -> None:
        self.consumers.append(self.in_hand.pop(message))
        self._give()

    def _give(self) -> None:
        while self.ready and self.consumers:
            message, consumer = self.ready.popleft(), self.consumers.popleft()
            self.in_hand[message] = consumer
            asyncio.ensure_future(consumer(message))  # noqa: RUF006 - over at once

    @asynccontextmanager
    async def channel(self, **_: Any) -> AsyncGenerator[Any]:
        async def consume(callback: Callable[[Message], Any]) -> None:
            self.consumers.append(callback)
            self._give()

        async def nothing(*_: Any, **__: Any) -> Any:
            return SimpleNamespace(consume=consume, on_consumer_cancel_callbacks=set())

        loop = asyncio.get_running_loop()
        yield SimpleNamespace(
            set_qos=nothing,
            declare_queue=nothing,
            get_underlay_channel=nothing,
            closed=loop.create_future,
            default_exchange=SimpleNamespace(publish=self.publish),
        )


class BrokerHouse:
    """Workers of the queue ``work`` over one store in memory; hints go by the broker alone."""

    def __init__(self, *handlers: Handler, room: int) -> None:
        self.loop = SimLoop(5)
        self.store = MemStore(self.loop.time, {})
        self.broker = FakeBroker()
        self.instead: list[str] = []
        self.publisher = Publisher(lambda *topics: self.instead.extend(topics))
        self.store.tables.hints.append(self.hint)
        self.handlers = {handler.kind: handler for handler in handlers}
        self.workers: list[QueueWorker] = []
        self._room = room

    def hint(self, topic: str) -> None:
        self.publisher.take((topic,))

    def start(self, slot: str) -> None:
        waker = SimWaker()
        consumer = Consumer({"work"}, lambda topic: waker.wake(frozenset({topic})), self.hint)
        clock = LoopClock(self.loop)
        spec = MemberSpec(id=uuid5(UUID(int=7), slot), role="worker", slot=slot, host=slot)
        worker = QueueWorker(
            self.store,
            Membership(self.store, spec, SETTINGS, clock),
            lambda: self.handlers,
            {"work": self._room},
            SETTINGS,
            clock,
            waker,
            lookout=consumer,
        )
        self.workers.append(worker)
        process = Process(slot)
        self.loop.spawn(process, worker.run())
        self.loop.spawn(process, consumer.use(self.broker))  # type: ignore[arg-type]

    def publish(self) -> None:
        self.loop.spawn(Process("api"), self.publisher.use(self.broker))  # type: ignore[arg-type]

    async def put(self, kind: str, count: int) -> list[UUID]:
        jobs = [QueuedJob(id=self.loop.uuid(), kind=kind, queue="work") for _ in range(count)]
        await self.store.enqueue(jobs)
        return [job.id for job in jobs]

    def play(self, main: Any) -> Any:
        try:
            result = self.loop.run(main)
            assert self.loop.errors == []
            return result
        finally:
            self.loop.close()
