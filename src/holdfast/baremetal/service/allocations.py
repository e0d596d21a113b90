"""Allocations: a node for whoever asks for one by what it must be like.

A request is written as it is (``allocating``), and decided afterwards in one transaction
that marks the node and the allocation together, or says why there is none (``error``).
Any API process decides, and none twice: what is being decided is locked, and passed
over by the others. Nothing is lost with a process: what is undecided is found again.
"""

# ruff: noqa: S608 - statements are put together from constants
from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, Final
from uuid import UUID, uuid4

import structlog
from sqlalchemy import insert

from holdfast.baremetal import models
from holdfast.baremetal.resources import ALLOCATIONS
from holdfast.baremetal.service.audit import audit
from holdfast.baremetal.service.records import Records
from holdfast.baremetal.service.rights import ALLOCATE, require
from holdfast.baremetal.service.rows import (
    ACTIVE_JOB,
    NodeRow,
    find_node,
    ident_condition,
    node_by_uuid,
    refuse_if_locked,
)
from holdfast.baremetal.service.rules import check_name, check_traits
from holdfast.baremetal.service.writing import Broken, Values, named
from holdfast.baremetal.states import DELETABLE, Provision
from holdfast.errors import (
    ConflictError,
    ForbiddenError,
    HoldfastError,
    InvalidInputError,
    NotFoundError,
)
from holdfast.identity.policy import Caller
from holdfast.store.events import told
from holdfast.store.model import Json
from holdfast.store.pg.database import Connection, Database, Row
from holdfast.store.pg.events import record

_LOG = structlog.get_logger("holdfast.baremetal")

POLL_S: Final = 1.0  # how soon what another process left undecided is taken up
_AT_ONCE = 100
_PATCHABLE = ("name", "extra")
_BROKEN: Broken = {
    "allocation_name_key": (ConflictError, "An allocation with name {name} already exists."),
    "allocation_node_key": (ConflictError, "Node {node_uuid} has an allocation already."),
}

_UNDECIDED = f"""
select uuid from allocation where state = 'allocating' order by created_at limit {_AT_ONCE}
"""
_TAKE = "select * from allocation where uuid = $1 and state = 'allocating' for update skip locked"
_FITS = """
  from node n
 where n.provision_state = 'available' and n.instance_uuid is null
   and not n.maintenance and not n.retired and n.power_state is not null
   and n.resource_class = $1 and n.traits @> $2::text[]
   and (cardinality($3::uuid[]) = 0 or n.uuid = any($3))
   and ($4::text is null or $4 in (n.owner, n.lessee))
"""
_PICK = f"""
select n.uuid {_FITS}
   and not exists (select from job j where j.object_id = n.uuid and {ACTIVE_JOB})
 limit 1 for no key update of n skip locked
"""
_MARK_NODE = """
update node
   set instance_uuid = $2, allocation_uuid = $2, updated_at = clock_timestamp(),
       instance_info = instance_info || jsonb_build_object('traits', to_jsonb($3::text[]))
 where uuid = $1
"""
_DECIDED = """
update allocation
   set state = case when $2::uuid is null then 'error' else 'active' end,
       node_uuid = $2, last_error = $3, updated_at = clock_timestamp()
 where uuid = $1
"""
_FREE_NODE = """
update node
   set instance_uuid = null, allocation_uuid = null, updated_at = clock_timestamp(),
       instance_info = instance_info - 'traits'
 where uuid = $1 and allocation_uuid = $2
"""


class Allocations:
    """Creates, changes and deletes allocations; and decides them, where ``run`` runs."""

    def __init__(self, db: Database, document_bytes_max: int) -> None:
        self._db = db
        self._records = Records(db, ALLOCATIONS, models.ALLOCATION, _BROKEN, document_bytes_max)
        self._asked = asyncio.Event()

    # -- what clients ask for ---------------------------------------------------------------

    async def create(self, caller: Caller, document: Values) -> UUID:
        """Ask for a node; returns the allocation's UUID.

        ``node`` (a UUID or name): for that node, which has an instance already.
        Raises ``InvalidInputError`` naming the field, or ``ConflictError``.
        """
        node = document.get("node")
        given = self._records.given({k: v for k, v in document.items() if k != "node"})
        _check(caller, given)
        if node is not None:
            if given.get("candidate_nodes"):
                raise InvalidInputError("Give a node or candidate_nodes, not both")
            return await self._backfill(caller, str(node), given)
        if not given.get("resource_class"):
            raise InvalidInputError("Missing mandatory attribute: resource_class")
        idents: list[str] = given.get("candidate_nodes") or []
        given["candidate_nodes"] = await self._candidates(caller, idents)
        uuid = await self._records.create(given)
        self._asked.set()
        return uuid

    async def _candidates(self, caller: Caller, idents: list[str]) -> list[UUID]:
        found: dict[UUID, None] = {}
        for ident in idents:
            try:
                found[(await find_node(self._db, caller, ident)).uuid] = None
            except NotFoundError as fault:
                raise InvalidInputError(f"candidate_nodes: {fault.message}") from None
        return list(found)

    async def _backfill(self, caller: Caller, ident: str, given: Values) -> UUID:
        """An allocation for a node that was deployed without one."""

        async def work(conn: Connection) -> UUID:
            node = await find_node(conn, caller, ident, lock=True)
            require(caller, node, ALLOCATE)
            await refuse_if_locked(conn, node)
            row = await conn.fetchrow(
                "select resource_class, traits from node where uuid = $1", node.uuid
            )
            values = _backfilled(node, dict(row.items()) if row is not None else {}, given)
            await conn.execute(insert(models.ALLOCATION).values(**values))
            await conn.execute(_MARK_NODE, node.uuid, values["uuid"], values["traits"])
            await audit(
                conn,
                "allocation.create",
                values["uuid"],
                name=values.get("name"),
                projects=(values.get("owner"),),
                data={"node_uuid": str(node.uuid), "backfilled": True},
            )
            return values["uuid"]

        try:
            return await self._db.run(work)
        except ConflictError as fault:
            about = {"name": given.get("name"), "node_uuid": ident}
            raise named(fault, _BROKEN, about) from fault

    async def update(self, caller: Caller, ident: str, operations: Json) -> UUID:
        """Apply a JSON patch to the name or ``extra``; returns the UUID."""

        def allow(_row: Values, changes: Values) -> None:
            if fixed := [name for name in changes if name not in _PATCHABLE]:
                raise InvalidInputError(
                    f"{', '.join(fixed)} of an allocation cannot be changed; "
                    f"only {' and '.join(_PATCHABLE)} can: make another one"
                )
            check_name(changes.get("name"))

        return await self._records.update(caller, ident, operations, allow)

    async def delete(self, caller: Caller, ident: str) -> None:
        """Give the node back. Raises ``ConflictError`` while it has an instance on it."""
        condition, value = ident_condition(ident, "a")

        async def work(conn: Connection) -> None:
            row = await conn.fetchrow(
                f"select a.uuid, a.name, a.owner, a.node_uuid from allocation a where {condition} "
                f"and {ALLOCATIONS.visible_to(caller, '$2')} for update of a",
                value,
                caller.project_id,
            )
            if row is None:
                raise NotFoundError(f"Allocation {ident} could not be found.")
            if row["node_uuid"] is not None:
                await _free(conn, row["node_uuid"], row["uuid"])
            await conn.execute("delete from allocation where uuid = $1", row["uuid"])
            data: Values = {"node_uuid": str(row["node_uuid"])} if row["node_uuid"] else {}
            await audit(
                conn,
                "allocation.delete",
                row["uuid"],
                name=row["name"],
                projects=(row["owner"],),
                data=data,
            )

        await self._db.run(work)

    async def of_node(self, caller: Caller, ident: str) -> UUID:
        """The UUID of a node's allocation. Raises ``NotFoundError`` if it has none."""
        node = await find_node(self._db, caller, ident)
        if node.allocation_uuid is None:
            raise NotFoundError(f"Node {node.label} has no allocation.")
        return node.allocation_uuid

    # -- deciding ---------------------------------------------------------------------------

    async def run(self) -> None:
        """Decide whatever is undecided, for as long as this runs."""
        while True:
            self._asked.clear()
            try:
                await self.decide()
            except HoldfastError as fault:  # the database is away: it is all still there
                _LOG.warning("allocations wait", why=fault.message)
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_S):
                    await self._asked.wait()

    async def decide(self) -> int:
        """Decide what is undecided now, oldest first; returns how many were."""
        rows = await self._db.fetch(_UNDECIDED)
        decided = 0
        for row in rows:
            decided += await self._db.run(lambda conn, uuid=row["uuid"]: _decide(conn, uuid))
        return decided


async def _free(conn: Connection, uuid: UUID, allocation: UUID) -> None:
    """Whoever may see the allocation may give its node back, whosever that is."""
    node = await node_by_uuid(conn, uuid, lock=True)
    if node is None or node.allocation_uuid != allocation:
        return
    await refuse_if_locked(conn, node)
    if node.provision_state not in DELETABLE and not node.maintenance:
        raise ConflictError(
            f"Allocation {allocation} is of node {node.label}, which is in state "
            f"'{node.provision_state}': undeploy it first"
        )
    await conn.execute(_FREE_NODE, uuid, allocation)


async def _decide(conn: Connection, uuid: UUID) -> bool:
    """Pick a node, or say that there is none; False: another does, or a node is busy."""
    asked = await conn.fetchrow(_TAKE, uuid)
    if asked is None:
        return False
    what = (asked["resource_class"], asked["traits"], asked["candidate_nodes"], asked["owner"])
    node: UUID | None = await conn.fetchval(_PICK, *what)
    if node is not None:
        await conn.execute(_MARK_NODE, node, uuid, asked["traits"])
        await conn.execute(_DECIDED, uuid, node, None)
        await _tell(conn, asked, {"node_uuid": str(node)})
        return True
    if await conn.fetchval(f"select exists (select {_FITS})", *what):
        return False  # those that fit are in a job's hands: soon again
    why = _why_none(dict(asked.items()))
    await conn.execute(_DECIDED, uuid, None, why)
    await _tell(conn, asked, {"error": why})
    return True


async def _tell(conn: Connection, asked: Row, data: Values) -> None:
    """That an allocation was decided; by no user, but for the project that asked."""
    event = told(
        "allocation.decided",
        ("allocation", asked["uuid"]),
        name=asked["name"],
        projects=(asked["owner"],),
        result="error" if "error" in data else "active",
        data=data,
    )
    await record(conn, event)


def _why_none(asked: dict[str, Any]) -> str:
    among = "candidate nodes" if asked["candidate_nodes"] else "nodes"
    wanted = f"resource class {asked['resource_class']}"
    if asked["traits"]:
        wanted += f" and the traits {', '.join(asked['traits'])}"
    return (
        f"Failed to process allocation {asked['uuid']}: no available {among} match {wanted} "
        "(available, powered on or off, neither in maintenance nor retired, without an instance)"
    )


def _check(caller: Caller, given: Values) -> None:
    check_name(given.get("name"))
    check_traits(given.get("traits") or [])
    given["traits"] = list(dict.fromkeys(given.get("traits") or []))
    given.setdefault("owner", None if caller.everywhere else caller.project_id)
    if not caller.everywhere and given["owner"] != caller.project_id:
        raise ForbiddenError(
            "Only an administrator of the system may allocate for another project: "
            "leave owner out and the allocation is your project's"
        )


def _backfilled(node: NodeRow, about: Values, given: Values) -> Values:
    """The row of an allocation for a node that has its instance already."""
    uuid: UUID = given.get("uuid") or node.instance_uuid or uuid4()
    if node.provision_state != Provision.ACTIVE:
        raise ConflictError(
            f"Node {node.label} is in state '{node.provision_state}': an allocation for a node "
            "of one's choice is only made once it is active; before that, use candidate_nodes"
        )
    if node.allocation_uuid is not None or node.instance_uuid not in (None, uuid):
        raise ConflictError(
            f"Node {node.label} is associated with instance {node.instance_uuid} already"
        )
    wanted = given.get("resource_class")
    if wanted is not None and wanted != about["resource_class"]:
        raise ConflictError(
            f"Node {node.label} is of resource class {about['resource_class']}, not {wanted}"
        )
    if missing := sorted(set(given["traits"]) - set(about["traits"])):
        raise ConflictError(f"Node {node.label} lacks the traits {', '.join(missing)}")
    return {
        **given,
        "uuid": uuid,
        "state": "active",
        "node_uuid": node.uuid,
        "resource_class": about["resource_class"],
    }
