"""One node's process replaced by another on the same port, with nobody turned away (D14).

The successor inherits the listening socket, so what the kernel has accepted for either is there
for both; the data directory's lock, which is one for both; and a pipe to say that it serves.

::

    old: USR2 -> starts the successor, takes no changes -> it serves: stops listening, drains
                                                        -> it ended: goes on as before
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from holdfast.errors import ConfigError

LOCK_FILE: Final = "lock"
VARIABLE: Final = "HOLDFAST_APINODE_INHERITED"
_READY: Final = b"+"


class Inherited(msgspec.Struct, frozen=True):
    """File descriptors that an older process has left us."""

    listening: int
    lock: int
    ready: int


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


def tell_ready(left: Inherited) -> None:
    """Say to the older process that it may go."""
    os.write(left.ready, _READY)
    os.close(left.ready)


async def start_successor(argv: Sequence[str], listening: int, lock_fd: int) -> bool:
    """Start the same command anew; whether it serves now. One that does not is ended."""
    ours, theirs = os.pipe()
    told = msgspec.json.encode(Inherited(listening, lock_fd, theirs)).decode()
    process = subprocess.Popen(  # noqa: ASYNC220 - returns at once
        [sys.executable, "-m", "holdfast.cli.main", *argv],
        pass_fds=[listening, lock_fd, theirs],
        env={**os.environ, VARIABLE: told},
        start_new_session=True,
    )
    os.close(theirs)
    loop = asyncio.get_running_loop()
    arrived = loop.create_future()
    loop.add_reader(ours, lambda: arrived.done() or arrived.set_result(None))
    try:
        await arrived
        ready = os.read(ours, 1) == _READY
    finally:
        loop.remove_reader(ours)
        os.close(ours)
    if not ready:
        process.kill()
        await asyncio.to_thread(process.wait)
    return ready
