"""Connections to PostgreSQL: a pool that heals itself, and transactions that may be repeated.

Types on our connections: ``timestamptz`` is a float (seconds since the epoch, UTC),
``jsonb`` is the decoded document, ``uuid`` a ``UUID``, ``bytea`` bytes, arrays lists.
(For pass-through select ``column::text`` and wrap it in ``msgspec.Raw``.)

Every fault of the network or the server is raised as ``StoreUnavailableError``; then
nobody knows whether the statement took effect. Broken constraints are
``ConflictError`` (``details["kind"]`` is ``duplicate`` or ``reference``) or
``InvalidInputError``.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from math import inf
from types import TracebackType
from typing import Any, Protocol, TypeAlias, TypeVar, cast
from uuid import UUID

import msgspec
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.sql import ClauseElement

from holdfast.errors import StoreUnavailableError
from holdfast.store.pg import hosts
from holdfast.store.pg.driver import asyncpg
from holdfast.store.pg.faults import RETRYABLE, translated, unreachable
from holdfast.store.pg.notify import Hints

T = TypeVar("T")
Statement: TypeAlias = str | ClauseElement

ATTEMPTS_MAX = 6
CONNECT_S = 5.0
COMMAND_S = 10.0
RELEASE_S = 0.5
# A process that stops inside a transaction must not hold its locks for longer than this.
IDLE_IN_TRANSACTION_S = 3.0

_EPOCH_2000_S = 946_684_800
_INFINITY = 2**63 - 1  # how PostgreSQL sends it
_DIALECT = PGDialect_asyncpg()
_decode_json = msgspec.json.Decoder().decode


class Row(Protocol):
    """A row of an answer, by column name or position."""

    def __getitem__(self, key: str | int) -> Any: ...
    def get(self, key: str, default: Any = None) -> Any: ...
    def keys(self) -> Any: ...
    def items(self) -> Any: ...
    def values(self) -> Any: ...
    def __len__(self) -> int: ...


class Connection:
    """One connection, lent for a statement or a transaction. Statements: SQL text or Core."""

    def __init__(self, raw: Any) -> None:
        self.raw = raw  # asyncpg's own, for what is not here (COPY, cursors)

    async def fetch(self, statement: Statement, *args: object) -> list[Row]:
        """All rows."""
        text, values = _prepared(statement, args)
        with translated():
            return cast("list[Row]", await self.raw.fetch(text, *values))

    async def fetchrow(self, statement: Statement, *args: object) -> Row | None:
        """The first row, or None."""
        text, values = _prepared(statement, args)
        with translated():
            return cast("Row | None", await self.raw.fetchrow(text, *values))

    async def fetchval(self, statement: Statement, *args: object) -> Any:
        """The first column of the first row, or None."""
        row = await self.fetchrow(statement, *args)
        return row[0] if row is not None else None

    async def execute(self, statement: Statement, *args: object) -> int:
        """Run a statement for its effect; returns how many rows it touched."""
        text, values = _prepared(statement, args)
        with translated():
            status: str = await self.raw.execute(text, *values)
        count = status.rsplit(" ", 1)[-1]
        return int(count) if count.isdigit() else 0


class Database:
    """A pool of connections on the running event loop.

    Connections are made when needed, so a database that is away at the start is met
    at the first statement, and one that comes back is found again by itself.
    """

    def __init__(self, pool: Any, dsn: str) -> None:
        self._pool = pool
        self.dsn = dsn
        self._giving_up: set[asyncio.Task[None]] = set()
        self.hints = Hints(self)

    @classmethod
    async def open(cls, dsn: str, *, min: int = 0, max: int = 10) -> Database:  # noqa: A002
        """Open a pool of at most ``max`` connections.

        ``min`` are made now; ``StoreUnavailableError`` if they cannot be. With 0 this
        does not wait for the database.
        """
        pool: Any = asyncpg.create_pool(
            dsn,
            min_size=min,
            max_size=max,
            connect=hosts.connect,
            init=_prepare,
            reset=_keep_session,
            timeout=CONNECT_S,
            command_timeout=COMMAND_S,
            server_settings={
                "application_name": "holdfast",
                "timezone": "UTC",
                "jit": "off",
                # Plans are kept. One that was made while a table was small must not walk
                # through it when it has grown, and what we ask often has an index to follow.
                "enable_seqscan": "off",
                "statement_timeout": f"{COMMAND_S * 1000:.0f}",
                "idle_in_transaction_session_timeout": f"{IDLE_IN_TRANSACTION_S * 1000:.0f}",
            },
        )
        with translated():
            await pool
        return cls(pool, dsn)

    async def close(self) -> None:
        """Send pending hints and close every connection; waits for nobody's statement."""
        await self.hints.close()
        self._pool.terminate()

    async def __aenter__(self) -> Database:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[Connection]:
        """Lend a connection, outside any transaction. Repeats nothing."""
        with translated():
            raw: Any = await self._pool.acquire(timeout=CONNECT_S)
        try:
            yield Connection(raw)
        except BaseException as fault:
            if not isinstance(fault, Exception):
                # Whoever was cancelled must not wait for a server that may never answer.
                task = asyncio.create_task(self._give_up(raw))
                self._giving_up.add(task)
                task.add_done_callback(self._giving_up.discard)
                raise
            if unreachable(fault.__cause__ or fault):
                _drop(raw)
            await self._release(raw)
            raise
        await self._release(raw)

    async def _give_up(self, raw: Any) -> None:
        """Let the server end a statement that nobody waits for; without an answer, hang up."""
        with suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            async with asyncio.timeout(RELEASE_S):
                if raw.is_in_transaction():
                    await raw.execute("rollback")
        await self._release(raw)

    async def _release(self, raw: Any) -> None:
        try:
            await self._pool.release(raw, timeout=RELEASE_S)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            _drop(raw)  # the pool makes a new one when it needs it

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Connection]:
        """One transaction, READ COMMITTED; rolled back if the block raises. Repeats nothing."""
        async with self.connection() as conn:
            await conn.execute("begin")
            try:
                yield conn
            except Exception as fault:
                if not unreachable(fault.__cause__ or fault):
                    await conn.execute("rollback")
                raise
            with translated():
                status: str = await conn.raw.execute("commit")
            if status != "COMMIT":
                raise RuntimeError("a failed statement was ignored: the transaction is undone")

    async def run(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Run ``work`` in a transaction, again if it fell to a deadlock or serialisation failure.

        ``work`` must have no effect but through its connection. A fault of the
        connection is never repeated: the transaction may have been committed.
        """

        async def attempt() -> T:
            async with self.transaction() as conn:
                return await work(conn)

        return await _repeated(attempt)

    async def fetch(self, statement: Statement, *args: object) -> list[Row]:
        """All rows of one statement, its own transaction; ``run``'s rules apply."""

        async def attempt() -> list[Row]:
            async with self.connection() as conn:
                return await conn.fetch(statement, *args)

        return await _repeated(attempt)

    async def fetchrow(self, statement: Statement, *args: object) -> Row | None:
        """The first row of one statement, or None."""

        async def attempt() -> Row | None:
            async with self.connection() as conn:
                return await conn.fetchrow(statement, *args)

        return await _repeated(attempt)

    async def fetchval(self, statement: Statement, *args: object) -> Any:
        """The first column of the first row of one statement, or None."""
        row = await self.fetchrow(statement, *args)
        return row[0] if row is not None else None

    async def execute(self, statement: Statement, *args: object) -> int:
        """Run one statement for its effect; returns how many rows it touched."""

        async def attempt() -> int:
            async with self.connection() as conn:
                return await conn.execute(statement, *args)

        return await _repeated(attempt)

    def hint(self, *topics: str) -> None:
        """Tell every ``PgWaker`` soon, outside any transaction, that something changed."""
        self.hints.add(*topics)


async def _repeated(attempt: Callable[[], Awaitable[T]]) -> T:
    """Run it until it is not the victim of another transaction; the one place that repeats."""
    for count in range(ATTEMPTS_MAX - 1):
        try:
            return await attempt()
        except StoreUnavailableError as fault:
            if not isinstance(fault.__cause__, RETRYABLE):
                raise
        # 2, 4, 8 ... ms, of which a random half to one and a half.
        await asyncio.sleep(0.002 * 2**count * (0.5 + random.random()))  # noqa: S311
    return await attempt()


def _prepared(statement: Statement, args: tuple[object, ...]) -> tuple[str, tuple[Any, ...]]:
    """SQL text with $n places and the values for them."""
    if isinstance(statement, str):
        return statement, args
    compiled: Any = statement.compile(dialect=_DIALECT)
    state = compiled.construct_expanded_state(compiled.construct_params())
    return state.statement, tuple(state.positional_parameters)


def _drop(raw: Any) -> None:
    """End a connection without a word to the server, unless it has ended by itself."""
    with suppress(asyncpg.InterfaceError):
        raw.terminate()


async def _prepare(raw: Any) -> None:
    """Teach a new connection our types."""
    await raw.set_type_codec(
        "timestamptz",
        schema="pg_catalog",
        format="tuple",
        encoder=_encode_time,
        decoder=_decode_time,
    )
    for name in ("json", "jsonb"):
        await raw.set_type_codec(
            name,
            schema="pg_catalog",
            format="text",
            encoder=_encode_json,
            decoder=_decode_json,
        )


async def _keep_session(_raw: Any) -> None:
    """Nothing to reset: no statement of ours changes its session. It would cost a round trip."""


def _encode_time(value: float | datetime) -> tuple[int]:
    if isinstance(value, datetime):
        if value.tzinfo is None:
            value = value.replace(tzinfo=UTC)
        value = value.timestamp()
    if value == inf:
        return (_INFINITY,)
    return (round((value - _EPOCH_2000_S) * 1_000_000),)


def _decode_time(value: tuple[int]) -> float:
    return inf if value[0] == _INFINITY else value[0] / 1_000_000 + _EPOCH_2000_S


def _encode_json(value: object) -> str:
    text = msgspec.json.encode(value, enc_hook=_plain).decode()
    if "\\u0000" not in text:
        return text
    # jsonb cannot hold NUL, and what comes from a machine may: a write must not fail for ever.
    return msgspec.json.encode(without_nul(_decode_json(text))).decode()


def _plain(value: object) -> object:
    if isinstance(value, UUID):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def without_nul(value: Any) -> Any:
    """The document with U+FFFD in place of every NUL, which PostgreSQL's texts cannot hold."""
    if isinstance(value, str):
        return value.replace("\0", "\ufffd")
    if isinstance(value, dict):
        items = cast("dict[Any, Any]", value)
        return {without_nul(key): without_nul(inner) for key, inner in items.items()}
    if isinstance(value, list | tuple):
        return [without_nul(inner) for inner in cast("list[Any]", value)]
    return value
