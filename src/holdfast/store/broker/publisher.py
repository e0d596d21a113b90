"""Sends hints to the broker, one message a queue however many come at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import Final

import structlog
from aio_pika import DeliveryMode, Message
from aio_pika.abc import AbstractChannel, AbstractConnection
from aio_pika.exceptions import DeliveryError

from holdfast.store.broker.link import PREFIX, declare
from holdfast.store.pg.notify import COALESCE_S, QUEUE, queue_topic

log = structlog.get_logger(__name__)

CONFIRM_S: Final = 1.0
PENDING_MAX: Final = 1_000  # queues, not hints: nobody has so many


class Publisher:
    """Takes hints over while the broker answers, and gives back those that it did not confirm.

    ``instead``: told the topics of such hints. ``sent`` and ``dropped`` count messages.
    """

    def __init__(self, instead: Callable[..., None]) -> None:
        self._instead = instead
        self._pending: set[str] = set()
        self._sending: set[str] = set()
        self._some = asyncio.Event()
        self._ready = False
        self.sent = 0
        self.dropped = 0

    def take(self, topics: Collection[str]) -> tuple[str, ...]:
        """Take over the hints about queues; returns the topics that must go another way."""
        queues = {topic.removeprefix(QUEUE) for topic in topics if topic.startswith(QUEUE)}
        if not queues:
            return tuple(topics)
        if not self._ready or len(self._pending) + len(queues) > PENDING_MAX:
            self.dropped += len(queues)
            return tuple(topics)
        self._pending |= queues
        self._some.set()
        return tuple(topic for topic in topics if not topic.startswith(QUEUE))

    async def use(self, connection: AbstractConnection) -> None:
        """Send for ever (``link.User``)."""
        async with connection.channel(publisher_confirms=True, on_return_raises=True) as channel:
            declared: set[str] = set()
            self._ready = True
            try:
                while True:
                    await self._some.wait()
                    self._some.clear()
                    self._sending, self._pending = self._pending, set()
                    for queue in list(self._sending):
                        await self._send(channel, queue, declared)
                        self._sending.discard(queue)
                    await asyncio.sleep(COALESCE_S)
            finally:
                self._ready = False
                left = self._sending | self._pending
                self._sending, self._pending = set(), set()
                self._give_back(left)

    async def _send(self, channel: AbstractChannel, queue: str, declared: set[str]) -> None:
        """Send one and wait until a majority of the broker's servers have it."""
        try:
            async with asyncio.timeout(CONFIRM_S):
                if queue not in declared:
                    await declare(channel, queue)
                    declared.add(queue)
                await channel.default_exchange.publish(
                    Message(b"", delivery_mode=DeliveryMode.PERSISTENT), f"{PREFIX}{queue}"
                )
        except DeliveryError:
            # Refused, or the queue was deleted: that is no reason to hang up.
            declared.discard(queue)
            self._give_back({queue})
        else:
            self.sent += 1

    def _give_back(self, queues: Collection[str]) -> None:
        self.dropped += len(queues)
        if queues:
            log.debug("hint.not_confirmed", queues=sorted(queues))
            self._instead(*(queue_topic(queue) for queue in queues))
