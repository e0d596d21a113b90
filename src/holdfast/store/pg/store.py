"""``store.port.Store`` on PostgreSQL: the parts put together."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from holdfast.store.pg.census import PgCensus
from holdfast.store.pg.claims import PgClaims
from holdfast.store.pg.database import Database
from holdfast.store.pg.events import PgEvents
from holdfast.store.pg.jobs import PgJobs
from holdfast.store.pg.members import PgMembers
from holdfast.store.pg.objects import PgObjects
from holdfast.store.pg.queue import PgQueue
from holdfast.store.pg.steps import PgSteps
from holdfast.store.pg.tables import Kinds
from holdfast.store.pg.writes import NO_ROWS, Rows


class PgStore(PgMembers, PgClaims, PgJobs, PgSteps, PgObjects, PgEvents, PgQueue, PgCensus):
    """Everything the core asks of a store.

    ``kinds`` names the tables of owned objects, ``rows`` those that unbound jobs write.
    """

    def __init__(self, db: Database, kinds: Kinds, rows: Rows = NO_ROWS) -> None:
        PgMembers.__init__(self, db)
        PgClaims.__init__(self, db)
        PgJobs.__init__(self, db, kinds)
        PgSteps.__init__(self, db, kinds, rows)
        PgObjects.__init__(self, db, kinds)
        PgEvents.__init__(self, db)
        PgQueue.__init__(self, db, rows)
        PgCensus.__init__(self, db)
        self.db = db

    @classmethod
    @asynccontextmanager
    async def connected(
        cls, dsn: str, kinds: Kinds, *, connections_max: int = 10
    ) -> AsyncGenerator[PgStore]:
        """A store on a pool of its own, as the thread that renews a lease needs one."""
        async with await Database.open(dsn, max=connections_max) as db:
            yield cls(db, kinds)


if TYPE_CHECKING:
    from holdfast.store.port import Store

    _: type[Store] = PgStore  # the port, exactly
