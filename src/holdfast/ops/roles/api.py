"""The API: every product's routes in one application, on sockets that the supervisor holds."""

from __future__ import annotations

import asyncio
import socket
from typing import Final
from uuid import UUID

from prometheus_client import CollectorRegistry

from holdfast.baremetal import api as baremetal
from holdfast.baremetal.service import Baremetal
from holdfast.baremetal.service.rows import ident_condition
from holdfast.core.members import Membership
from holdfast.identity.service import Identity
from holdfast.ops import metrics
from holdfast.ops.roles.process import RoleProcess
from holdfast.store.pg.database import Database
from holdfast.store.pg.store import PgStore
from holdfast.web.app import Application, AppParts, create_app
from holdfast.web.server import ApiServer, inherited, listen

LISTEN_ENV: Final = "HOLDFAST_LISTEN_FDS"
"""File descriptors of the listening sockets: the common address, then the services' own ports."""


class Standing:
    """This process's membership: renewed as a new incarnation whenever its lease is over.

    An API process owns nothing, so losing a lease (having been stopped for long) costs
    it nothing but its place in the list of members.
    """

    def __init__(self, process: RoleProcess, store: PgStore, address: str) -> None:
        self._process = process
        self._store = store
        self._address = address
        self._membership: Membership | None = None

    def registered(self) -> bool:
        """Whether this process is a member whose lease can be trusted."""
        return self._membership is not None and self._membership.window.open()

    def told_to_drain(self) -> bool:
        """Whether somebody asked for it through the cluster API."""
        return self._membership is not None and self._membership.drain_wanted

    async def keep(self) -> None:
        """Be a member, for as long as this runs."""
        while True:
            membership = self._process.membership(self._store, address=self._address)
            await membership.register()
            self._membership = membership
            await membership.keep()

    async def leave(self) -> None:
        if self.registered() and self._membership is not None:
            await self._membership.leave("drained")


async def run(process: RoleProcess) -> int:
    """Serve until drained."""
    settings = process.settings
    sockets = _sockets(process)
    async with process.store() as (_, store):
        standing = Standing(process, store, _address(sockets[0]))
        registry = metrics.registry(process.role)
        application = _assemble(process, store, sockets, standing, registry)
        server = ApiServer(application, sockets, settings.web)

        async def waiting() -> list[str]:
            return await application.health.faults()

        async with process.face(waiting, registry):
            serving = asyncio.create_task(server.run())
            keeping = asyncio.create_task(standing.keep())
            draining = asyncio.create_task(_drain(process, standing, server))
            try:
                await serving
            finally:
                draining.cancel()
                await standing.leave()
                keeping.cancel()
                await asyncio.gather(keeping, draining, return_exceptions=True)
    return process.DRAINED


def _assemble(
    process: RoleProcess,
    store: PgStore,
    sockets: list[socket.socket],
    standing: Standing,
    registry: CollectorRegistry,
) -> Application:
    settings = process.settings
    product = Baremetal(store, process.vault(), settings.baremetal, shards=settings.core.shards)
    own_ports = [name for name, port in _own_ports(process) if port]
    parts = AppParts(
        identity=Identity(store.db, process.master_key(), settings.identity),
        store=store,
        apis=(baremetal.mount(product),),
        settings=settings.web,
        public_url=settings.api.public_url,
        ports={
            int(sock.getsockname()[1]): name
            for name, sock in zip(own_ports, sockets[1:], strict=True)
        },
        registered=standing.registered,
        find_node=lambda ident: _find_node(store.db, ident),
        registry=registry,
    )
    return create_app(parts)


async def _find_node(db: Database, ident: str) -> UUID | None:
    condition, value = ident_condition(ident)
    found: UUID | None = await db.fetchval(f"select n.uuid from node n where {condition}", value)  # noqa: S608
    return found


def _own_ports(process: RoleProcess) -> list[tuple[str, int]]:
    return [("baremetal", process.settings.api.ports.baremetal)]


def _sockets(process: RoleProcess) -> list[socket.socket]:
    """The supervisor's sockets, or our own when nobody passed any."""
    passed = process.environ.get(LISTEN_ENV)
    if passed:
        return [inherited(int(descriptor)) for descriptor in passed.split(",")]
    settings = process.settings.api
    ports = [settings.port, *(port for _, port in _own_ports(process) if port)]
    return [listen(settings.host, port) for port in ports]


def _address(sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def _drain(process: RoleProcess, standing: Standing, server: ApiServer) -> None:
    """Drain when a signal says so, or the cluster API."""
    while not (process.draining.is_set() or standing.told_to_drain()):
        try:
            async with asyncio.timeout(0.5):
                await process.draining.wait()
        except TimeoutError:
            continue
    await server.drain()
