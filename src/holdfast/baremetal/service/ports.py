"""Use cases of ports: the network cards by which a node is known on its networks."""

from __future__ import annotations

import re
from uuid import UUID, uuid4

from sqlalchemy import delete, func, insert, select, update

from holdfast.baremetal import models
from holdfast.baremetal.resources import PORTS
from holdfast.baremetal.service import patch
from holdfast.baremetal.service.audit import audit, projects_of, shown
from holdfast.baremetal.service.rights import ADD_PORT, OF_PORTS, require
from holdfast.baremetal.service.rows import (
    NodeRow,
    find_node,
    ident_condition,
    refuse_if_locked,
)
from holdfast.baremetal.service.rules import check_name
from holdfast.baremetal.service.writing import (
    Broken,
    Values,
    check_sizes,
    checked,
    named,
    patched,
    require_writable,
    required,
)
from holdfast.errors import ConflictError, InvalidInputError, NotFoundError
from holdfast.identity.policy import Caller
from holdfast.store.model import Json
from holdfast.store.pg.database import Connection, Database

_MAC = re.compile(r"(?:[0-9a-f]{2}[:-]){5}[0-9a-f]{2}", re.IGNORECASE)
_BROKEN: Broken = {
    "port_address_key": (ConflictError, "A port with MAC address {address} already exists."),
    "port_name_key": (ConflictError, "A port with name {name} already exists."),
    "port_pkey": (ConflictError, "A port with UUID {uuid} already exists."),
}


class Ports:
    """Creates, updates and deletes ports. Changes wait while a job has the node in hand."""

    def __init__(self, db: Database, document_bytes_max: int) -> None:
        self._db = db
        self._document_bytes_max = document_bytes_max

    async def create(self, caller: Caller, document: Values) -> UUID:
        """Create a port from the fields a client gave; returns its UUID."""
        require_writable(PORTS, document, create=True)
        required(document, "address", "node_uuid")
        ident = str(document["node_uuid"])
        given = _clean(checked(PORTS, {k: v for k, v in document.items() if k != "node_uuid"}))
        check_sizes(PORTS.fields, given, self._document_bytes_max)
        uuid: UUID = given.setdefault("uuid", uuid4())

        async def work(conn: Connection) -> None:
            node = await _its_node(conn, caller, ident)
            require(caller, node, ADD_PORT)
            given["node_uuid"] = node.uuid
            await _check_group(conn, given, uuid)
            await conn.execute(insert(models.PORT).values(**given))
            await _audit(conn, "port.create", uuid, node, shown(given))

        try:
            await self._db.run(work)
        except ConflictError as fault:
            raise named(fault, _BROKEN, given) from fault
        return uuid

    async def update(self, caller: Caller, ident: str, operations: Json) -> UUID:
        """Apply a JSON patch; returns the port's UUID."""
        parsed = patch.parse(operations)
        touched = patch.fields_of(parsed)
        require_writable(PORTS, touched, create=False)
        wanted: Values = {}

        async def work(conn: Connection) -> UUID:
            uuid, node = await _port_and_node(conn, caller, ident)
            row = await conn.fetchrow(select(models.PORT).where(models.PORT.c.uuid == uuid))
            present = {} if row is None else dict(row.items())
            wanted.clear()
            wanted.update(_clean(patched(PORTS, parsed, {n: present[n] for n in touched})))
            check_sizes(PORTS.fields, wanted, self._document_bytes_max)
            if "node_uuid" in wanted:
                target = await _its_node(conn, caller, str(wanted["node_uuid"]))
                require(caller, target, ADD_PORT)
            await _check_group(conn, {**present, **wanted}, uuid)
            await conn.execute(
                update(models.PORT)
                .where(models.PORT.c.uuid == uuid)
                .values(updated_at=func.clock_timestamp(), **wanted)
            )
            await _audit(conn, "port.update", uuid, node, {"changed": shown(wanted)})
            return uuid

        try:
            return await self._db.run(work)
        except ConflictError as fault:
            raise named(fault, _BROKEN, {"name": None, **wanted}) from fault

    async def delete(self, caller: Caller, ident: str) -> None:
        """Delete a port."""

        async def work(conn: Connection) -> None:
            uuid, node = await _port_and_node(conn, caller, ident)
            await conn.execute(delete(models.PORT).where(models.PORT.c.uuid == uuid))
            await _audit(conn, "port.delete", uuid, node, {})

        await self._db.run(work)


async def _audit(conn: Connection, what: str, uuid: UUID, node: NodeRow, data: Values) -> None:
    data = {**data, "node_uuid": str(node.uuid)}
    await audit(conn, what, uuid, projects=projects_of(node), data=data)


async def _its_node(conn: Connection, caller: Caller, ident: str) -> NodeRow:
    """The node a port is to belong to; one that is not there makes the request invalid."""
    try:
        return await find_node(conn, caller, ident, lock=True)
    except NotFoundError as fault:
        raise InvalidInputError(fault.message) from None


async def _port_and_node(conn: Connection, caller: Caller, ident: str) -> tuple[UUID, NodeRow]:
    """The port and its node, locked and free of jobs."""
    condition, value = ident_condition(ident, "p")
    row = await conn.fetchrow(
        f"select p.uuid, p.node_uuid from {PORTS.source} "  # noqa: S608 - all ours
        f"where {condition} and {PORTS.visible_to(caller, '$2')}",
        value,
        caller.project_id,
    )
    if row is None:
        raise NotFoundError(f"Port {ident} could not be found.")
    node = await find_node(conn, caller, str(row["node_uuid"]), lock=True)
    require(caller, node, OF_PORTS)
    await refuse_if_locked(conn, node)
    return row["uuid"], node


_OF_GROUP = """
select g.node_uuid, p.uuid is not null as has_others, p.physical_network
  from portgroup g left join port p on p.portgroup_uuid = g.uuid and p.uuid <> $2
 where g.uuid = $1 limit 1
"""


async def _check_group(conn: Connection, port: Values, uuid: UUID) -> None:
    """A port fits into its group: one node, one physical network."""
    group = port.get("portgroup_uuid")
    if group is None:
        return
    found = await conn.fetchrow(_OF_GROUP, group, uuid)
    if found is None:
        raise InvalidInputError(f"Portgroup {group} could not be found.")
    if found["node_uuid"] != port["node_uuid"]:
        raise ConflictError(f"Portgroup {group} is of another node than the port")
    if found["has_others"] and found["physical_network"] != port.get("physical_network"):
        raise ConflictError(
            f"Portgroup {group} has ports on the physical network "
            f"{found['physical_network']}: a port of it cannot be on another"
        )


def _clean(values: Values) -> Values:
    """Addresses in lower case with colons, names that can stand in a path."""
    if "address" in values:
        values["address"] = hardware_address(values["address"])
    check_name(values.get("name"))
    return values


def hardware_address(said: str) -> str:
    """A MAC address as it is kept. Raises ``InvalidInputError`` for what is none."""
    if not _MAC.fullmatch(said):
        raise InvalidInputError(f"Expected a MAC address but received {said}.")
    return said.lower().replace("-", ":")
