"""Connections of the blocking client: one query at a time on each, kept while idle."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import time
from collections import deque

from holdfast.client.addresses import Address
from holdfast.client.errors import AnswerTooLargeError, LostError, WireError
from holdfast.client.instances import Instance
from holdfast.client.settings import Settings
from holdfast.client.sockets import set_options
from holdfast.client.wire import Answer, Reader

_READ_BYTES = 64 << 10
_NOT_NOW = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Line:
    """One connection."""

    __slots__ = ("_reader", "_socket", "idle_since")

    def __init__(self, one: socket.socket, bytes_max: int) -> None:
        one.setblocking(False)
        self._socket = one
        self._reader = Reader(bytes_max)
        self.idle_since = 0.0

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, data: bytes, timeout_s: float) -> Answer | None:
        """Send a query; gives the answer if one comes before all is sent (a body too large).

        Raises ``LostError``, ``AnswerTooLargeError``.
        """
        until = time.monotonic() + timeout_s
        rest = memoryview(data)
        while True:
            events = select.POLLIN | select.POLLOUT
            try:
                rest = rest[self._socket.send(rest) :]
            except ssl.SSLWantReadError:
                events = select.POLLIN
            except _NOT_NOW:
                pass
            except OSError as error:
                return self._last_words(error)
            if not rest:
                return None
            answer = self._meanwhile(events, until)
            if answer is not None:
                answer.keep = False  # the rest of the query would be read as the next
                return answer

    def _meanwhile(self, events: int, until: float) -> Answer | None:
        """Wait until more can be sent; what was answered meanwhile."""
        watch = select.poll()
        watch.register(self._socket, events)
        ready = watch.poll(max(0.0, until - time.monotonic()) * 1000)
        if not ready:
            raise LostError("connection lost: the query could not be sent in time", sent=True)
        return self.receive() if ready[0][1] & ~select.POLLOUT else None

    def _last_words(self, error: OSError) -> Answer | None:
        """It takes no more; but it may have said why before it closed (RFC 9112, 9.6)."""
        while not self._is_silent():
            answer = self.receive()
            if answer is not None:
                answer.keep = False
                return answer
        raise self._lost(f"connection lost: {error}")

    def receive(self) -> Answer | None:
        """Read what is there; the answer once it is whole.

        Raises ``LostError``, ``AnswerTooLargeError``.
        """
        try:
            while True:
                data = self._socket.recv(_READ_BYTES)
                answer = self._reader.feed(data) if data else self._reader.end()
                if answer is not None:
                    return answer
                if not data:
                    raise self._lost("closed the connection before it answered")
                if not isinstance(self._socket, ssl.SSLSocket) or not self._socket.pending():
                    return None
        except _NOT_NOW:
            return None  # no more than a part of a TLS record, or a word between the two ends
        except OSError as error:
            raise self._lost(f"connection lost: {error}") from None
        except AnswerTooLargeError:
            raise
        except WireError as error:
            raise LostError(error.message, sent=True) from None

    def _lost(self, reason: str) -> LostError:
        stale = self.idle_since > 0 and not self._reader.heard
        return LostError(reason, sent=True, stale=stale)

    def is_fresh(self) -> bool:
        """Whether it is still open, and silent as it should be; made ready for a query if so."""
        if not self._is_silent():
            return False
        self._reader.begin()
        return True

    def _is_silent(self) -> bool:
        watch = select.poll()
        watch.register(self._socket, select.POLLIN)
        return not watch.poll(0)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.close()


class Lines:
    """Idle connections of all instances; the last used is the first used again."""

    def __init__(self, settings: Settings, tls: ssl.SSLContext | None) -> None:
        self._settings = settings
        self._tls = tls
        self._idle: dict[Instance, deque[Line]] = {}
        self._kept = True

    def take(self, instance: Instance, now: float) -> Line | None:
        """One that can be used at once."""
        idle = self._idle.get(instance)
        while idle:
            try:
                line = idle.pop()
            except IndexError:  # another thread was quicker
                return None
            if now - line.idle_since <= self._settings.idle_s and line.is_fresh():
                return line
            line.close()
        return None

    def connect(self, address: Address, timeout_s: float) -> Line:
        """A new one; raises ``LostError``."""
        until = time.monotonic() + timeout_s
        one: socket.socket | None = None
        try:
            one = _connected(address, until)
            set_options(one)
            if address.tls:
                context = self._tls or default_tls()
                one.settimeout(max(0.001, until - time.monotonic()))
                one = context.wrap_socket(one, server_hostname=address.host)
            return Line(one, self._settings.answer_bytes_max)
        except (OSError, UnicodeError) as error:  # UnicodeError: of a name that cannot be one
            if one is not None:
                one.close()
            raise LostError(f"cannot be connected to: {error}", sent=False) from None

    def give_back(self, instance: Instance, line: Line, now: float) -> None:
        """An answer has come on it, and it stays open."""
        if not self._kept:
            line.close()
            return
        line.idle_since = now
        idle = self._idle.setdefault(instance, deque())
        idle.append(line)
        if len(idle) > self._settings.idle_max:
            with contextlib.suppress(IndexError):
                idle.popleft().close()

    def keep_only(self, instances: set[Instance], now: float) -> None:
        """Close those of others, and what nobody has used for long."""
        for instance in list(self._idle):
            idle = self._idle[instance]
            with contextlib.suppress(IndexError):
                while idle and (
                    instance not in instances or now - idle[0].idle_since > self._settings.idle_s
                ):
                    idle.popleft().close()
            if instance not in instances:
                self._idle.pop(instance, None)

    def open(self) -> None:
        """Keep connections from now on."""
        self._kept = True

    def close(self) -> None:
        """Keep none any more: those of queries under way are closed when they are answered."""
        self._kept = False
        self.keep_only(set(), 0.0)


def _connected(address: Address, until: float) -> socket.socket:
    """To the first of the host's addresses that takes it; all of them share the time."""
    failure: OSError = TimeoutError("timed out")
    places = socket.getaddrinfo(address.ip or address.host, address.port, type=socket.SOCK_STREAM)
    for at, (family, kind, protocol, _, place) in enumerate(places):
        left_s = until - time.monotonic()
        if left_s <= 0:
            break
        one = socket.socket(family, kind, protocol)
        try:
            one.settimeout(left_s / (len(places) - at))
            one.connect(place)
        except OSError as error:
            one.close()
            failure = error
        else:
            return one
    raise failure


_default: list[ssl.SSLContext] = []


def default_tls() -> ssl.SSLContext:
    """The system's authorities; made once, it is expensive."""
    if not _default:
        _default.append(ssl.create_default_context())
    return _default[0]
