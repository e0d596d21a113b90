"""Which server to write to, where there may be several, and where one of them may be of the past.

A URL may name several servers (``postgresql://a,b:5433/holdfast``). All are asked at each
connection, together, so one that swallows packets delays nobody for long; taken is the one
that can be written to. PostgreSQL's timeline tells a primary of the past, which came back and
does not know that another was promoted meanwhile: it is the lower one. What this process has
once seen it never goes back behind, whether it was led there by a list or by a proxy.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from itertools import zip_longest
from typing import Any, TypeAlias
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec
import structlog

from holdfast.store.pg.driver import asyncpg

log: Any = structlog.get_logger(__name__)

Place: TypeAlias = tuple[str, int]

PORT = 5432
# How long the other servers are waited for once one has answered that can be written to.
OTHERS_S = 0.5

# The timeline is the first eight digits of a WAL file's name; a standby has none of its own.
LIFE = """
select system_identifier as cluster,
       case when not pg_is_in_recovery()
            then left(pg_walfile_name(pg_current_wal_lsn()), 8) end as timeline
  from pg_control_system()
"""

# Cluster (PostgreSQL's identifier of its data) -> the newest timeline seen. Process-wide: what
# one connection has learned holds for all.
_newest: dict[int, int] = {}


class NoPrimaryError(ConnectionError):
    """No server answers that may be written to. May pass: a failover takes its time."""


class Answer(msgspec.Struct, frozen=True):
    """A server's connection, and what it says of itself; ``timeline`` 0: it is a standby."""

    connection: Any
    cluster: int
    timeline: int


def places(dsn: str) -> list[Place]:
    """The servers that a URL names, in order; empty if it names none or a socket's folder."""
    parts = urlsplit(dsn)
    query = parse_qs(parts.query)
    named = parts.netloc.rpartition("@")[2] or query.get("host", [""])[0]
    ports = query.get("port", [""])[0].split(",")
    last = ports[-1]
    found: list[Place] = []
    for place, given in zip_longest(named.split(",") if named else [], ports):
        if place is None or place.startswith("/"):
            break
        host, port = _split(unquote(place))
        found.append((host, int(port or given or last or PORT)))
    return found


def _split(place: str) -> tuple[str, str]:
    """``host:port``, ``host``, ``[::1]:port``."""
    if place.startswith("["):
        host, _, port = place[1:].partition("]")
        return host, port.removeprefix(":")
    host, _, port = place.partition(":")
    return host, port


async def connect(dsn: str, **options: Any) -> Any:
    """Asyncpg's connection to the server to write to. For ``asyncpg.create_pool(connect=...)``.

    Raises ``NoPrimaryError`` if there is none, otherwise what asyncpg raises. A single server
    that is a standby is connected to: it refuses writes by itself, and may be looked at.
    """
    several = places(dsn)
    if len(several) < 2:
        answer = await _ask(dsn, options)
        if answer.timeline and answer.timeline < _newest.get(answer.cluster, 0):
            answer.connection.terminate()
            raise NoPrimaryError(_of_the_past(answer))
        _remember(answer)
        return answer.connection
    answers, faults = await _ask_all(dsn, several, options)
    best = max(answers, key=lambda answer: answer.timeline, default=None)
    for answer in answers:
        if answer is not best:
            answer.connection.terminate()
    if best is not None and best.timeline >= max(1, _newest.get(best.cluster, 0)):
        _remember(best)
        return best.connection
    if best is not None:
        best.connection.terminate()
    raise NoPrimaryError(_nobody(several, answers, faults))


async def _ask(dsn: str, options: dict[str, Any], place: Place | None = None) -> Answer:
    host, port = place or (None, None)
    where = {"host": host, "port": port} if place else {}
    connection: Any = await asyncpg.connect(dsn, **{**options, **where})
    try:
        row: Any = await connection.fetchrow(LIFE)
    except BaseException:
        connection.terminate()
        raise
    return Answer(connection, int(row["cluster"]), int(row["timeline"] or "0", 16))


async def _ask_all(
    dsn: str, several: Iterable[Place], options: dict[str, Any]
) -> tuple[list[Answer], list[BaseException]]:
    """What the servers answer; a slow one is not waited for once another is a primary."""
    asked = {asyncio.ensure_future(_ask(dsn, options, place)) for place in several}
    waiting, found, wanted = asked, False, False
    try:
        while waiting:
            ended, waiting = await asyncio.wait(
                waiting,
                timeout=OTHERS_S if found else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if not ended:
                break
            found = found or any(answer.timeline for answer in _answers(ended))
        wanted = True
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
        if not wanted:
            for answer in _answers(asked):
                answer.connection.terminate()
    faults = (task.exception() for task in asked if not task.cancelled())
    return _answers(asked), [fault for fault in faults if fault is not None]


def _answers(tasks: Iterable[asyncio.Task[Answer]]) -> list[Answer]:
    return [t.result() for t in tasks if not t.cancelled() and t.exception() is None]


def _remember(answer: Answer) -> None:
    known = _newest.get(answer.cluster, 0)
    if answer.timeline > known:
        _newest[answer.cluster] = answer.timeline
        if known:
            log.warning("database.failed_over", timeline=answer.timeline, before=known)


def _of_the_past(answer: Answer) -> str:
    return (
        f"a primary of timeline {answer.timeline} answers, and {_newest[answer.cluster]} was "
        "seen: it is one of before a failover, and must not be written to"
    )


def _nobody(several: list[Place], answers: list[Answer], faults: list[BaseException]) -> str:
    names = ", ".join(f"{host}:{port}" for host, port in several)
    said = [_of_the_past(a) if a.timeline else "a standby answers" for a in answers]
    said += [str(fault) or type(fault).__name__ for fault in faults]
    return f"none of {names} can be written to ({'; '.join(dict.fromkeys(said))})"
