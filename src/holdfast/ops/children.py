"""A child process from its start to the death of its last descendant.

The moment a child is dead is known through its pidfd; it is reaped only when all
that it left behind is dead as well. Until then its pid cannot be given to anybody
else, so that killing its process group never hits a stranger.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import msgspec
import structlog

log = structlog.get_logger(__name__)

REPORT_ENV: Final = "HOLDFAST_REPORT_FD"
_REPORT_BYTES_MAX: Final = 65536
_PR_SET_PDEATHSIG: Final = 1
_libc: Any = ctypes.CDLL(None, use_errno=True)  # loaded before any fork


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """How to start a process. ``options``: more for ``subprocess.Popen`` (user, group, cwd)."""

    argv: tuple[str, ...]
    env: dict[str, str]
    pass_fds: tuple[int, ...] = ()
    options: dict[str, Any] = {}
    death_signal: int = signal.SIGKILL  # what the kernel sends it when the supervisor dies


class Incarnation(msgspec.Struct, frozen=True):
    """As which member a child has registered."""

    member: UUID
    epoch: int


def report_registration(member: UUID, epoch: int, environ: Mapping[str, str] = os.environ) -> None:
    """Tell the supervisor, if there is one, who this process is (child's side)."""
    descriptor = environ.get(REPORT_ENV)
    if descriptor is None:
        return
    line = json.dumps({"member": str(member), "epoch": epoch}) + "\n"
    try:
        os.write(int(descriptor), line.encode())
    except OSError as error:
        # Without a supervisor the lease alone decides when this member is over.
        log.warning("report.lost", fault=error.strerror)


class Exit(msgspec.Struct, frozen=True, kw_only=True):
    """How a child ended: an exit status, or the signal that killed it."""

    status: int | None
    signal: int | None

    def __str__(self) -> str:
        if self.signal is not None:
            return f"killed by signal {self.signal} ({signal.Signals(self.signal).name})"
        return f"exited with status {self.status}"


class Child:
    """One process in a session of its own, with a pipe on which it says who it is."""

    def __init__(self, launch: Launch, output: Path) -> None:
        """Start it; its standard output and error are appended to ``output``."""
        self._report_fd, report_to = os.pipe()
        os.set_blocking(self._report_fd, False)
        self._report = b""
        try:
            with output.open("ab") as sink:
                self._process = subprocess.Popen(
                    launch.argv,
                    env={**launch.env, REPORT_ENV: str(report_to)},
                    stdin=subprocess.DEVNULL,
                    stdout=sink,
                    stderr=subprocess.STDOUT,
                    pass_fds=(*launch.pass_fds, report_to),
                    start_new_session=True,
                    preexec_fn=die_with_parent(launch.death_signal),  # noqa: PLW1509 - see there
                    **launch.options,
                )
        except BaseException:
            os.close(self._report_fd)
            raise
        finally:
            os.close(report_to)
        self.pid = self._process.pid
        self.started_at = time.monotonic()
        self._pidfd = os.pidfd_open(self.pid)

    def incarnations(self) -> list[Incarnation]:
        """Whom the child has registered as, so far; malformed lines are left out."""
        while len(self._report) < _REPORT_BYTES_MAX:
            try:
                piece = os.read(self._report_fd, 4096)
            except OSError:
                break  # nothing to read now, or closed
            if not piece:
                break
            self._report += piece
        found: dict[UUID, Incarnation] = {}
        for line in self._report.splitlines():
            try:
                said = msgspec.json.decode(line, type=Incarnation)
            except msgspec.DecodeError:
                continue
            found[said.member] = said
        return list(found.values())

    def signal(self, number: int) -> None:
        """Send a signal to the child itself, not to its descendants."""
        with contextlib.suppress(OSError):  # dead already
            signal.pidfd_send_signal(self._pidfd, number)

    async def ended(self) -> Exit:
        """Wait until the child and all its descendants are dead, then reap it."""
        loop = asyncio.get_running_loop()
        dead = asyncio.Event()
        loop.add_reader(self._pidfd, dead.set)
        try:
            await dead.wait()
        finally:
            loop.remove_reader(self._pidfd)
        await extinguish(self.pid)
        code = self._process.wait()
        os.close(self._pidfd)
        return Exit(
            status=code if code >= 0 else None,
            signal=-code if code < 0 else None,
        )

    def close(self) -> None:
        """Let go of the report pipe, once ``incarnations`` has been read."""
        os.close(self._report_fd)


def die_with_parent(death_signal: int) -> Callable[[], None]:
    """For the child, between fork and exec: the kernel is to kill it when its parent dies.

    An orphan would go on without anybody to report its death (prctl(2)). Safe where
    ``preexec_fn`` is in question: it imports nothing and takes no lock.
    """
    parent = os.getpid()

    def bind() -> None:
        if _libc.prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0) or os.getppid() != parent:
            os._exit(1)

    return bind


async def extinguish(leader: int) -> None:
    """Kill what is left of a dead, unreaped leader's session; return when none is alive."""
    pause_s = 0.001
    while left := _session(leader):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(leader, signal.SIGKILL)
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * 2, 0.1)


def _session(leader: int) -> list[int]:
    """Living processes of the leader's process group or session, itself excepted."""
    found: list[int] = []
    for entry in os.scandir("/proc"):
        if not entry.name.isdecimal() or int(entry.name) == leader:
            continue
        try:
            stat = Path(entry.path, "stat").read_text(errors="replace")
        except OSError:
            continue  # gone meanwhile
        # "pid (name) state ppid pgrp session ...": the name may hold anything, brackets too.
        state, _, group, session = stat.rpartition(")")[2].split()[:4]
        if state not in "ZX" and leader in (int(group), int(session)):
            found.append(int(entry.name))
    return found
