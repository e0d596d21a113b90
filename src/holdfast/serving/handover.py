"""One node's process replaced by another on the same port, with nobody turned away (D14).

The successor inherits the listening socket, so what the kernel has accepted for either is there
for both; the data directory's lock, which is one for both; and a line to talk over.

::

    new                                      old
    loads what the disk says                 starts it; changes go on
    what is ready            ------------>   was something changed meanwhile? "again"
                                             else it takes no changes any more
                             <------------   "go"
    accepts; "accepts"       ------------>   stops listening, drains

The old one says "go" only if the new one serves all that it serves itself, and has loaded what is
on the disk now. If the line ends before, the new one ends, and the old one goes on as it was. If
the line ended because the old one was killed, nobody is left, since the new one cannot know that
what it loaded is all: as whenever a process is killed, its service manager has to start another.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from holdfast.errors import ConfigError, HoldfastError

LOCK_FILE: Final = "lock"
VARIABLE: Final = "HOLDFAST_APINODE_INHERITED"
AGAIN: Final = "again"
GO: Final = "go"
ACCEPTS: Final = "accepts"
_WORD_BYTES_MAX: Final = 16 << 20
_END_S: Final = 5.0


class SuccessionError(HoldfastError):
    """The successor cannot take over; the message says why, and the older process goes on."""

    code = "succession"
    status = 409


class Inherited(msgspec.Struct, frozen=True):
    """File descriptors that an older process has left us. ``line``: to talk with it."""

    listening: int
    lock: int
    line: int


class Loaded(msgspec.Struct, frozen=True):
    """What a successor says: services that would answer, and why others would not."""

    ready: list[str]
    failures: dict[str, str]


class Succession(msgspec.Struct, frozen=True):
    """How far the last attempt to replace this process is; ``state`` is empty if there was none.

    ``loading``: the successor loads. ``failed``: it was given up, for ``reason``. ``done``: it
    accepts queries, and this process finishes what it has.
    """

    state: str = ""
    reason: str = ""


def inherited() -> Inherited | None:
    """What this process was started with, if it is a successor."""
    told = os.environ.pop(VARIABLE, None)
    return None if told is None else msgspec.json.decode(told, type=Inherited)


def lock(data: Path, left: Inherited | None) -> int:
    """The data directory for us alone (and a successor); raises ``ConfigError``."""
    if left is not None:
        os.set_inheritable(left.lock, False)
        return left.lock
    fd = os.open(data / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise ConfigError(
            f"Another node runs with {data}: stop it, or give this one another --data."
        ) from None
    return fd


def listening_of(left: Inherited) -> socket.socket:
    """The port of the older process."""
    os.set_inheritable(left.listening, False)
    return socket.socket(fileno=left.listening)


class Line:
    """One end of what the two processes talk over; a word is one line of JSON."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def over(cls, end: socket.socket) -> Line:
        return cls(*await asyncio.open_connection(sock=end, limit=_WORD_BYTES_MAX))

    @classmethod
    async def to_the_older(cls, left: Inherited) -> Line:
        os.set_inheritable(left.line, False)
        return await cls.over(socket.socket(fileno=left.line))

    async def say(self, word: str | Loaded) -> None:
        """Raises ``SuccessionError`` if nobody is there any more."""
        try:
            self._writer.write(msgspec.json.encode(word) + b"\n")
            await self._writer.drain()
        except OSError:
            raise SuccessionError("The other process has ended.") from None

    async def hear(self) -> str:
        """The next word; empty if nobody will say one."""
        return msgspec.json.decode(await self._hear() or b'""', type=str)

    async def hear_loaded(self) -> Loaded:
        """What the successor has loaded; raises ``SuccessionError`` if it has ended."""
        data = await self._hear()
        if not data:
            raise SuccessionError("It ended while it was starting: its log says why.")
        return msgspec.json.decode(data, type=Loaded)

    async def _hear(self) -> bytes:
        try:
            return await self._reader.readline()
        except (OSError, ValueError):
            return b""

    def close(self) -> None:
        self._writer.close()


class Successor:
    """The process that shall follow us."""

    def __init__(self, process: subprocess.Popen[bytes], line: Line) -> None:
        self.line = line
        self._process = process

    @classmethod
    async def start(cls, argv: Sequence[str], listening: int, lock_fd: int) -> Successor:
        """Start the same command anew; raises ``OSError``."""
        ours, theirs = socket.socketpair()
        told = msgspec.json.encode(Inherited(listening, lock_fd, theirs.fileno())).decode()
        try:
            process = subprocess.Popen(  # noqa: ASYNC220 - returns at once
                [sys.executable, "-m", "holdfast.cli.main", *argv],
                pass_fds=[listening, lock_fd, theirs.fileno()],
                env={**os.environ, VARIABLE: told},
                start_new_session=True,
            )
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        return cls(process, await Line.over(ours))

    async def end(self) -> None:
        """It ends when the line does; if not, it is killed. It has accepted nothing yet."""
        self.line.close()
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                await asyncio.to_thread(self._process.wait, _END_S)
        finally:
            if self._process.poll() is None:
                self._process.kill()
                self._process.wait()


def what_is_lost(serving: Sequence[str], loaded: Loaded) -> str:
    """Why a successor is not fit, if it is not: what we serve it has to."""
    lost = [name for name in serving if name not in loaded.ready]
    if not lost:
        return ""
    reason = loaded.failures.get(lost[0]) or "it is not ready"
    more = f" (and {len(lost) - 1} more services)" if len(lost) > 1 else ""
    return f"It would not serve {lost[0]}: {reason}{more}"
