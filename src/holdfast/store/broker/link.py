"""One connection to the broker, made again for ever, ever more patiently."""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, Protocol

import aio_pika
import structlog
from aio_pika.abc import AbstractChannel, AbstractConnection
from aio_pika.exceptions import (
    AMQPError,
    AuthenticationError,
    ChannelInvalidStateError,
    ProbableAuthenticationError,
)
from aiormq.exceptions import ConnectionNotAllowed

from holdfast.errors import StoreUnavailableError
from holdfast.store.broker.address import Address, addresses

log = structlog.get_logger(__name__)

CONNECT_S: Final = 5.0
CLOSE_S: Final = 1.0
AGAIN_S: Final = 0.2
AGAIN_MAX_S: Final = 10.0
LASTING_S: Final = 30.0  # a connection that lasted so long was a good one
PREFIX: Final = "holdfast."
HINTS_MAX: Final = 256  # a queue keeps so many; more than there are engines bring nothing

FAULTS: Final = (AMQPError, ChannelInvalidStateError, OSError, TimeoutError)
"""What a broker that is away, or says no, looks like."""

# What becomes of the connection is said here, once, and without a URL in it.
for _name in ("aio_pika", "aiormq"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)


class User(Protocol):
    """What works on a connection, from the beginning whenever there is another."""

    async def use(self, connection: AbstractConnection) -> None:
        """Work until cancelled; any of ``FAULTS`` ends the connection."""
        ...


class Link:
    """Keeps one connection to any of the addresses, taken in turn. Never in anybody's way."""

    def __init__(
        self,
        where: Sequence[Address],
        users: Sequence[User],
        on_change: Callable[[bool, Address], None],
    ) -> None:
        self._where = where
        self._users = users
        self._on_change = on_change
        self._task: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Begin, in the background."""
        self._task = asyncio.get_running_loop().create_task(self._keep())

    async def close(self) -> None:
        """Hang up."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _keep(self) -> None:
        """Connect for ever. A fault nobody thought of ends this connection, and no more."""
        loop = asyncio.get_running_loop()
        pause_s = AGAIN_S
        for address in itertools.cycle(self._where):
            began = loop.time()
            try:
                await self._once(address)
            except Exception as fault:  # noqa: BLE001 - work goes on without a broker in any case
                if pause_s == AGAIN_S or not isinstance(fault, FAULTS):
                    log.warning("broker.unavailable", broker=address.shown, fault=_name_of(fault))
            if loop.time() - began >= LASTING_S:
                pause_s = AGAIN_S
            await asyncio.sleep(pause_s * (0.5 + random.random()))  # noqa: S311
            pause_s = min(pause_s * 2, AGAIN_MAX_S)

    async def _once(self, address: Address) -> None:
        """Connect, and be of use until the connection is over. Raises what no connection gave."""
        async with asyncio.timeout(CONNECT_S):
            connection = await aio_pika.connect(address.url)
        lost = asyncio.Event()

        def lose(_: object, _fault: BaseException | None) -> None:
            lost.set()

        connection.close_callbacks.add(lose)
        log.info("broker.connected", broker=address.shown)
        self._on_change(True, address)
        working = [asyncio.ensure_future(user.use(connection)) for user in self._users]
        losing = asyncio.ensure_future(lost.wait())
        try:
            await asyncio.wait({losing, *working}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._on_change(False, address)
            for task in (losing, *working):
                task.cancel()
            await asyncio.gather(losing, *working, return_exceptions=True)
            await _hang_up(connection)
        faults = [_fault_of(task) for task in working]
        said = next((fault for fault in faults if fault), "hung up")
        log.warning("broker.disconnected", broker=address.shown, fault=said)


def _fault_of(task: asyncio.Future[None]) -> str | None:
    fault = None if task.cancelled() else task.exception()
    return None if fault is None else _name_of(fault)


async def declare(channel: AbstractChannel, queue: str) -> aio_pika.abc.AbstractQueue:
    """The quorum queue of hints about one queue of jobs: kept on a majority, and never long."""
    return await channel.declare_queue(
        f"{PREFIX}{queue}",
        durable=True,
        arguments={"x-queue-type": "quorum", "x-max-length": HINTS_MAX},
    )


async def probe(url: str) -> str:
    """Connect once; returns which server answered. Raises ``StoreUnavailableError``."""
    said: list[str] = []
    for address in addresses(url):
        try:
            async with asyncio.timeout(CONNECT_S):
                connection = await aio_pika.connect(address.url)
        except FAULTS as fault:
            said.append(f"{address.shown}: {_name_of(fault)}")
            continue
        await _hang_up(connection)
        return address.shown
    raise StoreUnavailableError(f"the broker does not answer ({'; '.join(said)})")


async def _hang_up(connection: AbstractConnection) -> None:
    with suppress(*FAULTS):
        async with asyncio.timeout(CLOSE_S):
            await connection.close()


def _name_of(fault: BaseException) -> str:
    """In words; of what is not known only its name, for its text might quote the URL."""
    if isinstance(fault, AuthenticationError | ProbableAuthenticationError):
        return "it refuses the user or the password"
    if isinstance(fault, ConnectionNotAllowed):
        return "it has no such virtual host for this user"
    if isinstance(fault, TimeoutError):
        return "no answer in time"
    if isinstance(fault, OSError) and fault.strerror:
        return fault.strerror
    return type(fault).__name__
