"""Where a node lives: its conductor group and its shard (architecture, "Ring" and "Claims")."""

from __future__ import annotations

from uuid import UUID

from holdfast.baremetal.service.rows import NodeRow
from holdfast.errors import InvalidInputError
from holdfast.store.pg.database import Connection
from holdfast.store.pg.store import PgStore


class Placement:
    """Keeps the shards' object counts in the transaction of the change.

    ``shards``: how many a group gets if this process is the first to see it.
    """

    def __init__(self, store: PgStore, shards: int) -> None:
        self._store = store
        self._shards = shards
        self._known: set[str] = set()

    async def ready(self, group: str) -> None:
        """See that the group has shards. Raises ``InvalidInputError`` naming those there are.

        The default group always exists; others come with their first conductor.
        """
        if group in self._known:
            return
        if group == "":
            await self._store.ensure_shards(group, self._shards)
        else:
            groups = await self._store.groups()
            if group not in groups:
                known = ", ".join(f"'{name}'" for name in groups)
                raise InvalidInputError(
                    f"There is no conductor group '{group}': start a conductor in it first, "
                    f"or use one of: {known}"
                )
        self._known.add(group)

    async def place(self, conn: Connection, group: str, uuid: UUID) -> int:
        """Count a new node into a shard of its group."""
        return await self._store.place_object(conn, group, uuid)

    async def remove(self, conn: Connection, node: NodeRow) -> None:
        """Count a node out."""
        await self._store.unplace_object(conn, node.grp, node.shard)

    async def move(self, conn: Connection, node: NodeRow, group: str) -> int:
        """Count a node out of its group and into another; returns its shard there."""
        await self._store.unplace_object(conn, node.grp, node.shard)
        return await self._store.place_object(conn, group, node.uuid)
