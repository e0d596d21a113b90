"""The demonstration's stage: an isolated system and a fleet, as processes of their own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final

import aiohttp
import msgspec

from holdfast.cli.client import Cloud, find_cloud
from holdfast.errors import HoldfastError

START_S: Final = 60.0
STOP_S: Final = 20.0
HOLDFAST: Final = (sys.executable, "-m", "holdfast.cli.main")

# Quick enough for an audience; everything else is as shipped.
SETTINGS: Final = {
    "HOLDFAST_BAREMETAL__HEARTBEAT_S": "10",
    "HOLDFAST_PROVISIONING__AUTOMATED_CLEAN": "false",
    "HOLDFAST_PROVISIONING__POLL_S": "0.5",
    "HOLDFAST_WEB__ACCESS_LOG": "false",
    "HOLDFAST_LOGS__FORMAT": "json",
}


class StageError(HoldfastError):
    """The demonstration could not be set up; the message says where to look."""

    code = "demo"


class Fleet(msgspec.Struct, frozen=True, kw_only=True):
    """Where the simulated machines are."""

    control_url: str
    journal: Path
    machines: list[dict[str, Any]]


class Stage:
    """Starts ``holdfast up`` and ``holdfast fleet`` in a directory of its own; stops them."""

    def __init__(self, conductors: int, settings: Mapping[str, str] | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="holdfast-demo-"))
        self.folder.chmod(0o711)  # as root, PostgreSQL runs as another user
        self.api_port, self.host_port, rack_port = free_ports(3)
        self._environ = {
            **{k: v for k, v in os.environ.items() if not k.startswith("HOLDFAST_")},
            **SETTINGS,
            **(settings or {}),
            "HOLDFAST_DATA_DIR": str(self.folder / "data"),
            "HOLDFAST_API__PORT": str(self.api_port),
            "HOLDFAST_SUPERVISOR__PORT": str(self.host_port),
            "HOLDFAST_RACK__PORT": str(rack_port),
            "HOLDFAST_CONDUCTOR__PROCESSES": str(conductors),
        }
        self._processes: list[asyncio.subprocess.Process] = []

    async def start_system(self) -> Cloud:
        """``holdfast up``, ready; returns how to log in."""
        log = self.folder / "up.log"
        process = await self._start(("up",), log)
        await self._until_ready(process, log)
        return find_cloud(None, {}, self.folder / "data" / "clouds.yaml")

    async def _until_ready(self, process: asyncio.subprocess.Process, log: Path) -> None:
        async def ready() -> bool:
            if process.returncode is not None:
                tail = "\n".join(log.read_text().splitlines()[-8:])
                raise StageError(f"the system did not start; the end of {log}:\n{tail}")
            return await _answers(f"http://127.0.0.1:{self.host_port}/readyz")

        await _until(ready, f"the system was not ready in {START_S:g} s; see {log}")

    async def start_fleet(self, count: int, api_url: str) -> Fleet:
        """``holdfast fleet``, listening."""
        journal = self.folder / "journal.jsonl"
        log = self.folder / "fleet.log"
        options = {
            "--count": str(count),
            "--port-base": "0",
            "--api-url": api_url,
            "--journal": str(journal),
            "--heartbeat-min": "1",
        }
        argv = ("fleet", *(word for pair in options.items() for word in pair))
        process = await self._start(argv, log)

        async def said() -> bool:
            if process.returncode is not None:
                raise StageError(f"the fleet did not start: {log.read_text()[-500:]}")
            return log.read_text().endswith("}\n")

        await _until(said, f"the fleet did not start in {START_S:g} s; see {log}")
        control = str(msgspec.json.decode(log.read_text().splitlines()[-1])["control_url"])
        machines = await _fetch(f"{control}/control/machines")
        return Fleet(control_url=control, journal=journal, machines=machines["machines"])

    async def children(self) -> dict[str, int]:
        """Slot -> process id, from the supervisor."""
        document = await _fetch(f"http://127.0.0.1:{self.host_port}/status")
        return {c["slot"]: c["pid"] for c in document["children"] if c["pid"] is not None}

    async def close(self, *, keep: bool) -> None:
        """Stop everything, the last started first, and clear the folder unless it is kept."""
        for process in reversed(self._processes):
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(process.wait(), STOP_S)
            if process.returncode is None:
                process.send_signal(signal.SIGKILL)
                await process.wait()
        if not keep:
            shutil.rmtree(self.folder, ignore_errors=True)

    async def _start(self, argv: tuple[str, ...], log: Path) -> asyncio.subprocess.Process:
        with log.open("ab") as sink:
            process = await asyncio.create_subprocess_exec(
                *HOLDFAST,
                *argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                env=self._environ,
                start_new_session=True,  # Ctrl-C is for us; we stop them in order
            )
        self._processes.append(process)
        return process


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


async def _until(condition: Callable[[], Awaitable[bool]], complaint: str) -> None:
    try:
        async with asyncio.timeout(START_S):
            while not await condition():
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise StageError(complaint) from None


async def _answers(url: str) -> bool:
    timeout = aiohttp.ClientTimeout(total=2)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as response:
            return response.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False


async def _fetch(url: str) -> dict[str, Any]:
    timeout = aiohttp.ClientTimeout(total=10)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as response:
            document: dict[str, Any] = await response.json()
            return document
    except (aiohttp.ClientError, TimeoutError) as error:
        raise StageError(f"{url} does not answer: {error!r}") from error
