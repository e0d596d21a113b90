"""Use cases of ports: the network cards by which a node is known on its networks."""

from __future__ import annotations

import re
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import delete, func, insert, select, update

from holdfast.baremetal import fields, models
from holdfast.baremetal.service import patch
from holdfast.baremetal.service.rows import (
    NodeRow,
    find_node,
    ident_condition,
    refuse_if_locked,
    visible,
)
from holdfast.baremetal.service.rules import check_name, default_of
from holdfast.errors import ConflictError, InvalidInputError, NotFoundError
from holdfast.identity.policy import Caller
from holdfast.store.model import Json
from holdfast.store.pg.database import Connection, Database

Values = dict[str, Json]

_MAC = re.compile(r"(?:[0-9a-f]{2}[:-]){5}[0-9a-f]{2}", re.IGNORECASE)
_TAKEN = {
    "port_address_key": "A port with MAC address {address} already exists.",
    "port_name_key": "A port with name {name} already exists.",
    "port_pkey": "A port with UUID {uuid} already exists.",
}


class Ports:
    """Creates, updates and deletes ports. Changes wait while a job has the node in hand."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def create(self, caller: Caller, document: Values) -> UUID:
        """Create a port from the fields a client gave; returns its UUID."""
        _require_writable(list(document), create=True)
        if missing := [name for name in ("address", "node_uuid") if not document.get(name)]:
            raise InvalidInputError(f"Missing mandatory attribute: {', '.join(missing)}")
        node_ident = str(document["node_uuid"])
        given = _checked({name: v for name, v in document.items() if name != "node_uuid"})
        uuid: UUID = given.pop("uuid", None) or uuid4()
        try:
            node = await find_node(self._db, caller, node_ident)
        except NotFoundError as fault:
            raise InvalidInputError(fault.message) from None
        node.require_managed_by(caller, "adding a port")
        try:
            await self._db.execute(
                insert(models.PORT).values(uuid=uuid, node_uuid=node.uuid, **given)
            )
        except ConflictError as fault:
            raise _named(fault, {"uuid": uuid, **given}) from fault
        return uuid

    async def update(self, caller: Caller, ident: str, operations: Json) -> UUID:
        """Apply a JSON patch; returns the port's UUID."""
        parsed = patch.parse(operations)
        touched = patch.fields_of(parsed)
        _require_writable(touched, create=False)
        wanted: Values = {}

        async def work(conn: Connection) -> UUID:
            uuid, _ = await _port_and_node(conn, caller, ident)
            row = await conn.fetchrow(
                select(*(models.PORT.c[name] for name in touched)).where(models.PORT.c.uuid == uuid)
            )
            wanted.update(patch.apply(parsed, {} if row is None else _plain(dict(row.items()))))
            given = {
                name: default_of(fields.PORT[name]) if value is patch.REMOVED else value
                for name, value in wanted.items()
            }
            given = _checked(given)
            if "node_uuid" in given:
                target = await find_node(conn, caller, str(given["node_uuid"]))
                target.require_managed_by(caller, "moving a port to it")
            await conn.execute(
                update(models.PORT)
                .where(models.PORT.c.uuid == uuid)
                .values(updated_at=func.clock_timestamp(), **given)
            )
            return uuid

        try:
            return await self._db.run(work)
        except ConflictError as fault:
            raise _named(fault, {"name": None, **wanted}) from fault

    async def delete(self, caller: Caller, ident: str) -> None:
        """Delete a port."""

        async def work(conn: Connection) -> None:
            uuid, _ = await _port_and_node(conn, caller, ident)
            await conn.execute(delete(models.PORT).where(models.PORT.c.uuid == uuid))

        await self._db.run(work)


async def _port_and_node(conn: Connection, caller: Caller, ident: str) -> tuple[UUID, NodeRow]:
    """The port and its node, locked and free of jobs."""
    condition, value = ident_condition(ident, "p")
    row = await conn.fetchrow(
        f"select p.uuid, p.node_uuid from port p join node n on n.uuid = p.node_uuid "  # noqa: S608
        f"where {condition} and {visible(caller, '$2')}",
        value,
        caller.project_id,
    )
    if row is None:
        raise NotFoundError(f"Port {ident} could not be found.")
    node = await find_node(conn, caller, str(row["node_uuid"]), lock=True)
    node.require_managed_by(caller, "changing its ports")
    await refuse_if_locked(conn, node)
    return row["uuid"], node


def _require_writable(names: list[str], *, create: bool) -> None:
    allowed = fields.writable(fields.PORT, create=create)
    if unknown := [name for name in names if name not in allowed]:
        raise InvalidInputError(
            f"A port has no field {', '.join(unknown)} that can be written; "
            f"it has: {', '.join(allowed)}"
        )


def _checked(values: Values) -> Values:
    """Each value in its field's type, addresses in lower case with colons."""
    checked = {name: fields.checked(fields.PORT[name], value) for name, value in values.items()}
    if "address" in checked:
        address: str = checked["address"]
        if not _MAC.fullmatch(address):
            raise InvalidInputError(f"Expected a MAC address but received {address}.")
        checked["address"] = address.lower().replace("-", ":")
    check_name(checked.get("name"))
    return checked


def _plain(values: dict[str, Any]) -> Values:
    return {name: str(v) if isinstance(v, UUID) else v for name, v in values.items()}


def _named(fault: ConflictError, given: Values) -> ConflictError:
    message = _TAKEN.get(str(fault.details.get("constraint")))
    return fault if message is None else ConflictError(message.format_map(given))
