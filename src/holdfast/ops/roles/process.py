"""What every role process has: settings, data directory, signals, membership, its small face."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
from collections.abc import AsyncGenerator, Collection, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final

import structlog
from prometheus_client import CollectorRegistry

from holdfast import __version__
from holdfast.baremetal.models import KINDS
from holdfast.core.clock import SystemClock
from holdfast.core.lease_thread import ThreadedKeeper
from holdfast.core.members import Membership
from holdfast.errors import ConfigError
from holdfast.ops import probes
from holdfast.ops.children import report_registration
from holdfast.ops.config import Settings
from holdfast.ops.datadir import DataDir
from holdfast.ops.keys import KeyReporter
from holdfast.stacks.tables import ROWS
from holdfast.store.broker.broker import Broker
from holdfast.store.keyring import Keyring, LiveVault
from holdfast.store.model import Member, MemberSpec
from holdfast.store.pg.database import Database
from holdfast.store.pg.notify import PgWaker
from holdfast.store.pg.store import PgStore
from holdfast.store.port import MemberStore, Store

log = structlog.get_logger(__name__)

STUCK_S: Final = 5.0  # so long after its lease a process may take to end by itself


class RoleProcess:
    """One process in one role. The first TERM or INT drains, the second stops hard."""

    DRAINED: Final = 0
    LEASE_LOST: Final = 75  # EX_TEMPFAIL: start me again
    HARD_STOP: Final = 130

    def __init__(
        self,
        role: str,
        slot: str,
        settings: Settings,
        datadir: DataDir,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self.role = role
        self.slot = slot
        self.settings = settings
        self.datadir = datadir
        self.environ = environ
        self.clock = SystemClock()
        self.draining = asyncio.Event()
        self.keyring = Keyring(datadir.master_key, environ)
        self._member: Member | None = None

    def watch_signals(self) -> None:
        """Drain at the first TERM or INT; cancel the main task at the second."""
        loop = asyncio.get_running_loop()
        main = asyncio.current_task()

        def told() -> None:
            if self.draining.is_set() and main is not None:
                log.warning("role.stopped_hard", slot=self.slot)
                main.cancel()
            self.draining.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, told)

    @property
    def database_url(self) -> str:
        """Where the database is; raises ``ConfigError`` when nobody said so."""
        url = self.settings.database.url
        if not url:
            raise ConfigError(
                f"the role {self.role} needs a database: set [database] url, "
                "or use `holdfast up`, which runs an embedded one"
            )
        return url

    def vault(self) -> LiveVault:
        """Seals and opens secrets at rest, with whatever keys the keyring holds at the time."""
        return LiveVault(self.keyring)

    @asynccontextmanager
    async def store(self, overflow: int = 0) -> AsyncGenerator[tuple[Database, PgStore]]:
        """The store on a pool of its own; ``overflow``: connections above the usual ones."""
        pool_max = self.settings.database.pool_max + overflow
        async with await Database.open(self.database_url, max=pool_max) as db:
            reporting = asyncio.create_task(
                KeyReporter(db, self.keyring, lambda: self._member).run()
            )
            try:
                yield db, PgStore(db, KINDS, ROWS)
            finally:
                reporting.cancel()
                await asyncio.gather(reporting, return_exceptions=True)

    @asynccontextmanager
    async def broker(
        self, db: Database, waker: PgWaker | None = None, queues: Collection[str] = ()
    ) -> AsyncGenerator[Broker | None]:
        """The broker, if one is configured: hints of ``db`` about queues go there.

        With a ``waker``, those about ``queues`` are heard from it, too.
        """
        url = self.settings.broker.url
        if not url:
            yield None
            return
        hear = None if waker is None else waker.hear
        async with Broker(url, db.hints, queues=queues, hear=hear) as broker:
            yield broker

    def membership(
        self,
        store: Store,
        *,
        group: str = "",
        address: str = "",
        zone: str = "",
        mortal: bool = False,
    ) -> Membership:
        """A fresh membership: lease kept on its own thread, registration told to the supervisor.

        ``zone``: if it is another than the host's. ``mortal``: the process ends with its lease,
        even if its main loop is stuck: in code that blocks, as that of a plug-in may.
        """
        host = self.settings.host
        spec = MemberSpec(
            id=self.datadir.member_id(self.slot),
            role=self.role,
            slot=self.slot,
            host=host.name or socket.gethostname(),
            zone=zone or host.zone,
            group=group,
            version=__version__,
            address=address,
        )
        return Membership(
            store,
            spec,
            self.settings.core,
            self.clock,
            keeper_on_thread=lambda keeper: ThreadedKeeper(
                keeper, self._lease_store, self._lease_over if mortal else None
            ),
            on_registered=self._registered,
        )

    def _lease_over(self) -> None:
        """Called on the lease's thread. Whoever starts us again needs us to end."""
        timer = threading.Timer(STUCK_S, self._end_hard)
        timer.daemon = True
        timer.start()

    def _end_hard(self) -> None:
        log.error("role.stuck", slot=self.slot, after_s=STUCK_S)
        os._exit(self.LEASE_LOST)

    def _lease_store(self) -> AbstractAsyncContextManager[MemberStore]:
        """A connection for the lease alone: no other statement can be in its way."""
        return PgStore.connected(self.database_url, KINDS, connections_max=1)

    def _registered(self, member: Member) -> None:
        self._member = member
        report_registration(member.id, member.epoch, self.environ)

    @asynccontextmanager
    async def face(
        self,
        waiting: probes.Waiting,
        registry: CollectorRegistry,
    ) -> AsyncGenerator[None]:
        """Answer the probes on the slot's socket."""
        face = probes.Face(
            waiting=waiting,
            registry=registry,
            status=lambda: {"slot": self.slot, "role": self.role, "pid": os.getpid()},
        )
        async with probes.serving(face.app(), self.datadir.socket(self.slot)):
            yield
