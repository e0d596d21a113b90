"""Processes of a test: started with their output in a file, waited for, and always stopped."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

STOP_S = 40.0
LOOK_S = 0.1

_STARTED: list[Program] = []


class Program:
    """One child process. ``log`` gets both its outputs, and those of its earlier starts."""

    def __init__(
        self, argv: Sequence[str | Path], log: Path, env: dict[str, str] | None = None
    ) -> None:
        self.argv = [str(word) for word in argv]
        self.log = log
        self._env = clean_environ() | (env or {})
        self._process: subprocess.Popen[bytes] | None = None
        _STARTED.append(self)
        self.start()

    def start(self) -> None:
        """Start it, or start it again."""
        with self.log.open("ab") as sink:
            self._process = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                env=self._env,
                start_new_session=True,  # Ctrl-C is for pytest, which then stops it in order
            )

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_until(self, condition: Callable[[], T | None], what: str, within_s: float = 60) -> T:
        """What ``condition`` returns once it is true; fails if the process ends before."""

        def look() -> T | None:
            found = condition()
            if not found and self.process.poll() is not None:
                raise AssertionError(f"it ended before {what}; {self._tail()}")
            return found

        try:
            return until(look, what, within_s)
        except TimeoutError as error:
            raise AssertionError(f"{error}; {self._tail()}") from None

    def _tail(self) -> str:
        lines = "\n".join(self.output().splitlines()[-15:])
        return f"{' '.join(self.argv)} said last:\n{lines}"

    def kill(self) -> None:
        """``kill -9``."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """TERM, and KILL when that did not help. Its orderly end is not what is tested here."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout=STOP_S)
            except subprocess.TimeoutExpired:
                self.kill()


def stop_all() -> None:
    """Stop what still runs, as after a fixture that failed half way; the last started first."""
    while _STARTED:
        _STARTED.pop().stop()


def until(condition: Callable[[], T | None], what: str, within_s: float) -> T:
    """Look again and again; raises ``TimeoutError`` saying what was waited for."""
    deadline = time.monotonic() + within_s
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {within_s:g} s in vain until {what}")
        time.sleep(LOOK_S)
    return found


def clean_environ() -> dict[str, str]:
    """Our environment without whatever would configure Holdfast or the clients."""
    foreign = ("HOLDFAST_", "OS_", "PYTEST_", "SUSHY_")
    return {k: v for k, v in os.environ.items() if not k.startswith(foreign)}


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for sock in sockets:
            sock.bind(("127.0.0.1", 0))
        return [int(sock.getsockname()[1]) for sock in sockets]
    finally:
        for sock in sockets:
            sock.close()
