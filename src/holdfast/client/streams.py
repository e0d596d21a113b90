"""Connections of the asyncio client: one query at a time on each, kept while idle."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections import deque
from typing import Any, cast

from holdfast.client.addresses import Address
from holdfast.client.errors import AnswerTooLargeError, LostError, WireError
from holdfast.client.instances import Instance
from holdfast.client.lines import default_tls
from holdfast.client.settings import Settings
from holdfast.client.sockets import set_options
from holdfast.client.wire import Answer, Reader


class Stream(asyncio.Protocol):
    """One connection."""

    def __init__(self, bytes_max: int) -> None:
        self.idle_since = 0.0
        self._reader = Reader(bytes_max)
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[Answer] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        one: Any = transport.get_extra_info("socket")
        if one is not None:
            with contextlib.suppress(OSError):
                set_options(one)

    def data_received(self, data: bytes) -> None:
        if self._answer is None:
            self.close()  # nobody asked
            return
        try:
            answer = self._reader.feed(data)
        except AnswerTooLargeError as error:
            self.close()
            self._fail(error)
            return
        except WireError as error:
            self.close()
            self._fail(LostError(error.message, sent=True))
            return
        if answer is not None:
            self._finish(answer)

    def eof_received(self) -> None:
        answer = self._reader.end() if self._answer is not None else None
        if answer is not None:
            self._finish(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._lose(f"connection lost: {exc}" if exc else "closed the connection before it answered")

    def ask(self, data: bytes) -> asyncio.Future[Answer]:
        """Send a query; the future ends with its answer, ``LostError``, ``AnswerTooLargeError``."""
        self._answer = answer = asyncio.get_running_loop().create_future()
        self._reader.begin()
        if self._transport is None:
            self._lose("closed the connection before it was asked")
        else:
            self._transport.write(data)
        return answer

    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _finish(self, answer: Answer) -> None:
        if self._transport is not None and self._transport.get_write_buffer_size():
            answer.keep = False  # it came before all was sent (a body too large)
        waiting, self._answer = self._answer, None
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)

    def _lose(self, reason: str) -> None:
        stale = self.idle_since > 0 and not self._reader.heard
        self._fail(LostError(reason, sent=True, stale=stale))

    def _fail(self, error: LostError | AnswerTooLargeError) -> None:
        waiting, self._answer = self._answer, None
        if waiting is not None and not waiting.done():
            waiting.set_exception(error)


async def connect(
    address: Address, timeout_s: float, bytes_max: int, tls: ssl.SSLContext | None
) -> Stream:
    """A new connection; raises ``LostError``."""
    context = (tls or default_tls()) if address.tls else None
    try:
        async with asyncio.timeout(timeout_s):
            _, stream = await asyncio.get_running_loop().create_connection(
                lambda: Stream(bytes_max),
                address.ip or address.host,
                address.port,
                ssl=context,
                server_hostname=address.host if context is not None else None,
            )
    except TimeoutError:
        raise LostError("cannot be connected to: timed out", sent=False) from None
    except (OSError, UnicodeError) as error:  # UnicodeError: of a name that cannot be one
        raise LostError(f"cannot be connected to: {error}", sent=False) from None
    return stream


class Streams:
    """Idle connections of all instances; the last used is the first used again."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._idle: dict[Instance, deque[Stream]] = {}
        self._kept = True

    def take(self, instance: Instance, now: float) -> Stream | None:
        """One that can be used at once."""
        idle = self._idle.get(instance)
        while idle:
            stream = idle.pop()
            if now - stream.idle_since <= self._settings.idle_s and stream.is_open():
                return stream
            stream.close()
        return None

    def give_back(self, instance: Instance, stream: Stream, now: float) -> None:
        """An answer has come on it, and it stays open."""
        if not self._kept:
            stream.close()
            return
        stream.idle_since = now
        idle = self._idle.setdefault(instance, deque())
        idle.append(stream)
        if len(idle) > self._settings.idle_max:
            idle.popleft().close()

    def keep_only(self, instances: set[Instance], now: float) -> None:
        """Close those of others, and what nobody has used for long."""
        for instance in list(self._idle):
            idle = self._idle[instance]
            while idle and (
                instance not in instances or now - idle[0].idle_since > self._settings.idle_s
            ):
                idle.popleft().close()
            if instance not in instances:
                del self._idle[instance]

    def open(self) -> None:
        """Keep connections from now on."""
        self._kept = True

    def close(self) -> None:
        """Keep none any more: those of queries under way are closed when they are answered."""
        self._kept = False
        self.keep_only(set(), 0.0)

    def forget(self) -> None:
        """Those of a loop that is closed: they cannot even be ended."""
        self._idle.clear()
