"""The rack: the BMC gateway. It has no access to the database, and is no member."""

from __future__ import annotations

import asyncio
import resource

from holdfast.bmc import server
from holdfast.ops.metrics import registry
from holdfast.ops.roles.process import RoleProcess


async def run(process: RoleProcess) -> int:
    """Serve the gateway until drained."""
    _allow_connections()
    listening = asyncio.Event()

    async def waiting() -> list[str]:
        return [] if listening.is_set() else ["its state to be read"]

    async with process.face(waiting, registry(process.role)):
        await server.serve(
            process.settings.bmc,
            process.datadir.gateway_state,
            process.datadir.secret(process.datadir.gateway_secret),
            process.settings.rack.host,
            process.settings.rack.port,
            lambda _url: listening.set(),
            process.draining,
        )
    return process.DRAINED


def _allow_connections() -> None:
    """A connection is kept to every BMC: the soft limit of most systems is 1,024 files."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
