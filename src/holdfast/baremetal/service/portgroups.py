"""Port groups: ports of one node that are used as one link."""

from __future__ import annotations

from uuid import UUID, uuid4

from sqlalchemy import delete, func, insert, select, update

from holdfast.baremetal import models
from holdfast.baremetal.resources import PORTGROUPS
from holdfast.baremetal.service import patch
from holdfast.baremetal.service.audit import audit, projects_of, shown
from holdfast.baremetal.service.ports import hardware_address
from holdfast.baremetal.service.rights import ADD_PORTGROUP, OF_PORTGROUPS, require
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

_BROKEN: Broken = {
    "portgroup_pkey": (ConflictError, "A portgroup with UUID {uuid} already exists."),
    "portgroup_name_key": (ConflictError, "A portgroup with name {name} already exists."),
    "portgroup_address_key": (
        ConflictError,
        "A portgroup with MAC address {address} already exists.",
    ),
    "port_portgroup_fkey": (
        InvalidInputError,
        "Portgroup {ident} has ports and can not be deleted: take them out of it first",
    ),
}


class Portgroups:
    """Creates, updates and deletes port groups, while no job has the node in hand."""

    def __init__(self, db: Database, document_bytes_max: int) -> None:
        self._db = db
        self._document_bytes_max = document_bytes_max

    async def create(self, caller: Caller, document: Values) -> UUID:
        """Create a port group from the fields a client gave; returns its UUID."""
        require_writable(PORTGROUPS, document, create=True)
        required(document, "node_uuid")
        ident = str(document["node_uuid"])
        given = _clean(checked(PORTGROUPS, {k: v for k, v in document.items() if k != "node_uuid"}))
        check_sizes(PORTGROUPS.fields, given, self._document_bytes_max)
        uuid: UUID = given.setdefault("uuid", uuid4())

        async def work(conn: Connection) -> None:
            try:
                node = await find_node(conn, caller, ident)
            except NotFoundError as fault:
                raise InvalidInputError(fault.message) from None
            require(caller, node, ADD_PORTGROUP)
            given["node_uuid"] = node.uuid
            await conn.execute(insert(models.PORTGROUP).values(**given))
            await _audit(conn, "portgroup.create", uuid, node, shown(given))

        try:
            await self._db.run(work)
        except ConflictError as fault:
            raise named(fault, _BROKEN, given) from fault
        return uuid

    async def update(self, caller: Caller, ident: str, operations: Json) -> UUID:
        """Apply a JSON patch; returns the port group's UUID."""
        parsed = patch.parse(operations)
        touched = patch.fields_of(parsed)
        require_writable(PORTGROUPS, touched, create=False)
        wanted: Values = {}

        async def work(conn: Connection) -> UUID:
            uuid, node = await _group_and_node(conn, caller, ident)
            row = await conn.fetchrow(
                select(models.PORTGROUP).where(models.PORTGROUP.c.uuid == uuid)
            )
            present = {name: None if row is None else row[name] for name in touched}
            wanted.clear()
            wanted.update(_clean(patched(PORTGROUPS, parsed, present)))
            check_sizes(PORTGROUPS.fields, wanted, self._document_bytes_max)
            if wanted.get("node_uuid", node.uuid) != node.uuid:
                raise ConflictError("A port group stays with its node: make one on the other")
            await conn.execute(
                update(models.PORTGROUP)
                .where(models.PORTGROUP.c.uuid == uuid)
                .values(updated_at=func.clock_timestamp(), **wanted)
            )
            await _audit(conn, "portgroup.update", uuid, node, {"changed": shown(wanted)})
            return uuid

        try:
            return await self._db.run(work)
        except ConflictError as fault:
            raise named(fault, _BROKEN, {"name": None, "address": None, **wanted}) from fault

    async def delete(self, caller: Caller, ident: str) -> None:
        """Delete a port group. Raises ``InvalidInputError`` while it has ports."""

        async def work(conn: Connection) -> None:
            uuid, node = await _group_and_node(conn, caller, ident)
            await conn.execute(delete(models.PORTGROUP).where(models.PORTGROUP.c.uuid == uuid))
            await _audit(conn, "portgroup.delete", uuid, node, {})

        try:
            await self._db.run(work)
        except ConflictError as fault:
            raise named(fault, _BROKEN, {"ident": ident}) from fault


async def _audit(conn: Connection, what: str, uuid: UUID, node: NodeRow, data: Values) -> None:
    data = {**data, "node_uuid": str(node.uuid)}
    await audit(conn, what, uuid, projects=projects_of(node), data=data)


async def _group_and_node(conn: Connection, caller: Caller, ident: str) -> tuple[UUID, NodeRow]:
    """The port group and its node, locked and free of jobs."""
    condition, value = ident_condition(ident, "g")
    row = await conn.fetchrow(
        f"select g.uuid, g.node_uuid from {PORTGROUPS.source} "  # noqa: S608 - all ours
        f"where {condition} and {PORTGROUPS.visible_to(caller, '$2')}",
        value,
        caller.project_id,
    )
    if row is None:
        raise NotFoundError(f"Portgroup {ident} could not be found.")
    node = await find_node(conn, caller, str(row["node_uuid"]), lock=True)
    require(caller, node, OF_PORTGROUPS)
    await refuse_if_locked(conn, node)
    return row["uuid"], node


def _clean(values: Values) -> Values:
    """Addresses in lower case with colons, names that can stand in a path."""
    if values.get("address") is not None:
        values["address"] = hardware_address(values["address"])
    check_name(values.get("name"))
    return values
