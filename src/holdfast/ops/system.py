"""The whole system of one host: what is started under the supervisor, and in which order.

lock -> keys -> sockets -> PostgreSQL -> migrations -> first admin -> roles -> ready
stop: conductors, api, rack, PostgreSQL
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import msgspec

from holdfast.errors import StoreUnavailableError
from holdfast.identity.bootstrap import BootstrapResult, bootstrap
from holdfast.ops.config import Loaded
from holdfast.ops.datadir import DataDir
from holdfast.ops.hostface import HostFace
from holdfast.ops.house import POSTGRES, House, build
from holdfast.ops.obituaries import Obituaries
from holdfast.ops.probes import Asker, serving
from holdfast.ops.sockets import listening
from holdfast.ops.supervisor import Supervisor
from holdfast.store.pg.database import Database
from holdfast.store.pg.members import PgMembers
from holdfast.store.pg.migrate import migrate

_LOOK_S: Final = 0.1

Announce = Callable[[str], None]


class Started(msgspec.Struct, frozen=True, kw_only=True):
    """What a user needs to know of a system that is up."""

    url: str
    metrics_url: str
    clouds: Path | None
    username: str
    password: str | None  # only when it was made now


class System:
    """Everything ``holdfast up`` does. ``run`` returns when it was told to stop."""

    def __init__(
        self,
        loaded: Loaded,
        datadir: DataDir,
        announce: Announce,
        started: Callable[[Started], None],
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self._loaded = loaded
        self._settings = loaded.settings
        self._datadir = datadir
        self._announce = announce
        self._started = started
        self._environ = dict(environ)
        self._stop = asyncio.Event()
        self._hard = asyncio.Event()

    async def run(self) -> int:
        """Start, stay up, drain. The first TERM or INT drains, a second one stops hard."""
        async with AsyncExitStack() as stack:
            lock = self._datadir.lock()
            stack.callback(lock.release)
            sockets = listening(self._settings.api)
            for sock in sockets:
                stack.callback(sock.close)
            house = await build(self._loaded, self._datadir, sockets, self._environ)
            database = await Database.open(house.database_url, max=2)
            stack.push_async_callback(database.close)
            supervisor = Supervisor(
                house.specs,
                self._settings.supervisor,
                Obituaries(PgMembers(database).end_lease, self._announce),
                self._announce,
                log_bytes_max=self._settings.logs.bytes_max,
            )
            self._watch_signals(supervisor)
            try:
                await self._until_stopped(self._live(house, supervisor, database))
            finally:
                await self._wind_down(supervisor)
        return 0

    # -- up ---------------------------------------------------------------------------------

    async def _live(self, house: House, supervisor: Supervisor, database: Database) -> None:
        admin = await self._prepare_database(house, supervisor, database)
        supervisor.start()
        sockets = {slot: self._datadir.socket(slot) for slot in house.roles}
        face = HostFace(supervisor, sockets, house.gateway_url)
        where = ("127.0.0.1", self._settings.supervisor.port)
        async with serving(face.app(), where) as port:
            await self._until_ready(house.roles)
            self._started(
                Started(
                    url=house.url,
                    metrics_url=f"http://127.0.0.1:{port}/metrics",
                    clouds=admin.clouds_path,
                    username=admin.username,
                    password=admin.password,
                )
            )
            await supervisor.failed()

    async def _prepare_database(
        self, house: House, supervisor: Supervisor, database: Database
    ) -> BootstrapResult:
        """PostgreSQL answering, its tables up to date, and somebody who can log in."""
        if house.embedded is not None:
            supervisor.start(POSTGRES)
            await house.embedded.wait_ready(self._settings.supervisor.ready_s)
        for name in await migrate(house.database_url):
            self._announce(f"database: applied {name}")
        return await bootstrap(
            database, self._datadir.root, house.url, settings=self._settings.identity
        )

    async def _until_ready(self, slots: list[str]) -> None:
        asker = Asker()
        waiting = {slot: ["to be asked"] for slot in slots}
        try:
            async with asyncio.timeout(self._settings.supervisor.ready_s):
                while waiting:
                    for slot in list(waiting):
                        waiting[slot] = await asker.waiting_for(self._datadir.socket(slot))
                        if not waiting[slot]:
                            del waiting[slot]
                            self._announce(f"{slot}: ready")
                    await asyncio.sleep(_LOOK_S if waiting else 0)
        except TimeoutError:
            late = "; ".join(
                f"{slot} waits for {', '.join(what)} (its log: {self._datadir.log(slot)})"
                for slot, what in waiting.items()
            )
            limit_s = self._settings.supervisor.ready_s
            raise StoreUnavailableError(f"not ready in {limit_s:g} s: {late}") from None

    async def _until_stopped(self, living: Coroutine[None, None, None]) -> None:
        """Live until told to stop; raises what keeps it from living."""
        life = asyncio.create_task(living)
        told = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait({life, told}, return_when=asyncio.FIRST_COMPLETED)
            if life.done():
                life.result()
        finally:
            told.cancel()
            life.cancel()
            await asyncio.gather(life, told, return_exceptions=True)

    # -- down -------------------------------------------------------------------------------

    def _watch_signals(self, supervisor: Supervisor) -> None:
        loop = asyncio.get_running_loop()

        def told() -> None:
            if self._stop.is_set():
                self._hard.set()
            self._stop.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, told)
        loop.add_signal_handler(signal.SIGHUP, supervisor.resume)

    async def _wind_down(self, supervisor: Supervisor) -> None:
        """Drain; at a second signal stop hard."""
        draining = asyncio.create_task(supervisor.stop())
        hard = asyncio.create_task(self._hard.wait())
        await asyncio.wait({draining, hard}, return_when=asyncio.FIRST_COMPLETED)
        hard.cancel()
        if not draining.done():
            self._announce("stopping hard")
            draining.cancel()
            await asyncio.gather(draining, return_exceptions=True)
            await supervisor.kill()
