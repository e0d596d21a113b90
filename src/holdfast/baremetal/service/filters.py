"""What a list is asked for: filters, order and page, as SQL conditions over parameters."""

from __future__ import annotations

from typing import Any, Literal
from uuid import UUID

import msgspec

from holdfast.baremetal.fields import CONDUCTOR
from holdfast.baremetal.resources import Resource
from holdfast.errors import ForbiddenError, InvalidInputError
from holdfast.identity.policy import Caller


class PageQuery(msgspec.Struct, frozen=True, kw_only=True):
    """One page of a list. ``limit`` None or 0: as many as a page may have."""

    fields: tuple[str, ...]
    limit: int | None = None
    marker: UUID | None = None
    sort_key: str | None = None
    sort_dir: Literal["asc", "desc"] = "asc"


class NodeFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which nodes. None: whatever the node has there."""

    associated: bool | None = None
    maintenance: bool | None = None
    retired: bool | None = None
    provision_state: str | None = None
    driver: str | None = None
    resource_class: str | None = None
    conductor_group: str | None = None
    conductor: str | None = None
    owner: str | None = None
    lessee: str | None = None
    project: str | None = None
    instance_uuid: UUID | None = None
    chassis_uuid: UUID | None = None
    fault: str | None = None
    description_contains: str | None = None
    shard: tuple[str, ...] | None = None
    sharded: bool | None = None
    parent_node: UUID | None = None
    children: bool = True  # whether nodes that have a parent are listed too


class PortFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which ports. ``node`` and ``portgroup``: by UUID or name."""

    address: str | None = None
    node: str | None = None
    portgroup: str | None = None
    shard: tuple[str, ...] | None = None


class PortgroupFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which port groups. ``node``: a node's UUID or name."""

    address: str | None = None
    node: str | None = None


class AllocationFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which allocations. ``node``: a node's UUID or name."""

    state: str | None = None
    resource_class: str | None = None
    owner: str | None = None
    node: str | None = None


class Where:
    """Conditions joined by "and", with their values as numbered parameters."""

    def __init__(self) -> None:
        self.params: list[Any] = []
        self._conditions: list[str] = []

    def param(self, value: Any) -> str:
        """Take a value; returns its placeholder."""
        self.params.append(value)
        return f"${len(self.params)}"

    def add(self, condition: str, *values: Any) -> None:
        """Add a condition, in which each ``{}`` stands for the next value."""
        self._conditions.append(condition.format(*(self.param(value) for value in values)))

    @property
    def sql(self) -> str:
        return " and ".join(self._conditions) or "true"


_EQUAL = {
    "maintenance": "n.maintenance",
    "retired": "n.retired",
    "driver": "n.driver",
    "resource_class": "n.resource_class",
    "conductor_group": "n.grp",
    "owner": "n.owner",
    "lessee": "n.lessee",
    "instance_uuid": "n.instance_uuid",
    "chassis_uuid": "n.chassis_uuid",
    "provision_state": "n.provision_state",
    "conductor": CONDUCTOR,
    "parent_node": "n.parent_node",
}


def add_node_filter(where: Where, asked: NodeFilter) -> None:
    """The conditions of a ``NodeFilter``; ``conductor`` needs the join ``owner``."""
    for name, column in _EQUAL.items():
        if (value := getattr(asked, name)) is not None:
            where.add(column + " = {}", value)
    if asked.associated is not None:
        where.add(f"n.instance_uuid is {'not ' if asked.associated else ''}null")
    if asked.fault is not None:
        where.add("n.fault is not distinct from {}", None if asked.fault == "none" else asked.fault)
    if asked.description_contains is not None:
        where.add("position(lower({}) in lower(n.description)) > 0", asked.description_contains)
    if asked.shard is not None:
        where.add("n.shard_key = any({}::text[])", list(asked.shard))
    if asked.sharded is not None:
        where.add(f"n.shard_key is {'not ' if asked.sharded else ''}null")
    if asked.project is not None:
        where.add("{}::text in (n.owner, n.lessee)", asked.project)
    if asked.parent_node is None and not asked.children:
        where.add("n.parent_node is null")


def add_port_filter(
    where: Where, asked: PortFilter, node: UUID | None, portgroup: UUID | None
) -> None:
    """The conditions of a ``PortFilter``; ``node`` and ``portgroup`` are those it names."""
    if asked.address is not None:
        where.add("p.address = {}", asked.address.lower())
    if node is not None:
        where.add("p.node_uuid = {}", node)
    if portgroup is not None:
        where.add("p.portgroup_uuid = {}", portgroup)
    if asked.shard is not None:
        where.add("n.shard_key = any({}::text[])", list(asked.shard))


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """A total order: a sort key, and the UUID where that does not decide."""

    key: str  # an SQL expression
    uuid: str
    descending: bool

    @property
    def sql(self) -> str:
        direction = "desc" if self.descending else "asc"
        return f"{self.key} {direction}, {self.uuid} {direction}"

    def add_after(self, where: Where, marker: UUID, value: Any) -> None:
        """What comes after the marker, whose sort key has this value (null sorts as largest)."""
        past = "<" if self.descending else ">"
        if value is None:
            same = f"({self.key} is null and {self.uuid} {past} {{}})"
            where.add(f"({same} or {self.key} is not null)" if self.descending else same, marker)
            return
        tie = f"({self.key} = {{}} and {self.uuid} {past} {{}})"
        after = f"{self.key} {past} {{}} or {tie}"
        if not self.descending:
            after += f" or {self.key} is null"
        where.add(f"({after})", value, value, marker)


def order_of(resource: Resource, query: PageQuery, caller: Caller) -> Order:
    """The order a query asks for; by default that of creation.

    Raises ``InvalidInputError`` for a key that there is not, and ``ForbiddenError`` for a
    field that a lessee is not shown: the order would tell what is in it.
    """
    key = f"{resource.alias}.created_at"
    if query.sort_key not in (None, "id"):
        if query.sort_key in resource.owners_only and not caller.everywhere:
            raise ForbiddenError(
                f"Only operators can sort by '{query.sort_key}', as it is hidden from those a "
                f"{resource.name.lower()} is leased to; use another sort_key"
            )
        key = _sort_expression(resource, str(query.sort_key))
    return Order(key=key, uuid=f"{resource.alias}.uuid", descending=query.sort_dir == "desc")


def _sort_expression(resource: Resource, name: str) -> str:
    field = resource.fields.get(name)
    if field is None or not field.sortable:
        valid = ", ".join(name for name, field in resource.fields.items() if field.sortable)
        raise InvalidInputError(
            f"The sort_key value '{name}' is an invalid field for sorting; use one of: {valid}"
        )
    return f"{resource.alias}.{field.stored_in}"
