"""All of it in one: what a role process opens beside its database."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from types import TracebackType

import msgspec

from holdfast.store.broker.address import Address, addresses
from holdfast.store.broker.consumer import Consumer
from holdfast.store.broker.link import Link
from holdfast.store.broker.publisher import Publisher
from holdfast.store.pg.notify import Hints


class BrokerState(msgspec.Struct, frozen=True, kw_only=True):
    """Whether this process is connected, to which server (or was), and since when (Unix, s)."""

    connected: bool
    address: str
    since: float


class HintCounts(msgspec.Struct, frozen=True, kw_only=True):
    """Messages the broker confirmed, and hints that went by NOTIFY as it did not take them."""

    sent: int
    dropped: int


class Broker:
    """Takes the hints about queues from ``hints``; a worker hears of its ``queues`` through it.

    ``hear`` is told the topics of what comes (``PgWaker.hear``, so that one waker merges
    both ways). Opening does not wait for the broker. Raises ``ValueError`` for a URL that
    is none (``addresses``).
    """

    def __init__(
        self,
        url: str,
        hints: Hints,
        *,
        queues: Collection[str] = (),
        hear: Callable[[str], None] | None = None,
    ) -> None:
        where = addresses(url)
        self._hints = hints
        self._publisher = Publisher(hints.notify)
        self.lookout = Consumer(queues, hear, hints.add) if hear is not None else None
        users = [self._publisher, *([self.lookout] if self.lookout else [])]
        self._link = Link(where, users, self._changed)
        self._state = BrokerState(connected=False, address=where[0].shown, since=time.time())

    @property
    def state(self) -> BrokerState:
        """Connected or not, since when."""
        return self._state

    @property
    def counts(self) -> HintCounts:
        """What was sent since the start."""
        return HintCounts(sent=self._publisher.sent, dropped=self._publisher.dropped)

    async def __aenter__(self) -> Broker:
        self._hints.outlet = self._publisher.take
        self._link.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._hints.outlet = None
        await self._link.close()

    def _changed(self, connected: bool, address: Address) -> None:
        self._state = BrokerState(connected=connected, address=address.shown, since=time.time())
