"""What those whose node it is, those it is leased to and operators may do with a node. Pure.

A route's policy says which role is needed at all; here stands which it takes for *this* node.
The table is Ironic's (its policies ``baremetal:node:*``, secure RBAC), and narrower in one
place: a field that its general rule for updates would leave to a lessee is the owner's, as
owners place and protect nodes by such fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from holdfast.baremetal.service.rows import NodeRow
from holdfast.errors import ForbiddenError
from holdfast.identity.policy import Caller, Role
from holdfast.store.model import Json


class Right(msgspec.Struct, frozen=True, kw_only=True):
    """The role that it takes: of operators, in the owner's project, in the lessee's.

    None: that side may not at all, whatever its role.
    """

    what: str
    system: Role = Role.MEMBER
    owner: Role | None = Role.MEMBER
    lessee: Role | None = None


def _update(what: str, *, owner: Role | None = Role.MEMBER, system: Role = Role.MEMBER) -> Right:
    return Right(what=f"changing {what}", owner=owner, system=system)


PROVISION: Final = Right(what="changing its provision state", lessee=Role.ADMIN)
POWER: Final = Right(what="changing its power state", lessee=Role.MEMBER)
VALIDATE: Final = Right(what="validating it", lessee=Role.ADMIN)
MAINTENANCE: Final = Right(what="setting maintenance", lessee=Role.ADMIN)
VIFS: Final = Right(what="attaching and detaching VIFs", lessee=Role.ADMIN)
MEDIA: Final = Right(what="attaching and detaching media", lessee=Role.MEMBER)
RAID: Final = Right(what="configuring RAID")
CONSOLE: Final = Right(what="using its console")
BOOT_DEVICE: Final = Right(what="its boot device", owner=Role.ADMIN)
NMI: Final = Right(what="injecting an NMI", owner=Role.ADMIN)
TRAITS: Final = Right(what="setting its traits", owner=Role.ADMIN)
ALLOCATE: Final = Right(what="allocating it")
DELETE: Final = Right(what="deleting it", system=Role.ADMIN, owner=Role.ADMIN)
ADD_PORT: Final = Right(what="adding a port", system=Role.ADMIN, owner=Role.ADMIN)
ADD_PORTGROUP: Final = Right(what="adding a port group", system=Role.ADMIN, owner=Role.ADMIN)
OF_PORTS: Final = Right(what="changing its ports", owner=Role.ADMIN)
OF_PORTGROUPS: Final = Right(what="changing its port groups", owner=Role.ADMIN)
HISTORY: Final = Right(what="its history", system=Role.READER, owner=Role.READER)
INVENTORY: Final = Right(what="its inventory", system=Role.READER, owner=Role.READER)

_EXTRA: Final = Right(what="changing extra", lessee=Role.MEMBER)
_INSTANCE_INFO: Final = Right(what="changing instance_info", lessee=Role.ADMIN)
_OPERATORS = {
    "chassis_uuid": Role.ADMIN,
    "conductor_group": Role.MEMBER,
    "owner": Role.MEMBER,
    "parent_node": Role.MEMBER,
    "shard": Role.ADMIN,
}


def right_to_change(name: str, value: Json) -> Right:
    """What it takes to give a node's field this value."""
    if name == "extra":
        return _EXTRA
    if name == "instance_info":
        return _INSTANCE_INFO
    if name in ("maintenance", "maintenance_reason"):
        return MAINTENANCE
    if name in _OPERATORS:
        return _update(name, owner=None, system=_OPERATORS[name])
    if name == "automated_clean" and value is False:
        return _update("automated_clean to false", owner=None, system=Role.ADMIN)
    if name == "driver" or name.endswith("_interface"):
        return _update(name, owner=Role.ADMIN)
    return _update(name)


def may(caller: Caller, node: NodeRow, right: Right) -> bool:
    """Whether the caller has the right, by any side it is on."""
    needed: list[Role | None] = []
    if caller.everywhere:
        needed.append(right.system)
    if node.belongs_to(caller):
        needed.append(right.owner)
    if caller.project_id is not None and caller.project_id == node.lessee:
        needed.append(right.lessee)
    return any(role is not None and caller.has(role) for role in needed)


def require(caller: Caller, node: NodeRow, right: Right) -> None:
    """Raise ``ForbiddenError`` unless the caller has the right, saying whose it is."""
    if may(caller, node, right):
        return
    if caller.everywhere:
        whose = f"needs the role {right.system}"
    elif node.belongs_to(caller):
        whose = (
            "is the operators' business, not its project's"
            if right.owner is None
            else f"needs the role {right.owner} in its project"
        )
    elif right.lessee is None:
        whose = (
            f"is its {'owner' if right.owner else 'operator'}'s business: "
            f"it is only leased to project {caller.project_id}"
        )
    else:
        whose = f"needs the role {right.lessee} in the project it is leased to"
    raise ForbiddenError(f"Node {node.label}: {right.what} {whose}")


def require_changes(caller: Caller, node: NodeRow, changed: Mapping[str, Json]) -> None:
    """Raise ``ForbiddenError`` for the first changed field that is not the caller's."""
    for name, value in changed.items():
        require(caller, node, right_to_change(name, value))
