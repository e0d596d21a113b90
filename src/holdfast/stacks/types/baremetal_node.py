"""``Holdfast::Baremetal::Node``: a machine, for as long as the resource lives.

Every operation looks at the allocation and the node as they are and does the next thing that is
missing; so it goes on wherever another engine left off::

    create: allocate .. allocated -> instance_info -> deploy .. active -> power
    update: notes -> (rebuild .. active) -> power
    delete: undeploy (or abort first) .. available -> release
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from holdfast.errors import HoldfastError, InvalidInputError, NotFoundError
from holdfast.stacks.hot.constraints import AllowedValues
from holdfast.stacks.hot.properties import PropertySchema
from holdfast.stacks.hot.shapes import is_map
from holdfast.stacks.resource import (
    Attribute,
    Base,
    Change,
    Progress,
    Ready,
    Replace,
    ResourceContext,
    ResourceFailedError,
    Wait,
)
from holdfast.stacks.types.baremetal_reach import Document, Reach, derived, is_busy, reach
from holdfast.stacks.types.configs import configuration
from holdfast.stacks.types.schemas import anything, listing, mapping, string
from holdfast.stacks.types.typed import entries
from holdfast.store.model import Json

ALLOCATE_S: Final = 1.0
WORK_S: Final = 5.0
"""How soon a node is looked at again, while it is allocated and while it works."""

_WORKING: Final = ("deploying", "wait call-back")
_LEAVING: Final = ("deleting", "cleaning", "clean wait")
_DEPLOYED: Final = ("active", "deploy failed", "error", "wait call-back")
_IMAGE: Final = {
    "image": "image_source",
    "image_checksum": "image_checksum",
    "kernel": "kernel",
    "ramdisk": "ramdisk",
    "name": "display_name",
}
_BOOTED: Final = frozenset({*_IMAGE, "instance_info", "config_drive", "user_data"})
"""Properties that only a new deployment brings to the machine."""

_PROPERTIES: Final[Mapping[str, PropertySchema]] = {
    "resource_class": string("The class of machines to take one of."),
    "traits": listing("Traits that it must have.", of=string("A trait."), default=[]),
    "conductor_group": string("The conductor group it must be in."),
    "node": string("The very node to take, by UUID or name; else any that fits."),
    "name": string("What the machine is called on itself.", updates=True),
    "image": string(
        "The address of the image to deploy. Without it the machine is only allocated.",
        updates=True,
    ),
    "image_checksum": string("Its checksum, or the address of a file of checksums.", updates=True),
    "kernel": string("The address of the kernel, for an image of a partition.", updates=True),
    "ramdisk": string("The address of the ramdisk, for an image of a partition.", updates=True),
    "instance_info": mapping("Further entries of the node's instance_info.", updates=True),
    "image_update_policy": string(
        "What a change of what was deployed does: rebuild the machine, or replace it by another.",
        AllowedValues(("rebuild", "replace")),
        default="rebuild",
        updates=True,
    ),
    "config_drive": anything(
        "The config drive: a map of meta_data, network_data, vendor_data and user_data, or a text "
        "(its address, or a gzipped ISO image in base64).",
        updates=True,
    ),
    "user_data": string(
        "User data for cloud-init: a text, or a reference to a software configuration.",
        updates=True,
    ),
    "metadata": mapping("Whatever you want to note with the allocation.", updates=True),
    "power_state": string(
        "Whether the machine is on or off once it is deployed.",
        AllowedValues(("on", "off")),
        default="on",
        updates=True,
    ),
}
_ATTRIBUTES: Final[Mapping[str, Attribute]] = {
    "node": Attribute(description="The UUID of the node; referring to the resource gives it."),
    "name": Attribute(description="The name of the node."),
    "allocation": Attribute(description="The UUID of the allocation."),
    "resource_class": Attribute(description="The class of the machine."),
    "traits": Attribute(description="The traits of the machine.", type="list"),
    "properties": Attribute(description="What the machine has: cpus, memory_mb …", type="map"),
    "addresses": Attribute(description="The hardware addresses of its ports.", type="list"),
    "provision_state": Attribute(description="The provision state when it was last looked at."),
    "power_state": Attribute(description="The power state when it was last looked at."),
}


class BaremetalNode(Base):
    """Not interruptible: a deployment that has begun is cheaper to finish than to break off."""

    name = "Holdfast::Baremetal::Node"
    description = (
        "A bare-metal machine: allocated by class, traits and conductor group, or a given one; "
        "deployed with an image; undeployed and given back when the resource is deleted."
    )
    interruptible = False

    @property
    def properties(self) -> Mapping[str, PropertySchema]:
        return _PROPERTIES

    @property
    def attributes(self) -> Mapping[str, Attribute]:
        return _ATTRIBUTES

    def check(self, properties: Mapping[str, Json]) -> None:
        if properties.get("resource_class") is None and properties.get("node") is None:
            raise InvalidInputError("resource_class or node: say which machine to take")
        if properties.get("node") is not None and properties.get("conductor_group") is not None:
            raise InvalidInputError("conductor_group: a given node is where it is; leave it out")
        drive = properties.get("config_drive")
        if drive is not None and not (isinstance(drive, str) or is_map(drive)):
            raise InvalidInputError("config_drive: this is a map or a text")
        if isinstance(drive, str) and properties.get("user_data") is not None:
            raise InvalidInputError("user_data: it cannot be put into a finished config_drive")
        if properties.get("image") is None and (drive or properties.get("user_data")):
            raise InvalidInputError("image: without one there is nothing to give user data to")

    # -- create -------------------------------------------------------------------------

    async def create(self, ctx: ResourceContext) -> Progress:
        way = await reach(ctx)
        node = await _allocated(ctx, way)
        if isinstance(node, Wait):
            return node
        try:
            return await _deployed(ctx, way, node) or await _powered(ctx, way, node)
        except HoldfastError as fault:
            return _later(node, fault)

    # -- update -------------------------------------------------------------------------

    async def update(self, ctx: ResourceContext) -> Change:
        booted = ctx.changed & _BOOTED
        if booted and _must_replace(ctx):
            return Replace(f"{', '.join(sorted(booted))} changed, and image_update_policy says so")
        way = await reach(ctx)
        node = await way.node(_node_of(ctx))
        _require_ours(ctx, node)
        try:
            if "metadata" in ctx.changed:
                await way.describe(derived(ctx, "allocation"), entries(ctx.properties["metadata"]))
            if booted and (wait := await _rebuilt(ctx, way, node)) is not None:
                return wait
            return await _powered(ctx, way, node)
        except HoldfastError as fault:
            return _later(node, fault)

    # -- delete -------------------------------------------------------------------------

    async def delete(self, ctx: ResourceContext) -> Progress:
        way, allocation = await reach(ctx), derived(ctx, "allocation")
        held = await way.allocation(allocation)
        ident = held["node_uuid"] if held is not None else ctx.row.physical_id
        node = None if ident is None else await _node_if_there(way, str(ident))
        if node is None:
            await way.release(allocation)
            return Ready()
        try:
            return await _gone(ctx, way, node, held)
        except HoldfastError as fault:
            return _later(node, fault)

    # -- the others ---------------------------------------------------------------------

    async def observe(self, ctx: ResourceContext) -> Progress:
        way = await reach(ctx)
        node = await way.node(_node_of(ctx))
        _require_ours(ctx, node)
        wanted = "available" if ctx.properties.get("image") is None else "active"
        if node["provision_state"] != wanted:
            raise ResourceFailedError(_about(node, f"it should be {wanted}"))
        return await _shown(way, node)

    async def suspend(self, ctx: ResourceContext) -> Progress:
        return await self._switched(ctx, "power off")

    async def resume(self, ctx: ResourceContext) -> Progress:
        return await self._switched(ctx, _wanted_power(ctx))

    async def _switched(self, ctx: ResourceContext, power: str) -> Progress:
        way = await reach(ctx)
        node = await way.node(_node_of(ctx))
        _require_ours(ctx, node)
        try:
            return await _powered(ctx, way, node, power)
        except HoldfastError as fault:
            return _later(node, fault)


def _must_replace(ctx: ResourceContext) -> bool:
    """Whether another machine is to come in place of this one. A given node has no other."""
    if ctx.properties.get("node") is not None:
        return False
    removed = ctx.before.get("image") is not None and ctx.properties.get("image") is None
    return removed or ctx.properties["image_update_policy"] == "replace"


def _node_of(ctx: ResourceContext) -> str:
    if ctx.row.physical_id is None:
        raise ResourceFailedError("no machine was allocated")
    return ctx.row.physical_id


def _require_ours(ctx: ResourceContext, node: Document) -> None:
    if node["instance_uuid"] != str(derived(ctx, "allocation")):
        raise ResourceFailedError(
            f"node {node['name'] or node['uuid']} is not this stack's any more: "
            "it was released, or given to somebody else"
        )


def _about(node: Document, what: str) -> str:
    label = node["name"] or node["uuid"]
    why = f": {node['last_error']}" if node["last_error"] else ""
    return f"node {label} is in provision state '{node['provision_state']}'; {what}{why}"


def _later(node: Document, fault: HoldfastError) -> Wait:
    """A node in other hands is looked at again; any other fault is one."""
    if not is_busy(fault):
        raise fault
    return Wait(seconds=ALLOCATE_S, physical_id=node["uuid"], reason=fault.message)


def _wait(node: Document, reason: str, data: dict[str, Json] | None = None) -> Wait:
    return Wait(seconds=WORK_S, physical_id=node["uuid"], reason=reason, data=data)


async def _node_if_there(way: Reach, ident: str) -> Document | None:
    try:
        return await way.node(ident)
    except NotFoundError:
        return None


async def _allocated(ctx: ResourceContext, way: Reach) -> Document | Wait:
    """The machine that the resource has got, or a wait for it."""
    uuid = derived(ctx, "allocation")
    held = await way.allocation(uuid)
    if held is None:
        if ctx.row.physical_id is not None:
            raise ResourceFailedError("the allocation is gone: somebody else released the machine")
        await way.allocate({"uuid": str(uuid), **await _asked(ctx, way)})
        return Wait(seconds=ALLOCATE_S, reason="a machine is asked for")
    if held["state"] == "allocating":
        return Wait(seconds=ALLOCATE_S, reason="a machine is asked for")
    if held["state"] != "active":
        raise ResourceFailedError(str(held["last_error"]))
    node = await way.node(held["node_uuid"])
    _require_ours(ctx, node)
    return node


async def _asked(ctx: ResourceContext, way: Reach) -> Document:
    """The allocation to ask for."""
    asked = ctx.properties
    kind: str | None = asked.get("resource_class")
    document: Document = {"traits": asked["traits"], "extra": entries(asked.get("metadata"))}
    if (ident := asked.get("node")) is not None:
        node = await way.node(ident)
        kind = kind or node["resource_class"]
        document["candidate_nodes"] = [node["uuid"]]
        if kind is None:
            raise ResourceFailedError(f"node {ident} has no resource_class: give it one")
    elif (group := asked.get("conductor_group")) is not None:
        document["candidate_nodes"] = await way.free_nodes(group, str(kind))
        if not document["candidate_nodes"]:
            raise ResourceFailedError(
                f"no available node of resource class {kind} is in conductor group {group!r}"
            )
    return {**document, "resource_class": kind}


async def _deployed(ctx: ResourceContext, way: Reach, node: Document) -> Wait | None:
    """Deploy the machine, or wait until it is."""
    state = node["provision_state"]
    if ctx.properties.get("image") is None or state == "active":
        return None
    if state == "available" and not ctx.data.get("deploying"):
        if patch := _info_patch(ctx, node):
            await way.change_node(node["uuid"], patch)
        await way.provision(node["uuid"], "active", await _drive(ctx))
        return _wait(node, "deployment begins", {**ctx.data, "deploying": True})
    if state in _WORKING:
        return _wait(node, state, {**ctx.data, "deploying": True})
    raise ResourceFailedError(_about(node, "its deployment failed"))


def _info_patch(ctx: ResourceContext, node: Document) -> list[dict[str, Json]]:
    """What makes the node's instance_info what the properties say."""
    wanted = {field: ctx.properties.get(name) for name, field in _IMAGE.items()}
    wanted |= entries(ctx.properties.get("instance_info"))
    dropped = entries(ctx.before.get("instance_info")).keys() - wanted.keys()
    has = entries(node["instance_info"])
    patch: list[dict[str, Json]] = []
    for key, value in (wanted | dict.fromkeys(dropped)).items():
        path = f"/instance_info/{key.replace('~', '~0').replace('/', '~1')}"
        if value is None and key in has:
            patch.append({"op": "remove", "path": path})
        elif value is not None and has.get(key) != value:
            patch.append({"op": "add", "path": path, "value": value})
    return patch


async def _drive(ctx: ResourceContext) -> Json:
    """The config drive, or None for none."""
    drive: Json = ctx.properties.get("config_drive")
    said: str | None = ctx.properties.get("user_data")
    if said is None:
        return drive
    return {**entries(drive), "user_data": await configuration(ctx, said)}


async def _rebuilt(ctx: ResourceContext, way: Reach, node: Document) -> Wait | None:
    """Deploy anew on the same machine. Its last change of state tells whether that was done."""
    noted = entries(ctx.data.get("rebuild"))
    if noted.get("began") != ctx.started_at:
        noted = {"began": ctx.started_at, "since": node["provision_updated_at"]}
        return Wait(seconds=0.0, data={**ctx.data, "rebuild": noted})
    state, moved = node["provision_state"], node["provision_updated_at"] != noted["since"]
    if state in _WORKING:
        return _wait(node, state)
    if state == "active" and moved:
        return None
    if moved or state not in ("active", "available", "deploy failed", "error"):
        raise ResourceFailedError(_about(node, "its deployment failed"))
    if patch := _info_patch(ctx, node):
        await way.change_node(node["uuid"], patch)
    verb = "active" if state == "available" else "rebuild"
    await way.provision(node["uuid"], verb, await _drive(ctx))
    return _wait(node, f"{verb} begins")


def _wanted_power(ctx: ResourceContext) -> str:
    return f"power {ctx.properties['power_state']}"


async def _powered(
    ctx: ResourceContext, way: Reach, node: Document, wanted: str | None = None
) -> Progress:
    """Switch the machine as wanted, or wait until it is; then all is done."""
    wanted = wanted or _wanted_power(ctx)
    if node["power_state"] == wanted and node["target_power_state"] is None:
        return await _shown(way, node)
    if node["target_power_state"] != wanted:
        await way.power(node["uuid"], wanted)
    return _wait(node, f"{wanted} is asked for")


async def _shown(way: Reach, node: Document) -> Ready:
    known = {name: node[name] for name in _ATTRIBUTES.keys() & node.keys()}
    known |= {
        "node": node["uuid"],
        "allocation": node["instance_uuid"],
        "addresses": await way.addresses(node["uuid"]),
    }
    return Ready(physical_id=node["uuid"], attributes=known, data={})


async def _gone(
    ctx: ResourceContext, way: Reach, node: Document, held: Document | None
) -> Progress:
    """Undeploy what is deployed, however far it is; then give the machine back."""
    state, allocation = node["provision_state"], derived(ctx, "allocation")
    if held is None and node["instance_uuid"] != str(allocation):
        # Undeploying has ended the allocation; what is left is that the machine is cleaned.
        if ctx.data.get("leaving") and node["instance_uuid"] is None and state in _LEAVING:
            return _wait(node, state)
        return Ready()
    leaving = {**ctx.data, "leaving": True}
    if state in _LEAVING:
        return _wait(node, state, leaving)
    if state == "deploying":
        await way.provision(node["uuid"], "abort")
        return _wait(node, "its deployment is broken off", leaving)
    if state in _DEPLOYED:
        await way.provision(node["uuid"], "deleted")
        return _wait(node, "it is undeployed", leaving)
    await way.release(allocation)
    return Ready()
