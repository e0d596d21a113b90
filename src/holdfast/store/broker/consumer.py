"""Hears hints from the broker, and acknowledges each once it was followed."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Final, NoReturn

from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage

from holdfast.store.broker.link import FAULTS, declare
from holdfast.store.pg.notify import queue_topic

BEGIN_S: Final = 5.0  # a queue without a majority of its servers lets everybody wait
PREFETCH: Final = 1
"""Of each queue, a worker has one hint in hand. While it has, all others go to other workers."""


@dataclass
class _Held:
    """A message in hand. ``seen``: a look began after it came; ``passed``: handed on."""

    message: AbstractIncomingMessage
    seen: bool = False
    passed: bool = False


class Consumer:
    """``store.port.Lookout``, and what a worker hears of its queues (``link.User``).

    ``hear``: told the topic of a queue that something may wait in. ``hand_on``: told so
    when this worker has no room left, so that another is woken.
    """

    def __init__(
        self,
        queues: Collection[str],
        hear: Callable[[str], None],
        hand_on: Callable[[str], None],
    ) -> None:
        self._queues = queues
        self._hear = hear
        self._hand_on = hand_on
        self._held: dict[str, _Held] = {}
        self._acking: set[asyncio.Task[None]] = set()

    async def use(self, connection: AbstractConnection) -> None:
        """Listen for ever. What is in hand when it ends, the broker gives to others."""
        async with connection.channel(publisher_confirms=False) as channel:
            try:
                async with asyncio.timeout(BEGIN_S):
                    await channel.set_qos(prefetch_count=PREFETCH)
                    for name in self._queues:
                        queue = await declare(channel, name)
                        await queue.consume(self._taker(name))
                # Hints may have been missed while nobody listened.
                for name in self._queues:
                    self._hear(queue_topic(name))
                await self._over(channel)
            finally:
                self._held.clear()

    async def _over(self, channel: AbstractChannel) -> NoReturn:
        """Wait until the broker ends the channel, or what is listened to (a queue was deleted)."""
        cancelled = asyncio.Event()
        below = await channel.get_underlay_channel()
        below.on_consumer_cancel_callbacks.add(lambda _: cancelled.set())
        waiting = [asyncio.ensure_future(one) for one in (channel.closed(), cancelled.wait())]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waiting:
                one.cancel()
        raise ConnectionResetError(errno.ECONNRESET, "the broker ended what was listened to")

    def looking(self) -> None:
        for held in self._held.values():
            held.seen = True

    def looked(self, full: Collection[str]) -> None:
        for queue, held in list(self._held.items()):
            if not held.seen:
                continue
            if queue not in full:
                del self._held[queue]
                self._start_ack(held.message)
            elif not held.passed:
                held.passed = True
                self._hand_on(queue_topic(queue))

    def _taker(self, queue: str) -> Callable[[AbstractIncomingMessage], Awaitable[None]]:
        async def take(message: AbstractIncomingMessage) -> None:
            self._held[queue] = _Held(message)
            self._hear(queue_topic(queue))

        return take

    def _start_ack(self, message: AbstractIncomingMessage) -> None:
        task = asyncio.get_running_loop().create_task(_ack(message))
        self._acking.add(task)
        task.add_done_callback(self._acking.discard)


async def _ack(message: AbstractIncomingMessage) -> None:
    """Without it the message comes once more, which does no harm."""
    try:
        await message.ack()
    except FAULTS:
        return
