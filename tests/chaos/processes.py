"""Processes of a chaos run: started, signalled, looked at, kept running, ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from holdfast.ops.children import die_with_parent

RESTART_S = 0.2
TAIL_LINES = 15


class ChaosError(Exception):
    """The run itself could not be set up or went on for too long; not a verdict."""


class Process:
    """A child in a session of its own that dies with us. Its output goes to ``log``."""

    def __init__(
        self, argv: Sequence[str], env: Mapping[str, str], log: Path, **options: Any
    ) -> None:
        self.argv = tuple(argv)
        self.log = log
        with log.open("ab") as sink:
            self._popen = subprocess.Popen(
                self.argv,
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=die_with_parent(signal.SIGKILL),  # noqa: PLW1509 - see there
                **options,
            )
        self.pid = self._popen.pid

    @property
    def status(self) -> int | None:
        """The exit status; None while it lives (stopped or not)."""
        return self._popen.poll()

    def send(self, number: int) -> None:
        if self.status is None:
            os.kill(self.pid, number)

    async def ended(self) -> int:
        while self.status is None:
            await asyncio.sleep(0.02)
        return self._popen.returncode

    async def stop(self, number: int = signal.SIGTERM, within_s: float = 20.0) -> None:
        """Ask it to end, and see to it that it does."""
        self.send(number)
        self.send(signal.SIGCONT)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.ended(), within_s)
        self.send(signal.SIGKILL)
        await self.ended()

    def tail(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-TAIL_LINES:]
        return "\n".join(lines)


class Kept:
    """A process that is started again whenever it ends, as a host's service manager does."""

    def __init__(self, start: Callable[[], Process]) -> None:
        self._start = start
        self.process = start()
        self.starts = 1
        self._task = asyncio.create_task(self._keep())

    @property
    def pid(self) -> int:
        return self.process.pid

    async def _keep(self) -> None:
        while True:
            await self.process.ended()
            await asyncio.sleep(RESTART_S)
            self.process = self._start()
            self.starts += 1

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self.process.stop()


def say(text: object) -> None:
    """Tell whoever watches how far the run is (pytest -s)."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def lives(pid: int) -> bool:
    """Whether the process is there and no zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


async def until(
    condition: Callable[[], Awaitable[bool]], what: str, within_s: float, look_s: float = 0.05
) -> float:
    """Wait for a condition; returns how long it took, in seconds. Raises ``ChaosError``."""
    began = time.monotonic()
    while not await condition():
        if time.monotonic() - began > within_s:
            raise ChaosError(f"{what}: not within {within_s:g} s")
        await asyncio.sleep(look_s)
    return time.monotonic() - began
