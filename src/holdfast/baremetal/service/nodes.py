"""Use cases that change what a node *is*: create, update, delete.

None of them touches hardware. An update or deletion happens only while no job has the
node in hand; that check and the change are one transaction.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import delete, func, select, update

from holdfast.baremetal import fields, models
from holdfast.baremetal.credentials import MASK
from holdfast.baremetal.drivers import CONFIGDRIVE, driver_named
from holdfast.baremetal.service import patch
from holdfast.baremetal.service.audit import audit, audit_node, shown_changes, tell_changes
from holdfast.baremetal.service.drives import check_drive, check_network_data
from holdfast.baremetal.service.placement import Placement
from holdfast.baremetal.service.rights import DELETE, require, require_changes
from holdfast.baremetal.service.rows import NodeRow, find_node, refuse_if_locked
from holdfast.baremetal.service.rules import (
    check_change,
    check_connection,
    check_creation,
    default_of,
    interfaces_of,
    protected,
)
from holdfast.baremetal.service.secrets import NodeSecrets
from holdfast.baremetal.service.writing import Broken, Values, check_sizes, named
from holdfast.baremetal.states import DELETABLE, Provision
from holdfast.errors import ConflictError, InvalidInputError
from holdfast.identity.policy import Caller
from holdfast.store.model import Json
from holdfast.store.pg.database import Connection, Database

_ADDRESS = "redfish_address"
# Sealing the same twice gives two blobs.
_INCOMPARABLE = ("provision_state", "driver_secrets", "instance_secrets")
_BROKEN: Broken = {
    "node_name_key": (ConflictError, "A node with name {name} already exists."),
    "node_instance_uuid_key": (
        ConflictError,
        "Instance {instance_uuid} is already associated with a node, it cannot be associated "
        "with this one.",
    ),
    "node_chassis_fkey": (InvalidInputError, "Chassis {chassis_uuid} could not be found."),
}


class Nodes:
    """Creates, updates and deletes nodes."""

    def __init__(
        self,
        db: Database,
        secrets: NodeSecrets,
        placement: Placement,
        hardware_types: Collection[str],
        document_bytes_max: int,
    ) -> None:
        self._db = db
        self._secrets = secrets
        self._placement = placement
        self._hardware_types = hardware_types
        self._document_bytes_max = document_bytes_max

    async def create(self, caller: Caller, document: Values, state: Provision) -> UUID:
        """Create a node from the fields a client gave; returns its UUID.

        Repeating a creation with the same UUID and the same fields returns the node it
        made. Raises ``InvalidInputError`` naming the field, or ``ConflictError``.
        """
        given = self._checked(document, create=True)
        driver_named(given["driver"], self._hardware_types)
        check_creation(caller, given)
        check_sizes(fields.NODE, given, self._document_bytes_max)
        uuid: UUID = given.pop("uuid", None) or uuid4()
        columns = self._columns(uuid, given, driver=given["driver"], sealed=None)
        columns.setdefault("owner", None if caller.everywhere else caller.project_id)
        columns |= {"project": caller.project_id, "provision_state": state.value}
        group = str(columns.setdefault("grp", ""))

        async def work(conn: Connection) -> None:
            shard = await self._placement.place(conn, group, uuid)
            row = {**columns, "uuid": uuid, "shard": shard}
            await conn.execute(_insertion(tuple(row)), *row.values())
            projects = (columns["project"], columns.get("owner"), columns.get("lessee"))
            data = {"driver": given["driver"], "provision_state": state.value}
            await audit(
                conn, "node.create", uuid, name=given.get("name"), projects=projects, data=data
            )

        try:
            await self._placement.ready(group)
            await self._db.run(work)
        except ConflictError as fault:
            if fault.details.get("constraint") != "node_pkey":
                raise named(fault, _BROKEN, given) from fault
            await self._same_or_conflict(caller, uuid, columns)
        return uuid

    async def _same_or_conflict(self, caller: Caller, uuid: UUID, columns: Values) -> None:
        """Whether the node that has this UUID is what was asked for now."""
        taken = ConflictError(f"A node with UUID {uuid} already exists.")
        compared = [name for name in columns if name not in _INCOMPARABLE]
        row = await self._db.fetchrow(
            select(
                models.NODE.c.driver_secrets,
                models.NODE.c.instance_secrets,
                *(models.NODE.c[name] for name in compared),
            ).where(models.NODE.c.uuid == uuid)
        )
        if row is None or not caller.may_see(row["project"]):
            raise taken
        asked, there = (
            (
                self._secrets.open_driver(uuid, of.get("driver_secrets")),
                self._secrets.open_instance(uuid, of.get("instance_secrets")),
            )
            for of in (columns, dict(row.items()))
        )
        if asked != there or any(row[name] != columns[name] for name in compared):
            raise taken

    async def update(
        self, caller: Caller, ident: str, operations: Json, *, reset_interfaces: bool = False
    ) -> UUID:
        """Apply a JSON patch; returns the node's UUID.

        Raises ``NodeLockedError`` while a job has the node in hand, ``InvalidInputError``
        naming what cannot be written, ``ConflictError`` for what the state forbids.
        """
        parsed = patch.parse(operations)
        touched = patch.fields_of(parsed)
        _require_writable(touched, create=False)

        async def work(conn: Connection) -> UUID:
            node = await find_node(conn, caller, ident)
            group = self._group_asked(parsed) if "conductor_group" in touched else node.grp
            columns: Values = {}
            if group != node.grp:  # claims are locked before objects: see store.pg
                columns["shard"] = await self._placement.move(conn, node, group)
            node = await _lock_unchanged(conn, caller, node)
            # Whatever it changes: that a guess changes nothing would tell what is there.
            require_changes(caller, node, {op.keys[0]: op.value for op in parsed})
            await refuse_if_locked(conn, node)
            present = await _present(conn, node.uuid, touched)
            wanted = patch.apply(parsed, present)
            changed = self._changed(node, present, wanted, reset_interfaces=reset_interfaces)
            check_change(caller, node, changed)
            check_sizes(
                fields.NODE,
                {n: v for n, v in changed.items() if n in wanted},
                self._document_bytes_max,
            )
            driver = changed.get("driver", node.driver)
            if driver != node.driver:
                driver_named(driver, self._hardware_types)
            columns |= self._columns(
                node.uuid,
                changed,
                driver=driver,
                sealed=node.driver_secrets,
                sealed_instance=await _instance_secrets(conn, node.uuid, changed),
                node=node,
            )
            if "owner" in changed:  # who had it has it no more
                columns["project"] = changed["owner"] or caller.project_id
            if group != node.grp or _address_moves(node, columns):
                # A new place or a new BMC is a new life: every older token is void.
                columns["entered_epoch"] = func.nextval("epoch_seq")
            await conn.execute(
                update(models.NODE)
                .where(models.NODE.c.uuid == node.uuid)
                .values(updated_at=func.clock_timestamp(), **columns)
            )
            await audit_node(
                conn, "node.update", node, {"changed": shown_changes(present, changed)}
            )
            await tell_changes(conn, node, changed)
            return node.uuid

        try:
            if "conductor_group" in touched:
                await self._placement.ready(self._group_asked(parsed))
            return await self._db.run(work)
        except ConflictError as fault:
            raise named(fault, _BROKEN, {op.keys[0]: op.value for op in parsed}) from fault

    async def delete(self, caller: Caller, ident: str) -> None:
        """Delete a node and its ports. In maintenance from any state.

        Raises ``ConflictError`` if its state, its instance or a job forbids that.
        """

        async def work(conn: Connection) -> None:
            node = await find_node(conn, caller, ident)
            require(caller, node, DELETE)
            await self._placement.remove(conn, node)
            node = await _lock_unchanged(conn, caller, node)
            await refuse_if_locked(conn, node)
            if node.protected:
                raise protected(node)
            if not node.maintenance:
                _require_deletable(node)
            await conn.execute(delete(models.NODE).where(models.NODE.c.uuid == node.uuid))
            data: Values = {"provision_state": node.provision_state}
            await audit_node(conn, "node.delete", node, data)

        await self._db.run(work)

    def _checked(self, document: Values, *, create: bool) -> Values:
        """What a client gave, each value in its field's type."""
        _require_writable(list(document), create=create)
        if create and not document.get("driver"):
            raise InvalidInputError("Missing mandatory attribute: driver")
        return {name: fields.checked(fields.NODE[name], value) for name, value in document.items()}

    def _changed(
        self, node: NodeRow, present: Values, wanted: Values, *, reset_interfaces: bool
    ) -> Values:
        """The touched fields that really change, checked; removed ones at their default."""
        changed: Values = {}
        for name, value in wanted.items():
            field = fields.NODE[name]
            new = default_of(field) if value is patch.REMOVED else fields.checked(field, value)
            if name == "instance_info" and new.get("configdrive") == MASK:
                new = new | {"configdrive": present[name].get("configdrive")}
            if new != present[name]:
                changed[name] = new
        if reset_interfaces:
            if "driver" not in wanted:
                raise InvalidInputError(
                    "reset_interfaces can only be used when updating the driver field"
                )
            changed = dict.fromkeys(node.interfaces) | changed
        return changed

    def _columns(
        self,
        uuid: UUID,
        values: Values,
        *,
        driver: str,
        sealed: bytes | None,
        sealed_instance: bytes | None = None,
        node: NodeRow | None = None,
    ) -> Values:
        """Wire fields as columns: interfaces together, secrets apart."""
        columns: Values = {
            fields.NODE[name].stored_in: value
            for name, value in values.items()
            if not name.endswith("_interface")
        }
        asked = {n: v for n, v in values.items() if n.endswith("_interface")}
        if asked or node is None or "driver" in values:
            present = node.interfaces if node else {}
            columns["interfaces"] = interfaces_of(driver_named(driver), present, asked)
        if "driver_info" in values:
            check_connection(node.driver_info if node else {}, values["driver_info"])
            columns["driver_info"], columns["driver_secrets"] = self._secrets.split_driver(
                uuid, values["driver_info"], sealed
            )
        if "network_data" in values:
            check_network_data(values["network_data"])
        if "instance_info" in values:
            check_drive("instance_info/configdrive", values["instance_info"].get(CONFIGDRIVE))
            columns["instance_info"], columns["instance_secrets"] = self._secrets.split_instance(
                uuid, values["instance_info"], sealed_instance
            )
        return columns

    def _group_asked(self, operations: list[patch.Operation]) -> str:
        group = patch.apply(operations, {"conductor_group": ""})["conductor_group"]
        field = fields.NODE["conductor_group"]
        return "" if group is patch.REMOVED else str(fields.checked(field, group)).lower()


@lru_cache(maxsize=256)
def _insertion(names: tuple[str, ...]) -> str:
    """SQL that inserts a row with these columns. Written here and kept, for the query builder
    would take a quarter of what a creation costs the API.
    """
    places = ", ".join(f"${number}" for number in range(1, len(names) + 1))
    return f"insert into node ({', '.join(names)}) values ({places})"  # noqa: S608 - columns of ours


def _require_writable(names: list[str], *, create: bool) -> None:
    """Raise ``InvalidInputError`` naming every field a client may not write."""
    allowed = fields.writable(fields.NODE, create=create)
    if unknown := [name for name in names if name not in fields.NODE]:
        raise InvalidInputError(
            f"A node has no field {', '.join(unknown)}; it has: {', '.join(allowed)}"
        )
    if internal := [f"'/{name}'" for name in names if name not in allowed]:
        raise InvalidInputError(
            f"{', '.join(internal)} is an internal attribute and can not be updated"
        )


async def _lock_unchanged(conn: Connection, caller: Caller, node: NodeRow) -> NodeRow:
    """Lock the node's row, which must still be where it was when its claim was locked."""
    locked = await find_node(conn, caller, str(node.uuid), lock=True)
    if (locked.grp, locked.shard) != (node.grp, node.shard):
        raise ConflictError(
            f"Node {node.label} has just moved to another conductor group; please retry"
        )
    return locked


async def _present(conn: Connection, uuid: UUID, names: list[str]) -> Values:
    """The present values of writable fields, secrets masked."""
    if not names:
        return {}
    wanted = {name: models.NODE.c[fields.NODE[name].stored_in] for name in names}
    row = await conn.fetchrow(select(*set(wanted.values())).where(models.NODE.c.uuid == uuid))
    found: Values = {}
    for name, column in wanted.items():
        value: Any = row[column.name] if row is not None else None
        found[name] = value.get(name) if column.name == "interfaces" else value
    return found


async def _instance_secrets(conn: Connection, uuid: UUID, changed: Values) -> bytes | None:
    """What is sealed of instance_info; read only for a change of it, as it may be large."""
    if "instance_info" not in changed:
        return None
    return await conn.fetchval("select instance_secrets from node where uuid = $1", uuid)


def _address_moves(node: NodeRow, columns: Values) -> bool:
    """Whether the node's BMC is to be looked for elsewhere."""
    info = columns.get("driver_info", node.driver_info)
    return info.get(_ADDRESS) != node.driver_info.get(_ADDRESS)


def _require_deletable(node: NodeRow) -> None:
    if node.instance_uuid is not None:
        raise ConflictError(
            f"Node {node.label} is associated with instance {node.instance_uuid}: "
            "remove that, or put the node in maintenance, before deleting it"
        )
    if node.provision_state not in DELETABLE:
        raise ConflictError(
            f"Can not delete node {node.label} while it is in provision state "
            f"'{node.provision_state}'; allowed states: {', '.join(sorted(DELETABLE))}, "
            "or any in maintenance"
        )
