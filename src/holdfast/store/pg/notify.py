"""Hints over LISTEN/NOTIFY. Nothing depends on one: a slow poll is the truth.

NOTIFY inside a transaction serialises commits (measured: it halves them), so hints are
sent in a statement of their own, after the commit: the first one at once, those of the
10 ms after it together (100 ms for the event log, which is written all the time).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from types import TracebackType
from typing import TYPE_CHECKING, Any

import structlog

from holdfast.errors import StoreUnavailableError
from holdfast.store.pg import hosts
from holdfast.store.pg.driver import asyncpg

if TYPE_CHECKING:
    from holdfast.store.pg.database import Database

log: Any = structlog.get_logger(__name__)

CHANNEL = "holdfast"
COALESCE_S = 0.01
COALESCE_EVENTS_S = 0.1
CONNECT_S = 5.0
RECONNECT_S = 0.5
CHECK_S = 15.0  # how often a listener makes sure that its connection still answers

JOBS = "jobs"  # a job may want to run
MEMBERS = "members"  # a member came, went or shall drain
CLAIMS = "claims"  # a shard changed hands
QUEUE = "queue."  # followed by its name: an unbound job of that queue may want to run
EVENTS = "events"  # the event log grew; not sent with the topics above, which imply it


def queue_topic(queue: str) -> str:
    """The topic of hints about one queue of unbound jobs."""
    return f"{QUEUE}{queue}"


class Hints:
    """Collects topics and sends them together.

    ``outlet``: another way (``store.broker``) that is offered every topic first; it
    returns those it does not take.
    """

    def __init__(self, db: Database) -> None:
        self._db = db
        self._topics: set[str] = set()
        # uvloop's handle of a call that is due at once does not tell its time: it is kept here.
        self._timer: asyncio.Handle | None = None
        self._due = float("-inf")
        self._sent_at = float("-inf")
        self._sending: set[asyncio.Task[None]] = set()
        self.outlet: Callable[[Collection[str]], tuple[str, ...]] | None = None

    def add(self, *topics: str) -> None:
        """Send these topics soon, with whatever else comes until then."""
        left = topics if self.outlet is None else self.outlet(topics)
        if left:
            self.notify(*left)

    def notify(self, *topics: str) -> None:
        """``add`` by NOTIFY, whatever other way there is."""
        self._topics.update(topics)
        loop = asyncio.get_running_loop()
        due = max(loop.time(), self._sent_at + COALESCE_S)
        if topics == (EVENTS,):
            due = loop.time() + COALESCE_EVENTS_S
        if self._timer is not None and self._due <= due:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._due = due
        self._timer = loop.call_at(due, self._send_later)

    async def flush(self) -> None:
        """Send what is pending now."""
        topics, self._topics = self._topics, set()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not topics:
            return
        self._sent_at = asyncio.get_running_loop().time()
        try:
            await self._db.execute("select pg_notify($1, $2)", CHANNEL, ",".join(sorted(topics)))
        except StoreUnavailableError as fault:
            log.debug("hint.lost", fault=str(fault))

    async def close(self) -> None:
        """Send the last hints; a database that is away is not waited for."""
        for task in self._sending:
            task.cancel()
        try:
            async with asyncio.timeout(1.0):
                await self.flush()
        except TimeoutError:
            log.debug("hint.lost", fault="closing")

    def _send_later(self) -> None:
        self._timer = None
        task = asyncio.get_running_loop().create_task(self.flush())
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)


class PgWaker:
    """``store.port.Waker`` on a connection of its own, made again whenever it is lost.

    A hint that arrives while nobody waits ends the next wait at once; so does
    every new connection, since hints may have been missed before it.
    """

    def __init__(self, dsn: str, topics: Collection[str] = (JOBS, MEMBERS, CLAIMS)) -> None:
        self._dsn = dsn
        self._topics = frozenset(topics)
        self._hinted = asyncio.Event()
        self._heard: set[str] = set()
        self._lost = asyncio.Event()
        self.listening = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> PgWaker:
        """Start to listen, in the background."""
        self._task = asyncio.get_running_loop().create_task(self._listen_for_ever())
        return self

    async def close(self) -> None:
        """Stop listening; a wait in progress runs into its time limit."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def __aenter__(self) -> PgWaker:
        return await self.open()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def wait(self, timeout_s: float) -> frozenset[str]:
        """Return at a hint, or empty-handed after ``timeout_s``, whichever is first."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._hinted.wait()
        except TimeoutError:
            return frozenset()
        self._hinted.clear()
        heard, self._heard = frozenset(self._heard), set()
        return heard

    async def _listen_for_ever(self) -> None:
        while True:
            try:
                await self._listen()
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as fault:
                log.info("waker.disconnected", fault=str(fault) or type(fault).__name__)
            self.listening.clear()
            await asyncio.sleep(RECONNECT_S)

    async def _listen(self) -> None:
        conn: Any = await hosts.connect(self._dsn, timeout=CONNECT_S, command_timeout=CONNECT_S)
        try:
            self._lost.clear()
            conn.add_termination_listener(self._on_lost)
            await conn.add_listener(CHANNEL, self._on_notify)
            self.listening.set()
            self._heard.update(self._topics)
            self._hinted.set()
            while not self._lost.is_set():
                try:
                    async with asyncio.timeout(CHECK_S):
                        await self._lost.wait()
                except TimeoutError:
                    await conn.execute("select 1")
        finally:
            conn.terminate()

    def _on_lost(self, _conn: object) -> None:
        self._lost.set()

    def _on_notify(self, _conn: object, _pid: int, _channel: str, payload: str) -> None:
        self.hear(*payload.split(","))

    def hear(self, *topics: str) -> None:
        """Take a hint, from wherever it comes."""
        heard = self._topics.intersection(topics)
        if heard:
            self._heard |= heard
            self._hinted.set()
