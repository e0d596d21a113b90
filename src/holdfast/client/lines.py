"""Connections of the blocking client: one query at a time on each, kept while idle."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
from collections import deque

from holdfast.client.addresses import Address
from holdfast.client.errors import LostError, WireError
from holdfast.client.instances import Instance
from holdfast.client.settings import Settings
from holdfast.client.sockets import set_options
from holdfast.client.wire import Answer, Reader

_READ_BYTES = 64 << 10


class Line:
    """One connection."""

    __slots__ = ("_reader", "_socket", "idle_since")

    def __init__(self, one: socket.socket, bytes_max: int) -> None:
        self._socket = one
        self._reader = Reader(bytes_max)
        self.idle_since = 0.0

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, data: bytes, timeout_s: float) -> None:
        """Raises ``LostError``."""
        try:
            self._socket.settimeout(timeout_s)
            self._socket.sendall(data)
        except OSError as error:
            raise LostError(f"connection lost: {error}", sent=True) from None

    def receive(self) -> Answer | None:
        """Read what is there; the answer once it is whole. Raises ``LostError``."""
        try:
            while True:
                data = self._socket.recv(_READ_BYTES)
                answer = self._reader.feed(data) if data else self._reader.end()
                if answer is not None:
                    return answer
                if not data:
                    raise LostError("closed the connection before it answered", sent=True)
                if not isinstance(self._socket, ssl.SSLSocket) or not self._socket.pending():
                    return None
        except OSError as error:
            raise LostError(f"connection lost: {error}", sent=True) from None
        except WireError as error:
            raise LostError(error.message, sent=True) from None

    def is_fresh(self) -> bool:
        """Whether it is still open, and silent as it should be; made ready for a query if so."""
        watch = select.poll()
        watch.register(self._socket, select.POLLIN)
        if watch.poll(0):
            return False
        self._reader.begin()
        return True

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.close()


class Lines:
    """Idle connections of all instances; the last used is the first used again."""

    def __init__(self, settings: Settings, tls: ssl.SSLContext | None) -> None:
        self._settings = settings
        self._tls = tls
        self._idle: dict[Instance, deque[Line]] = {}

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
        one: socket.socket | None = None
        try:
            place = (address.ip or address.host, address.port)
            one = socket.create_connection(place, timeout=timeout_s)
            set_options(one)
            if address.tls:
                context = self._tls or default_tls()
                one = context.wrap_socket(one, server_hostname=address.host)
            return Line(one, self._settings.answer_bytes_max)
        except OSError as error:
            if one is not None:
                one.close()
            raise LostError(f"cannot be connected to: {error}", sent=False) from None

    def give_back(self, instance: Instance, line: Line, now: float) -> None:
        """An answer has come on it, and it stays open."""
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

    def close(self) -> None:
        self.keep_only(set(), 0.0)


_default: list[ssl.SSLContext] = []


def default_tls() -> ssl.SSLContext:
    """The system's authorities; made once, it is expensive."""
    if not _default:
        _default.append(ssl.create_default_context())
    return _default[0]
