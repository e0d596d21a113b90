"""Use cases that keep a node in order and touch no hardware: marks, traits, what it boots from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

from sqlalchemy import func, update

from holdfast.baremetal import models
from holdfast.baremetal.drivers import INTERFACES, does_something, driver_named, info_fault
from holdfast.baremetal.service.audit import audit_node, tell_changes
from holdfast.baremetal.service.rights import (
    BOOT_DEVICE,
    CONSOLE,
    INVENTORY,
    MAINTENANCE,
    RAID,
    TRAITS,
    VALIDATE,
    require,
)
from holdfast.baremetal.service.rows import NodeRow, find_node, refuse_if_locked
from holdfast.baremetal.service.rules import check_traits
from holdfast.errors import InvalidInputError, NotFoundError
from holdfast.identity.policy import Caller
from holdfast.store.model import Json
from holdfast.store.pg.database import Connection, Database

_NEED_DRIVER_INFO = ("boot", "deploy", "inspect", "management", "power")
_NEED_PORTS = ("boot", "deploy")  # an agent's lookup names the MAC addresses of its machine
_WAIT_FOR_AGENT = ("wait call-back", "clean wait")


class Upkeep:
    """Changes of a node that wait for no job, or need none."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def set_maintenance(
        self, caller: Caller, ident: str, maintenance: bool, reason: str | None = None
    ) -> None:
        """Set or clear maintenance. A flag of the operators': it waits for no job."""
        values: dict[str, Any] = {"maintenance": maintenance, "maintenance_reason": reason}
        if not maintenance:
            values["fault"] = None

        async def work(conn: Connection) -> None:
            node = await find_node(conn, caller, ident, lock=True)
            require(caller, node, MAINTENANCE)
            await conn.execute(_update(node.uuid, values))
            await audit_node(conn, "node.set_maintenance", node, values)
            await tell_changes(conn, node, values)

        await self._db.run(work)

    async def set_traits(
        self, caller: Caller, ident: str, change: Callable[[list[str]], list[str]]
    ) -> None:
        """Change a node's traits: ``change`` maps the present ones to the new."""

        async def work(conn: Connection) -> None:
            node = await find_node(conn, caller, ident, lock=True)
            require(caller, node, TRAITS)
            await refuse_if_locked(conn, node)
            present = await conn.fetchval("select traits from node where uuid = $1", node.uuid)
            traits = sorted(set(change(list(present))))
            check_traits(traits)
            await conn.execute(_update(node.uuid, {"traits": traits}))
            await audit_node(conn, "node.set_traits", node, {"traits": traits})

        await self._db.run(work)

    async def set_raid(self, caller: Caller, ident: str, wanted: dict[str, Json]) -> None:
        """Say which RAID configuration the node is to get when it is next cleaned for that."""

        async def work(conn: Connection) -> None:
            node = await find_node(conn, caller, ident, lock=True)
            require(caller, node, RAID)
            _require(node, "raid")
            await refuse_if_locked(conn, node)
            await conn.execute(_update(node.uuid, {"target_raid_config": wanted}))
            await audit_node(conn, "node.set_raid", node)

        await self._db.run(work)

    async def console(self, caller: Caller, ident: str) -> dict[str, Json]:
        """Whether the console is enabled, and how to reach it if it is."""
        node = await find_node(self._db, caller, ident)
        require(caller, node, CONSOLE)
        _require(node, "console")
        enabled: bool = await self._db.fetchval(
            "select console_enabled from node where uuid = $1", node.uuid
        )
        return {"console_enabled": enabled, "console_info": {} if enabled else None}

    async def set_console(self, caller: Caller, ident: str, enabled: bool) -> None:
        """Enable or disable the console."""

        async def work(conn: Connection) -> None:
            node = await find_node(conn, caller, ident, lock=True)
            require(caller, node, CONSOLE)
            _require(node, "console")
            await refuse_if_locked(conn, node)
            await conn.execute(_update(node.uuid, {"console_enabled": enabled}))
            await audit_node(conn, "node.set_console", node, {"enabled": enabled})

        await self._db.run(work)

    async def boot_device(self, caller: Caller, ident: str) -> dict[str, Json]:
        """The boot device a job last set; null while none has and the driver knows of none."""
        node = await find_node(self._db, caller, ident)
        require(caller, node, BOOT_DEVICE)
        known: dict[str, Json] | None = await self._db.fetchval(
            "select driver_internal_info->'boot_device' from node where uuid = $1", node.uuid
        )
        if known is not None:
            return {"boot_device": known["device"], "persistent": known["persistent"]}
        usual = driver_named(node.driver).boot_device
        return {"boot_device": usual, "persistent": None if usual is None else False}

    async def boot_devices(self, caller: Caller, ident: str) -> list[str]:
        """The devices the node's driver can boot from."""
        node = await find_node(self._db, caller, ident)
        require(caller, node, BOOT_DEVICE)
        return list(driver_named(node.driver).boot_devices)

    async def validate(self, caller: Caller, ident: str) -> dict[str, Json]:
        """Per interface ``result`` (null: not supported) and ``reason``; asks no hardware."""
        node = await find_node(self._db, caller, ident)
        require(caller, node, VALIDATE)
        driver = driver_named(node.driver)
        fault = info_fault(driver, node.driver_info)
        portless = await self._portless(node.uuid) if node.interface("deploy") != "fake" else None
        checked: dict[str, Json] = {}
        for kind in INTERFACES:
            if not does_something(node.interface(kind)):
                reason = f"The {kind} interface is not supported by driver {driver.name}"
                checked[kind] = {"result": None, "reason": reason}
            elif kind in _NEED_DRIVER_INFO and fault is not None:
                checked[kind] = {"result": False, "reason": fault}
            elif kind in _NEED_PORTS and portless is not None:
                checked[kind] = {"result": False, "reason": portless}
            else:
                checked[kind] = {"result": True}
        return checked

    async def remarks(self, uuid: UUID) -> list[str]:
        """What an operator should know of a node that waits for its agent: sentences."""
        waits: bool | None = await self._db.fetchval(
            "select provision_state = any($2::text[]) from node where uuid = $1",
            uuid,
            list(_WAIT_FOR_AGENT),
        )
        portless = await self._portless(uuid) if waits else None
        return [] if portless is None else [f"It may wait in vain: {portless}."]

    async def _portless(self, uuid: UUID) -> str | None:
        """What a node without ports cannot do; None: it has some."""
        if await self._db.fetchval("select exists (select from port where node_uuid = $1)", uuid):
            return None
        return (
            "the node has no ports, so the agent of its ramdisk cannot find it by its MAC "
            f"addresses: openstack baremetal port create --node {uuid} MAC"
        )

    async def inventory(self, caller: Caller, ident: str) -> dict[str, Json]:
        """What inspection found, as JSON texts. Raises ``NotFoundError`` before the first."""
        node = await find_node(self._db, caller, ident)
        require(caller, node, INVENTORY)
        found = await self._db.fetchrow(
            "select inventory, plugin_data from node_inventory where node_uuid = $1", node.uuid
        )
        if found is None:
            raise NotFoundError(
                f"Node {node.label} has no inventory: inspect it first (states/provision)"
            )
        return {"inventory": found["inventory"], "plugin_data": found["plugin_data"]}


def _require(node: NodeRow, kind: str) -> None:
    """Raise ``InvalidInputError`` unless the node has an interface of that kind."""
    if not does_something(node.interface(kind)):
        raise InvalidInputError(
            f"Driver {node.driver} does not support {kind} (disabled or not implemented): "
            f"node {node.label} has {kind}_interface '{node.interface(kind)}'"
        )


def _update(uuid: UUID, values: dict[str, Any]) -> Any:
    return (
        update(models.NODE)
        .where(models.NODE.c.uuid == uuid)
        .values(updated_at=func.clock_timestamp(), **values)
    )
