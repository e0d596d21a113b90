"""Virtual interfaces: which of a node's ports is whose network's.

Which network that is, nobody here asks: the network interface ``noop`` configures no
switch. Kept where the reference keeps it, in ``internal_info`` of the port or group.
"""

# ruff: noqa: S608 - the tables are ours
from __future__ import annotations

from typing import Annotated
from uuid import UUID

import msgspec

from holdfast.baremetal.service.audit import audit_node
from holdfast.baremetal.service.rights import VIFS, require
from holdfast.baremetal.service.rows import NodeRow, find_node, refuse_if_locked
from holdfast.errors import ConflictError, InvalidInputError
from holdfast.identity.policy import Caller
from holdfast.store.model import Json
from holdfast.store.pg.database import Connection, Database

_KEY = "tenant_vif_port_id"

_ATTACHED = f"""
select internal_info->>'{_KEY}' as vif from (
    select created_at, internal_info from portgroup where node_uuid = $1
    union all
    select created_at, internal_info from port where node_uuid = $1) found
 where internal_info ? '{_KEY}' order by created_at
"""
# Groups that have ports first, then ports that boot, then others (as in Ironic).
_FREE = f"""
select kind, uuid from (
    select 'portgroup' as kind, g.uuid, 0 as rank, g.created_at
      from portgroup g
     where g.node_uuid = $1 and not g.internal_info ? '{_KEY}'
       and exists (select from port p where p.portgroup_uuid = g.uuid)
    union all
    select 'port', p.uuid, case when p.pxe_enabled then 1 else 2 end, p.created_at
      from port p
     where p.node_uuid = $1 and p.portgroup_uuid is null and not p.internal_info ? '{_KEY}') found
 where ($2::uuid is null or (kind = 'port' and uuid = $2))
   and ($3::uuid is null or (kind = 'portgroup' and uuid = $3))
 order by rank, created_at, uuid limit 1
"""


class Vif(msgspec.Struct, frozen=True, kw_only=True):
    """The body of ``POST /v1/nodes/{ident}/vifs``; other fields are the network's business."""

    id: Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
    port_uuid: UUID | None = None
    portgroup_uuid: UUID | None = None


class Vifs:
    """Attaches virtual interfaces to a node's ports, and detaches them."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def all(self, caller: Caller, ident: str) -> list[str]:
        """Those that are attached, by their id."""
        node = await find_node(self._db, caller, ident)
        return [row["vif"] for row in await self._db.fetch(_ATTACHED, node.uuid)]

    async def attach(self, caller: Caller, ident: str, vif: Vif) -> None:
        """Attach to a free port or group. Raises ``ConflictError`` if it is attached already."""

        async def work(conn: Connection) -> None:
            node = await _held(conn, caller, ident)
            attached = {row["vif"] for row in await conn.fetch(_ATTACHED, node.uuid)}
            if vif.id in attached:
                raise ConflictError(f"VIF {vif.id} is attached to node {node.label} already")
            free = await conn.fetchrow(_FREE, node.uuid, vif.port_uuid, vif.portgroup_uuid)
            if free is None:
                raise InvalidInputError(
                    f"No physical port of node {node.label} is free for VIF {vif.id}: "
                    "detach another, or add a port"
                )
            await conn.execute(
                f"update {free['kind']} set updated_at = clock_timestamp(), internal_info = "
                f"internal_info || jsonb_build_object('{_KEY}', $2::text) where uuid = $1",
                free["uuid"],
                vif.id,
            )
            where: dict[str, Json] = {"vif": vif.id, free["kind"]: str(free["uuid"])}
            await audit_node(conn, "node.vif_attach", node, where)

        await self._db.run(work)

    async def detach(self, caller: Caller, ident: str, vif: str) -> None:
        """Detach it. Raises ``InvalidInputError`` if it is not attached."""

        async def work(conn: Connection) -> None:
            node = await _held(conn, caller, ident)
            touched = 0
            for table in ("portgroup", "port"):
                touched += await conn.execute(
                    f"update {table} set updated_at = clock_timestamp(), internal_info = "
                    f"internal_info - '{_KEY}' "
                    f"where node_uuid = $1 and internal_info->>'{_KEY}' = $2",
                    node.uuid,
                    vif,
                )
            if not touched:
                raise InvalidInputError(f"VIF {vif} is not attached to node {node.label}")
            await audit_node(conn, "node.vif_detach", node, {"vif": vif})

        await self._db.run(work)


async def _held(conn: Connection, caller: Caller, ident: str) -> NodeRow:
    node = await find_node(conn, caller, ident, lock=True)
    require(caller, node, VIFS)
    await refuse_if_locked(conn, node)
    return node
