"""The API in a WSGI container's process (``holdfast.web.wsgi``): no sockets and no signals.

Everything else is as in the role ``api``. The slot is the first free one of
``api-wsgi-1``, ``api-wsgi-2``, …: held by a lock as long as the process lives, so that
a process started again is the same member again.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import IO, Final

from holdfast.errors import ConfigError, UnavailableError
from holdfast.ops import config, logs, metrics
from holdfast.ops.broker import BrokerMetrics
from holdfast.ops.config import data_dir
from holdfast.ops.datadir import DataDir
from holdfast.ops.roles.api import Standing, assemble, token_key_of
from holdfast.ops.roles.process import RoleProcess
from holdfast.store.pg.notify import CLAIMS, EVENTS, JOBS, MEMBERS, PgWaker
from holdfast.web.app import Application
from holdfast.web.front import Front

ROLE: Final = "api"
SLOTS_MAX: Final = 256
DRAIN_LOOK_S: Final = 0.5


@asynccontextmanager
async def opened() -> AsyncGenerator[Front]:
    """The application, on what the configuration of this host says."""
    settings = config.load().settings
    datadir = DataDir(data_dir(settings, os.environ)).prepare()
    slot, lock = _slot(datadir)
    with lock:
        logs.configure(settings.logs, role=ROLE, slot=slot)
        process = RoleProcess(ROLE, slot, settings, datadir)
        topics = (JOBS, MEMBERS, CLAIMS, EVENTS)
        async with (
            process.store() as (db, store),
            PgWaker(process.database_url, topics) as waker,
            process.broker(db) as broker,
        ):
            key = await token_key_of(process, store)
            if key is None:
                raise UnavailableError("the API was told to leave before it had started")
            standing = Standing(process, store, address=settings.api.public_url)
            registry = metrics.registry(ROLE)
            if broker:
                registry.register(BrokerMetrics(broker))
            own = settings.api.ports.baremetal
            ports = {own: "baremetal"} if own else {}
            application = assemble(process, store, ports, standing, registry, key, waker, broker)
            tasks = [
                asyncio.create_task(standing.keep()),
                asyncio.create_task(_heed_drain(standing, application)),
            ]
            try:
                yield application.asgi
            finally:
                await standing.leave()
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)


async def _heed_drain(standing: Standing, application: Application) -> None:
    """Told to drain, say so on /readyz; that the process ends is the container's business."""
    while not standing.told_to_drain():
        await asyncio.sleep(DRAIN_LOOK_S)
    application.health.draining = True


def _slot(datadir: DataDir) -> tuple[str, IO[str]]:
    """The first slot that no living process holds, and the lock that holds it."""
    for number in range(1, SLOTS_MAX + 1):
        slot = f"api-wsgi-{number}"
        file = (datadir.root / "run" / f"{slot}.lock").open("a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            continue
        return slot, file
    raise ConfigError(f"more than {SLOTS_MAX} WSGI processes on {datadir.root}: start fewer")
