"""The sequence of all epochs, and its repair when the database has lost its last stretch.

A database that was restored, or failed over to a standby that lagged behind, hands out
epochs that gateways have seen before; they refuse those, rightly. Then the sequence must
jump above the highest any gateway reports (architecture, "Members and leases"), and what
was drawn below it (claims' epochs, routes' terms) must be drawn anew.
"""

from __future__ import annotations

from typing import Final

import msgspec

from holdfast.store.events import told
from holdfast.store.pg.database import Connection, Database
from holdfast.store.pg.events import record
from holdfast.store.pg.notify import CLAIMS as CLAIMS_TOPIC

# Drawn meanwhile by others, between looking at the sequence and setting it.
MARGIN: Final = 1000

LOCK = "select pg_advisory_xact_lock(hashtextextended('holdfast.epochs', 0))"
LAST = "select case when is_called then last_value else 0 end from epoch_seq"
USED = """
select greatest(
    (select max(epoch) from member), (select max(epoch) from shard_claim),
    (select max(term) from bmc_route), 0)
"""
JUMP = "select setval('epoch_seq', $1) from epoch_seq where last_value < $1"
# In the order in which everybody locks them.
CLAIMS = """
with low as (
    select grp, shard from shard_claim
     where epoch <= $1 and owner is not null order by grp, shard for no key update
)
update shard_claim c set epoch = nextval('epoch_seq')
  from low where c.grp = low.grp and c.shard = low.shard
"""
ROUTES = """
with low as (
    select object_kind, object_id from bmc_route
     where term <= $1 order by object_kind, object_id for no key update
)
update bmc_route r set term = nextval('epoch_seq')
  from low where r.object_kind = low.object_kind and r.object_id = low.object_id
"""


class Raised(msgspec.Struct, frozen=True, kw_only=True):
    """What a repair did. Owners find their claims renewed and go on by themselves."""

    last: int
    claims: int
    routes: int


class PgEpochs:
    """``epoch_seq`` of one database."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def last(self) -> int:
        """The epoch drawn last; 0 if none was."""
        return int(await self._db.fetchval(LAST))

    async def used(self) -> int:
        """The highest epoch that any member, claim or route has."""
        return int(await self._db.fetchval(USED))

    async def raise_above(self, highest: int) -> Raised:
        """Make every epoch from now on higher than ``highest``, those in use included.

        May be repeated; needed or not, it loses nothing. An owner's old fence is void
        afterwards: its next write says so, it reads its claims again, and goes on under
        the new epoch.
        """

        async def work(conn: Connection) -> Raised:
            await conn.execute(LOCK)
            if int(await conn.fetchval(LAST)) <= highest:
                await conn.execute(JUMP, highest + MARGIN)
            raised = Raised(
                claims=await conn.execute(CLAIMS, highest),
                routes=await conn.execute(ROUTES, highest),
                last=int(await conn.fetchval(LAST)),
            )
            data = {"above": highest, **msgspec.structs.asdict(raised)}
            await record(conn, told("audit.epochs.raise", data=data))
            return raised

        done = await self._db.run(work)
        self._db.hint(CLAIMS_TOPIC)
        return done
