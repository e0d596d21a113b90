"""The query audit, sent elsewhere: by HTTP, by syslog over TCP, or as plain lines over TCP.

A thread of its own with a bound on what waits: what cannot be sent in time is dropped and counted,
and the file on disk has it nevertheless. What was sent but not confirmed is sent again, so a
receiver may see a line twice.
"""

from __future__ import annotations

import http.client
import os
import socket
import ssl
import threading
from collections import deque
from typing import Final, Protocol
from urllib.parse import urlsplit

from holdfast.errors import ConfigError

PENDING_BYTES_MAX: Final = 16 << 20
_BATCH_BYTES: Final = 512 << 10
_PERIOD_S: Final = 0.5
_TIMEOUT_S: Final = 10.0
_PAUSE_MAX_S: Final = 30.0
_END_S: Final = 3.0
_SYSLOG_PORT: Final = 601  # RFC 3195; with TLS it would be 6514 (RFC 5425)
_SYSLOG_HEAD: Final = "<134>1 - {host} holdfast {pid} query - "  # RFC 5424: local0, informational
_AGAIN: Final = frozenset({408, 425, 429})


class _Target(Protocol):
    def send(self, lines: list[bytes]) -> bool:
        """Whether they were taken; ``False``: refused for good. Raises ``OSError``."""
        ...

    def close(self) -> None: ...


class Shipper:
    """Lines to one URL: ``http(s)://…``, ``syslog://host[:port]``, ``tcp://host:port``."""

    def __init__(
        self, url: str, authorization: str = "", bytes_max: int = PENDING_BYTES_MAX
    ) -> None:
        self.shipped = 0
        self.dropped = 0
        self._target = _target(url, authorization)
        self._bytes_max = bytes_max
        self._pending: deque[bytes] = deque()
        self._bytes = 0
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="audit-shipping", daemon=True)
        self._thread.start()

    def put(self, lines: list[bytes]) -> None:
        """Take lines; never waits."""
        with self._lock:
            for line in lines:
                if self._bytes + len(line) > self._bytes_max:
                    self.dropped += 1
                else:
                    self._pending.append(line)
                    self._bytes += len(line)

    def close(self) -> None:
        """Try once more, for a moment; what is left is dropped."""
        self._stop.set()
        self._thread.join(_END_S)
        with self._lock:
            self.dropped += len(self._pending)
            self._pending.clear()

    def _run(self) -> None:
        pause_s = _PERIOD_S
        while True:
            last = self._stop.wait(pause_s)
            pause_s = _PERIOD_S
            try:
                while batch := self._batch():
                    taken = self._target.send(batch)
                    self._forget(len(batch), taken=taken)
            except (OSError, http.client.HTTPException):
                self._target.close()
                pause_s = min(_PAUSE_MAX_S, pause_s * 2)
            if last:
                self._target.close()
                return

    def _batch(self) -> list[bytes]:
        batch: list[bytes] = []
        size = 0
        with self._lock:
            for line in self._pending:
                if batch and size + len(line) > _BATCH_BYTES:
                    break
                batch.append(line)
                size += len(line)
        return batch

    def _forget(self, count: int, *, taken: bool) -> None:
        with self._lock:
            for _ in range(min(count, len(self._pending))):
                self._bytes -= len(self._pending.popleft())
        if taken:
            self.shipped += count
        else:
            self.dropped += count


class _Http:
    """A POST for each batch, the lines as its body (application/x-ndjson)."""

    def __init__(self, url: str, authorization: str) -> None:
        parts = urlsplit(url)
        self._path = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
        self._headers = {"Content-Type": "application/x-ndjson"}
        if authorization:
            self._headers["Authorization"] = authorization
        host = parts.hostname or ""
        self._connection: http.client.HTTPConnection
        if parts.scheme == "https":
            tls = ssl.create_default_context()
            self._connection = http.client.HTTPSConnection(
                host, parts.port, timeout=_TIMEOUT_S, context=tls
            )
        else:
            self._connection = http.client.HTTPConnection(host, parts.port, timeout=_TIMEOUT_S)

    def send(self, lines: list[bytes]) -> bool:
        self._connection.request("POST", self._path, b"".join(lines), self._headers)
        answer = self._connection.getresponse()
        answer.read()
        if answer.status >= 500 or answer.status in _AGAIN:
            raise ConnectionError(f"answered {answer.status}")
        return answer.status < 300

    def close(self) -> None:
        self._connection.close()


class _Stream:
    """A connection that lines are written to; with frames of RFC 6587 for syslog."""

    def __init__(self, host: str, port: int, *, syslog: bool) -> None:
        self._address = host, port
        self._head = b""
        if syslog:
            here = socket.gethostname() or "-"
            self._head = _SYSLOG_HEAD.format(host=here, pid=os.getpid()).encode()
        self._socket: socket.socket | None = None

    def send(self, lines: list[bytes]) -> bool:
        if self._socket is None:
            self._socket = socket.create_connection(self._address, _TIMEOUT_S)
        if self._head:
            messages = [self._head + line.rstrip(b"\n") for line in lines]
            lines = [b"%d %b" % (len(message), message) for message in messages]
        self._socket.sendall(b"".join(lines))
        return True

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _target(url: str, authorization: str) -> _Target:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ConfigError(f"audit.ship: {url!r} is no URL.") from None
    if parts.scheme in ("http", "https") and parts.hostname:
        return _Http(url, authorization)
    if parts.scheme == "syslog" and parts.hostname:
        return _Stream(parts.hostname, port or _SYSLOG_PORT, syslog=True)
    if parts.scheme == "tcp" and parts.hostname and port:
        return _Stream(parts.hostname, port, syslog=False)
    raise ConfigError(
        f"audit.ship: {url!r} is none of http(s)://…, syslog://host[:port], tcp://host:port."
    )
