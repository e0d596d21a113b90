"""The database of a chaos run: a real PostgreSQL on TCP that can be killed and started again.

Its wall clock can be moved while it runs, where libfaketime is installed. ``fsync`` is off,
for no host loses its power here; everything else that durability needs is on.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Final

from tests.chaos.processes import ChaosError, Process

from holdfast.store.embedded import EmbeddedPostgres

PORT: Final = 5432
READY_S: Final = 60.0
OPTIONS: Final = ("fsync=off", "full_page_writes=off", "max_connections=200")
FAKETIME: Final = (
    f"/usr/lib/{os.uname().machine}-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib64/faketime/libfaketimeMT.so.1",
    "/usr/lib/faketime/libfaketimeMT.so.1",
)


def faketime() -> str | None:
    """The library that moves a process's wall clock, if it is installed."""
    return next((path for path in FAKETIME if Path(path).exists()), None)


class Postgres:
    """One server, on ``address`` for the hosts of ``subnet``."""

    def __init__(self, home: Path, address: str, subnet: str) -> None:
        self._home = home
        self._address = address
        self._clock = home / "wall-clock"
        self._process: Process | None = None
        prepared = self.prepared = EmbeddedPostgres.prepare(home)
        with (prepared.data / "pg_hba.conf").open("a") as rules:
            rules.write(f"host all,replication all {subnet} scram-sha-256\n")
        self._clock.write_text("+0\n")
        self._clock.chmod(0o644)
        self.url = prepared.dsn.partition("?")[0].replace("@/", f"@{address}:{PORT}/")
        self.local_url = prepared.dsn
        self.movable = faketime() is not None

    @property
    def pid(self) -> int:
        if self._process is None:
            raise ChaosError("PostgreSQL was not started")
        return self._process.pid

    async def start(self) -> None:
        """Start it, and again while a killed predecessor's backends are still ending."""
        deadline = time.monotonic() + READY_S
        while True:
            prepared = await asyncio.to_thread(EmbeddedPostgres.prepare, self._home)
            process = self._process = self._spawn(prepared)
            ready = asyncio.create_task(prepared.wait_ready(READY_S))
            ended = asyncio.create_task(process.ended())
            await asyncio.wait({ready, ended}, return_when=asyncio.FIRST_COMPLETED)
            ended.cancel()
            if ready.done():
                ready.result()
                return
            ready.cancel()
            await asyncio.gather(ready, return_exceptions=True)
            if time.monotonic() > deadline:
                raise ChaosError(f"PostgreSQL does not start:\n{process.tail()}")
            await asyncio.sleep(0.05)

    def _spawn(self, prepared: EmbeddedPostgres) -> Process:
        given = (f"listen_addresses={self._address}", f"port={PORT}", *OPTIONS)
        argv = (*prepared.argv, *(word for one in given for word in ("-c", one)))
        options = prepared.spawn_options
        env = {**options.pop("env"), **self._faked()}
        return Process(argv, env, self._home / "postgres.log", **options)

    def _faked(self) -> dict[str, str]:
        library = faketime()
        if library is None:
            return {}
        return {
            "LD_PRELOAD": library,
            "FAKETIME_TIMESTAMP_FILE": str(self._clock),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def set_clock(self, offset_s: float) -> None:
        """Let its wall clock be ahead of ours by so much (behind, if negative), within a second."""
        fresh = self._clock.with_suffix(".new")
        fresh.write_text(f"{offset_s:+.3f}\n")
        fresh.chmod(0o644)
        fresh.replace(self._clock)

    async def kill(self, number: int = signal.SIGKILL) -> None:
        """End the postmaster: KILL, or QUIT for an immediate shutdown."""
        if self._process is not None:
            self._process.send(number)
            await self._process.ended()

    async def stop(self) -> None:
        if self._process is not None:
            await self._process.stop(signal.SIGINT)
