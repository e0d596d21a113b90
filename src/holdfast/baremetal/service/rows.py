"""Finding one node for a caller, and what every use case needs to know of it."""

# ruff: noqa: S608 - expressions come from our own tables, values are parameters
from __future__ import annotations

import re
from typing import Any, TypeAlias
from uuid import UUID

import msgspec

from holdfast.baremetal.errors import NodeLockedError
from holdfast.baremetal.fields import CONDUCTOR, QUEUED
from holdfast.errors import InvalidInputError, NotFoundError
from holdfast.identity.policy import Caller
from holdfast.store.model import Json
from holdfast.store.pg.database import Connection, Database

Reads: TypeAlias = Connection | Database

ACTIVE_JOB = "j.state in ('queued', 'running', 'waiting')"


class NodeRow(msgspec.Struct, frozen=True, kw_only=True):
    """A node as the use cases see it; not what goes out on the wire."""

    uuid: UUID
    name: str | None
    grp: str
    shard: int
    driver: str
    driver_info: dict[str, Json]
    driver_secrets: bytes | None
    interfaces: dict[str, str]
    provision_state: str
    target_provision_state: str | None
    maintenance: bool
    protected: bool
    retired: bool
    disable_power_off: bool
    instance_uuid: UUID | None
    allocation_uuid: UUID | None
    owner: str | None
    lessee: str | None
    project: str | None
    agent_boot: UUID | None
    agent_secret: bytes | None

    @property
    def label(self) -> str:
        """How messages name it."""
        return self.name or str(self.uuid)

    def interface(self, kind: str) -> str:
        """Its implementation of one kind of interface."""
        return self.interfaces.get(f"{kind}_interface", f"no-{kind}")

    def belongs_to(self, caller: Caller) -> bool:
        """Whether the node is of the caller's project; a lessee only uses it."""
        return caller.project_id is not None and caller.project_id in (self.project, self.owner)


_SELECT = """
select n.uuid, n.name, n.grp, n.shard, n.driver, n.driver_info, n.driver_secrets, n.interfaces,
       n.provision_state, n.target_provision_state, n.maintenance, n.protected, n.retired,
       n.disable_power_off, n.instance_uuid, n.allocation_uuid, n.owner, n.lessee, n.project,
       n.agent_boot, n.agent_secret
  from node n where """

# Who has the node in hand.
_HOLDER = f"""
select coalesce({CONDUCTOR}, '{QUEUED}') from job j
  join node n on n.uuid = j.object_id
  left join shard_claim c on c.grp = n.grp and c.shard = n.shard
  left join member m on m.id = c.owner and m.epoch = c.incarnation and m.state <> 'gone'
 where j.object_id = $1 and {ACTIVE_JOB}
"""

_UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE)


_NAME = re.compile(r"[A-Za-z0-9._~-]{1,255}")


def is_name(ident: str) -> bool:
    """Whether something can have this name: it can stand in a path where a UUID could."""
    return _NAME.fullmatch(ident) is not None


def as_uuid(ident: str) -> UUID | None:
    """The UUID that a path segment spells, or None: then it is a name."""
    return UUID(ident) if _UUID.fullmatch(ident) else None


def ident_condition(ident: str, table: str = "n", *, named: bool = True) -> tuple[str, Any]:
    """The SQL condition (on ``$1``) and its value that find an object by UUID or name.

    Raises ``InvalidInputError`` for what can be neither.
    """
    if (uuid := as_uuid(ident)) is not None:
        return f"{table}.uuid = $1", uuid
    if named and is_name(ident):
        return f"{table}.name = $1", ident
    what = "a logical name or UUID" if named else "a UUID"
    raise InvalidInputError(f"Expected {what} but received {ident}.")


def visible(caller: Caller, placeholder: str, table: str = "n") -> str:
    """The SQL condition for what the caller may know of.

    ``placeholder`` stands for the caller's project, and occurs whatever the caller.
    """
    if caller.everywhere:
        return f"({placeholder}::text is null or true)"
    mine = f"{placeholder}::text in ({table}.project, {table}.owner, {table}.lessee)"
    return f"({mine})"


async def find_node(conn: Reads, caller: Caller, ident: str, *, lock: bool = False) -> NodeRow:
    """The node of that UUID or name. ``lock``: for an update in this transaction.

    Raises ``NotFoundError``, also for a node of another project.
    """
    condition, value = ident_condition(ident)
    query = f"{_SELECT} {condition} and {visible(caller, '$2')}"
    record = await conn.fetchrow(
        query + (" for no key update" if lock else ""), value, caller.project_id
    )
    if record is None:
        raise node_not_found(ident)
    return NodeRow(**dict(record))


async def node_by_uuid(conn: Reads, uuid: UUID, *, lock: bool = False) -> NodeRow | None:
    """The node whatever its project: for requests that carry a proof of their own."""
    query = f"{_SELECT} n.uuid = $1" + (" for no key update" if lock else "")
    record = await conn.fetchrow(query, uuid)
    return None if record is None else NodeRow(**dict(record))


async def nodes_for_lookup(
    conn: Reads, uuid: UUID | None, addresses: list[str], states: list[str]
) -> list[NodeRow]:
    """Nodes whose ramdisk may be asking, found by UUID or by their ports' addresses."""
    by_port = "exists (select from port p where p.node_uuid = n.uuid and p.address = any($2))"
    who = "n.uuid = $1" if uuid else f"($1::uuid is null and {by_port})"
    records = await conn.fetch(
        f"{_SELECT} {who} and $2::text[] is not null and n.provision_state = any($3)"
        " and n.agent_boot is not null limit 2",
        uuid,
        addresses,
        states,
    )
    return [NodeRow(**dict(record)) for record in records]


async def refuse_if_locked(conn: Reads, node: NodeRow) -> None:
    """Raise ``NodeLockedError`` while a job has the node in hand."""
    holder = await conn.fetchval(_HOLDER, node.uuid)
    if holder is None:
        return
    whom = "a job that no conductor has taken up yet" if holder == QUEUED else f"host {holder}"
    raise NodeLockedError(
        f"Node {node.label} is locked by {whom}, please retry after the current "
        "operation is completed.",
        host=holder,
    )


def node_not_found(ident: str) -> NotFoundError:
    """The same answer for a node that is not there and for one of another project."""
    return NotFoundError(f"Node {ident} could not be found.")
