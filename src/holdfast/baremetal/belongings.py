"""``jobs.belongings.Belongings`` in PostgreSQL: fenced writes to the tables around a node."""

# ruff: noqa: S608 - the fence is a constant
from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from holdfast.store.model import Fence, Json
from holdfast.store.pg.database import Connection, Database
from holdfast.store.pg.fence import FENCE, arguments, lost

# The claim is held to the end of the transaction, the node's row after it: the order of all.
_HOLD = f"""
with {FENCE}
select n.uuid from node n
 where n.uuid = $5 and n.grp = $1 and n.shard = $2 and exists (select from f)
   for no key update of n
"""
_INVENTORY = """
insert into node_inventory (node_uuid, inventory) values ($1, $2)
on conflict (node_uuid) do update
   set inventory = excluded.inventory, plugin_data = '{}', found_at = clock_timestamp()
"""
_PORTS = """
insert into port (uuid, node_uuid, address)
select gen_random_uuid(), $1, address from unnest($2::text[]) as address
on conflict (address) do nothing
returning address
"""


class PgBelongings:
    """Over the conductor's own pool."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def keep_inventory(
        self, fence: Fence, node: UUID, inventory: dict[str, Json], addresses: Sequence[str]
    ) -> list[str]:
        async def work(conn: Connection) -> list[str]:
            await _hold(conn, fence, node)
            await conn.execute(_INVENTORY, node, inventory)
            made = await conn.fetch(_PORTS, node, list(addresses))
            return [row["address"] for row in made]

        return await self._db.run(work)

    async def release_allocation(self, fence: Fence, node: UUID) -> None:
        async def work(conn: Connection) -> None:
            await _hold(conn, fence, node)
            await conn.execute("delete from allocation where node_uuid = $1", node)

        await self._db.run(work)


async def _hold(conn: Connection, fence: Fence, node: UUID) -> None:
    if await conn.fetchval(_HOLD, *arguments(fence), node) is None:
        raise lost(fence)
