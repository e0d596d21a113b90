"""``holdfast up`` as a user starts it, in a directory and on ports of its own."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from holdfast.serving.workers.users import VARIABLE

HOLDFAST = (sys.executable, "-m", "holdfast.cli.main")
WAIT_S = 60.0


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for sock in sockets:
        sock.bind(("127.0.0.1", 0))
    ports = [int(sock.getsockname()[1]) for sock in sockets]
    for sock in sockets:
        sock.close()
    return ports


class Running:
    """A system under test. Its output is in ``text()``; commands run against it."""

    def __init__(self, **settings: str) -> None:
        # Below /tmp and passable: as root, PostgreSQL runs as another user.
        self.folder = Path(tempfile.mkdtemp(prefix="holdfast-e2e-"))
        self.folder.chmod(0o711)
        api, host, rack = free_ports(3)
        self.host_url = f"http://127.0.0.1:{host}"
        self.environ = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("HOLDFAST_", "OS_"))},
            VARIABLE: os.environ.get(VARIABLE, ""),
            "HOLDFAST_DATA_DIR": str(self.folder / "data"),
            "HOLDFAST_API__PORT": str(api),
            "HOLDFAST_SUPERVISOR__PORT": str(host),
            "HOLDFAST_RACK__PORT": str(rack),
            **settings,
        }
        self._log = self.folder / "up.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as sink:
            self.process = subprocess.Popen(
                (*HOLDFAST, "up"), env=self.environ, stdout=sink, stderr=sink
            )

    def text(self) -> str:
        return self._log.read_text()

    async def until(self, pattern: str, count: int = 1) -> None:
        """Wait until the output has matched so often."""
        await self.until_true(lambda: len(re.findall(pattern, self.text())) >= count, pattern)

    async def until_true(self, condition: Callable[[], bool], what: str) -> None:
        try:
            async with asyncio.timeout(WAIT_S):
                while not condition():
                    assert self.process is None or self.process.poll() is None, self.text()
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"never came true: {what}\n{self.text()}") from None

    def run(self, *argv: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            (*HOLDFAST, *argv), env=self.environ, capture_output=True, text=True, check=False
        )

    def ask(self, *argv: str) -> Any:
        """A command's JSON answer."""
        done = self.run("-o", "json", *argv)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def pid(self, slot: str) -> int:
        """The process that was last started in the slot."""
        return int(re.findall(rf"{slot}: started \(process (\d+)\)", self.text())[-1])

    def processes(self) -> list[int]:
        """Every process whose environment or working directory is this system's."""
        mark = f"HOLDFAST_DATA_DIR={self.folder / 'data'}".encode()
        found: list[int] = []
        for entry in Path("/proc").iterdir():
            try:
                mine = mark in (entry / "environ").read_bytes().split(b"\0")
                below = str((entry / "cwd").readlink()).startswith(str(self.folder))
            except OSError:
                continue
            if entry.name.isdecimal() and (mine or below):
                found.append(int(entry.name))
        return found

    def signal(self, number: int) -> None:
        """Send a signal to the supervisor."""
        assert self.process is not None
        self.process.send_signal(number)

    def wait(self) -> int:
        """Its exit status."""
        assert self.process is not None
        return self.process.wait(60)

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
