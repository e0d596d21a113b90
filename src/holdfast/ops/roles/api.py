"""The API: every product's routes in one application, on sockets that the supervisor holds."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from prometheus_client import CollectorRegistry

from holdfast.baremetal.service import Baremetal
from holdfast.core.members import Membership
from holdfast.errors import StoreUnavailableError
from holdfast.fleet.store import Fleet
from holdfast.fleet.unserved import unserved
from holdfast.identity.service import Identity
from holdfast.ops import metrics
from holdfast.ops.broker import BrokerMetrics, broker_document
from holdfast.ops.census import CensusMetrics
from holdfast.ops.keys import token_key
from holdfast.ops.roles.process import RoleProcess
from holdfast.ops.sockets import listening, own_ports, passed, url_of
from holdfast.ops.stack_metrics import StackCensus
from holdfast.stacks.service import Stacks
from holdfast.stacks.types import bodies, registry
from holdfast.store.broker.broker import Broker
from holdfast.store.model import Member
from holdfast.store.pg.notify import CLAIMS, EVENTS, JOBS, MEMBERS, PgWaker
from holdfast.store.pg.store import PgStore
from holdfast.store.port import Waker
from holdfast.web.app import Application, AppParts, create_app
from holdfast.web.products import baremetal_api, stacks_api
from holdfast.web.server import ApiServer

_DATABASE_AGAIN_S: Final = 0.5


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
    sockets = passed(process.environ) or listening(settings.api)
    async with (
        process.store() as (db, store),
        PgWaker(process.database_url, (JOBS, MEMBERS, CLAIMS, EVENTS)) as waker,
        process.broker(db) as broker,
    ):
        standing = Standing(process, store, url_of(sockets[0]))
        registry = metrics.registry(process.role)
        census = CensusMetrics(store)
        registry.register(census)
        stacks = StackCensus(store.db)
        registry.register(stacks)
        if broker:
            registry.register(BrokerMetrics(broker))
        assembled: list[Application] = []

        async def waiting() -> list[str]:
            if not assembled:
                return ["the database to answer"]
            return await assembled[0].health.faults()

        async with process.face(waiting, registry):
            key = await token_key_of(process, store)
            if key is None:
                return process.DRAINED
            ports = {
                int(sock.getsockname()[1]): name
                for name, sock in zip(own_ports(settings.api), sockets[1:], strict=True)
            }
            application = assemble(process, store, ports, standing, registry, key, waker, broker)
            assembled.append(application)
            server = ApiServer(application, sockets, settings.web)
            serving = asyncio.create_task(server.run())
            keeping = asyncio.create_task(standing.keep())
            counting = asyncio.gather(census.keep(), stacks.keep())
            draining = asyncio.create_task(_drain(process, standing, server))
            try:
                await serving
            finally:
                draining.cancel()
                counting.cancel()
                await standing.leave()
                keeping.cancel()
                await asyncio.gather(keeping, counting, draining, return_exceptions=True)
    return process.DRAINED


def assemble(
    process: RoleProcess,
    store: PgStore,
    ports: Mapping[int, str],
    standing: Standing,
    registry: CollectorRegistry,
    token_key: bytes,
    waker: Waker,
    broker: Broker | None,
) -> Application:
    """The whole application of this process. ``ports``: as in ``AppParts``."""
    settings = process.settings
    product = Baremetal(store, process.vault(), settings.baremetal, shards=settings.core.shards)
    identity = Identity(store.db, token_key, settings.identity)
    fleet = Fleet(store.db)

    async def concerns(members: list[Member]) -> list[str]:
        return unserved((await fleet.wanted()).services, members)

    parts = AppParts(
        identity=identity,
        store=store,
        apis=(baremetal_api(product), stacks_api(_stacks(process, store, product), identity)),
        settings=settings.web,
        public_url=settings.api.public_url,
        ports=ports,
        registered=standing.registered,
        find_node=product.find,
        remarks=product.upkeep.remarks,
        concerns=concerns,
        lease_s=settings.core.lease_s,
        waker=waker,
        broker=lambda: broker_document(broker),
        registry=registry,
    )
    return create_app(parts)


def _stacks(process: RoleProcess, store: PgStore, baremetal: Baremetal) -> Stacks:
    """Stacks, with all resource types that are installed."""
    settings = process.settings
    return Stacks(
        store,
        process.vault(),
        settings.stacks,
        core=settings.core,
        registry=registry(),
        bodies=bodies,
        region=settings.identity.region,
        call={"baremetal": baremetal},
    )


async def token_key_of(process: RoleProcess, store: PgStore) -> bytes | None:
    """The key of all token hashes, once the database answers; None if told to leave before."""
    while not process.draining.is_set():
        try:
            return await token_key(store.db, process.vault())
        except StoreUnavailableError:
            await asyncio.sleep(_DATABASE_AGAIN_S)
    return None


async def _drain(process: RoleProcess, standing: Standing, server: ApiServer) -> None:
    """Drain when a signal says so, or the cluster API."""
    while not (process.draining.is_set() or standing.told_to_drain()):
        try:
            async with asyncio.timeout(0.5):
                await process.draining.wait()
        except TimeoutError:
            continue
    await server.drain()
