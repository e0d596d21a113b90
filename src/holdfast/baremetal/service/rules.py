"""What may be written to a node, by whom and when. Pure."""

from __future__ import annotations

import re
from uuid import UUID

from holdfast.baremetal.credentials import MASK
from holdfast.baremetal.drivers import (
    CONNECTION,
    INTERFACES,
    Driver,
    connection_fault,
    is_secret,
)
from holdfast.baremetal.errors import NodeProtectedError
from holdfast.baremetal.fields import Field, Object
from holdfast.baremetal.service.rights import require_changes
from holdfast.baremetal.service.rows import NodeRow, as_uuid, is_name
from holdfast.baremetal.states import RECONFIGURABLE, Provision
from holdfast.errors import ConflictError, ForbiddenError, InvalidInputError
from holdfast.identity.policy import Caller
from holdfast.store.model import Json

_TRAIT = re.compile(r"(?=.{1,255}\Z)(?:CUSTOM|COMPUTE|HW|MISC|OWNER|STORAGE)_[A-Z0-9_]+")
_RESERVED = frozenset(
    {
        *("allocation", "bios", "children", "detail", "firmware", "history", "inventory"),
        *("maintenance", "management", "portgroups", "ports", "states", "traits", "validate"),
        *("vendor_passthru", "vifs", "vmedia", "volume"),
    }
)
"""Words that have a meaning of their own in the API's paths."""

_DEFAULTS: dict[str, Json] = {
    "conductor_group": "",
    "mode": "active-backup",
    "pxe_enabled": True,
    "standalone_ports_supported": True,
}


def check_name(name: str | None) -> None:
    """Raise ``InvalidInputError`` for what cannot stand in a path instead of a UUID."""
    if name is None:
        return
    if not is_name(name) or name in _RESERVED or as_uuid(name):
        raise InvalidInputError(
            f"Cannot use the invalid name '{name}': a name has letters, digits and . _ ~ - only, "
            "at most 255 of them, and is neither a UUID nor a word of the API's paths"
        )


def check_traits(traits: list[str]) -> None:
    """Raise ``InvalidInputError`` for more than 50, or one that is no trait's name."""
    if len(traits) > 50:
        raise InvalidInputError("A node cannot have more than 50 traits")
    if wrong := [trait for trait in traits if not _TRAIT.fullmatch(trait)]:
        raise InvalidInputError(
            f"Invalid traits: {', '.join(wrong)}; a trait is a standard one or begins with "
            "CUSTOM_, and has only A-Z, 0-9 and _"
        )


def check_creation(caller: Caller, given: dict[str, Json]) -> None:
    """Whether the caller may create such a node."""
    check_name(given.get("name"))
    _lower_group(given)
    owner = given.get("owner")
    if owner is not None and not caller.everywhere and owner != caller.project_id:
        raise ForbiddenError(
            f"Only an administrator of the system may create a node for project {owner}: "
            "leave owner out and the node is your project's"
        )


def check_change(caller: Caller, node: NodeRow, changed: dict[str, Json]) -> None:
    """Whether the caller may change these fields of this node in its present state.

    A node's owner is changed by whoever reaches both sides of the move: the admin project.
    """
    require_changes(caller, node, changed)
    check_name(changed.get("name"))
    _lower_group(changed)
    fixed = [
        name
        for name in changed
        if name in ("driver", "resource_class", "conductor_group") or name.endswith("_interface")
    ]
    if fixed and not node.maintenance and node.provision_state not in RECONFIGURABLE:
        raise ConflictError(
            f"Node {node.label} can not have {', '.join(fixed)} updated while it is in state "
            f"'{node.provision_state}': it must be in one of {', '.join(sorted(RECONFIGURABLE))}, "
            "or in maintenance"
        )
    _check_marks(node, changed)
    if "instance_uuid" in changed and node.allocation_uuid is not None:
        raise ConflictError(
            f"Node {node.label} has its instance by allocation {node.allocation_uuid}: "
            "delete that to take it away"
        )
    if changed.get("instance_uuid") is not None and node.instance_uuid is not None:
        raise ConflictError(
            f"Node {node.label} is associated with instance {node.instance_uuid}: "
            "remove that before associating another"
        )


def check_connection(was: dict[str, Json], now: dict[str, Json]) -> None:
    """Whether ``driver_info`` may be changed so. Raises ``InvalidInputError``.

    Secrets go where the other keys say. Who may write those need not know the secrets, so
    none that is stored is sent anywhere but where it was meant for.
    """
    changed = {key: now.get(key) for key in (*was, *now) if was.get(key) != now.get(key)}
    if fault := connection_fault(changed):
        raise InvalidInputError(fault)
    moved = [key for key in CONNECTION if key in changed]
    kept = sorted(key for key, value in now.items() if is_secret(key) and value == MASK)
    if was and moved and kept:
        raise InvalidInputError(
            f"Changing driver_info/{', '.join(moved)} would send the stored {', '.join(kept)} "
            f"elsewhere: send {', '.join(kept)} again along with it, in the same patch"
        )


def _check_marks(node: NodeRow, changed: dict[str, Json]) -> None:
    """Marks of the operators': where they may be set, and that their reasons go with them."""
    if changed.get("protected") and node.provision_state != Provision.ACTIVE:
        raise ConflictError(
            f"Node {node.label} can not have protected set while in state "
            f"'{node.provision_state}': only an active node can"
        )
    if changed.get("retired") and node.provision_state == Provision.AVAILABLE:
        raise ConflictError(
            f"Node {node.label} can not be retired while it is available: make it manageable first"
        )
    for mark, now in (("protected", node.protected), ("retired", node.retired)):
        reason = f"{mark}_reason"
        if changed.get(mark) is False:
            changed[reason] = None
        elif changed.get(reason) is not None and not changed.get(mark, now):
            raise InvalidInputError(f"{reason} goes with {mark}: set {mark} too")
    if changed.get("maintenance") is False:
        changed |= {"maintenance_reason": None, "fault": None}


def protected(node: NodeRow) -> NodeProtectedError:
    """What to raise when a protected node would go."""
    return NodeProtectedError(
        f"Node {node.label} is protected and can not be undeployed, rebuilt or deleted: "
        "unset protected first"
    )


def _lower_group(values: dict[str, Json]) -> None:
    """Conductor groups are case-insensitive, kept in lower case."""
    if "conductor_group" in values:
        values["conductor_group"] = str(values["conductor_group"]).lower()


def interfaces_of(
    driver: Driver, present: dict[str, str], asked: dict[str, Json]
) -> dict[str, str]:
    """All interfaces of a node by field: what is asked for, else what it has, else the default.

    Asked for with None: the default. Raises ``InvalidInputError`` naming the enabled ones.
    """
    chosen: dict[str, str] = {}
    for kind in INTERFACES:
        enabled = driver.interfaces[kind]
        name = f"{kind}_interface"
        wanted = asked[name] if name in asked else present.get(name)
        wanted = driver.default(kind) if wanted is None else wanted
        if wanted not in enabled:
            raise InvalidInputError(
                f"Could not find the {kind} interface '{wanted}' for driver {driver.name}; "
                f"enabled: {', '.join(enabled)}"
            )
        chosen[name] = wanted
    return chosen


def default_of(field: Field) -> Json:
    """The value of a field that a patch removed.

    Raises ``InvalidInputError`` for a mandatory one.
    """
    if field.name in _DEFAULTS:
        return _DEFAULTS[field.name]
    if field.type in (str, UUID):
        raise InvalidInputError(f"'/{field.name}' is a mandatory attribute and can not be removed")
    if field.type == Object:
        return {}
    return False if field.type is bool else None
