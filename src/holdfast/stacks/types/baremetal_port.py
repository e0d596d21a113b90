"""Ports of nodes: ``OS::Ironic::Port`` and ``Holdfast::Baremetal::Port``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from holdfast.errors import HoldfastError
from holdfast.stacks.hot.properties import PropertySchema
from holdfast.stacks.resource import (
    Attribute,
    Base,
    Change,
    Progress,
    Ready,
    ResourceContext,
    ResourceFailedError,
    Wait,
)
from holdfast.stacks.types.baremetal_reach import Reach, derived, is_busy, reach
from holdfast.stacks.types.schemas import boolean, mapping, string
from holdfast.store.model import Json

BUSY_S: Final = 2.0

_PROPERTIES: Final[Mapping[str, PropertySchema]] = {
    "node": string("The node it belongs to, by UUID or name.", required=True, updates=True),
    "address": string("Its hardware address (MAC).", required=True, updates=True),
    "portgroup": string("The port group it belongs to, by UUID or name.", updates=True),
    "local_link_connection": mapping(
        "The switch port it is plugged into: switch_id, port_id and, if you like, switch_info.",
        updates=True,
    ),
    "pxe_enabled": boolean("Whether the node boots from the network by it.", updates=True),
    "physical_network": string("The physical network it is connected to.", updates=True),
    "extra": mapping("Whatever you want to note with it.", updates=True),
    "is_smartnic": boolean("Whether it is a port of a Smart NIC.", updates=True),
}
_ATTRIBUTES: Final[Mapping[str, Attribute]] = {
    "address": Attribute(description="The hardware address."),
    "node_uuid": Attribute(description="The UUID of the node."),
    "portgroup_uuid": Attribute(description="The UUID of the port group."),
    "local_link_connection": Attribute(description="The switch port.", type="map"),
    "pxe_enabled": Attribute(description="Whether it is booted from.", type="boolean"),
    "physical_network": Attribute(description="The physical network."),
    "internal_info": Attribute(description="What Holdfast notes with it.", type="map"),
    "extra": Attribute(description="What you noted with it.", type="map"),
    "is_smartnic": Attribute(description="Whether it is of a Smart NIC.", type="boolean"),
}


class IronicPort(Base):
    """``OS::Ironic::Port``."""

    name = "OS::Ironic::Port"
    description = "A port of a bare-metal node: a network card by which the node is known."

    @property
    def properties(self) -> Mapping[str, PropertySchema]:
        return _PROPERTIES

    @property
    def attributes(self) -> Mapping[str, Attribute]:
        return _ATTRIBUTES

    async def create(self, ctx: ResourceContext) -> Progress:
        way, uuid = await reach(ctx), derived(ctx, "port")
        if await way.port(uuid) is None:
            fields = await _fields(way, ctx.properties)
            given = {name: value for name, value in fields.items() if value is not None}
            await way.create_port({"uuid": str(uuid), **given})
        return await self._shown(way, str(uuid))

    async def update(self, ctx: ResourceContext) -> Change:
        way, port = await reach(ctx), _port_of(ctx)
        changed = {name: ctx.properties.get(name) for name in ctx.changed & _fielded(self)}
        patch = [
            {"op": "remove", "path": f"/{name}"}
            if value is None
            else {"op": "add", "path": f"/{name}", "value": value}
            for name, value in (await _fields(way, changed)).items()
        ]
        if patch:
            try:
                await way.change_port(port, patch)
            except HoldfastError as fault:
                return _later(fault)
        return await self._shown(way, port)

    async def delete(self, ctx: ResourceContext) -> Progress:
        way = await reach(ctx)
        try:
            await way.delete_port(_port_of(ctx))
        except HoldfastError as fault:
            return _later(fault)
        return Ready()

    async def observe(self, ctx: ResourceContext) -> Progress:
        return await self._shown(await reach(ctx), _port_of(ctx))

    async def _shown(self, way: Reach, port: str) -> Ready:
        found = await way.port(port)
        if found is None:
            raise ResourceFailedError(f"port {port} is not there any more")
        known = {name: found[name] for name in self.attributes}
        return Ready(physical_id=port, attributes=known)


class BaremetalPort(IronicPort):
    """``Holdfast::Baremetal::Port``."""

    name = "Holdfast::Baremetal::Port"

    @property
    def properties(self) -> Mapping[str, PropertySchema]:
        return {**_PROPERTIES, "name": string("Its name, unique among ports.", updates=True)}

    @property
    def attributes(self) -> Mapping[str, Attribute]:
        return {**_ATTRIBUTES, "name": Attribute(description="Its name.")}


def _fielded(kind: IronicPort) -> set[str]:
    return set(kind.properties)


def _port_of(ctx: ResourceContext) -> str:
    return ctx.row.physical_id or str(derived(ctx, "port"))


def _later(fault: HoldfastError) -> Wait:
    """While a job has the node in hand its ports cannot change: ask again."""
    if not is_busy(fault):
        raise fault
    return Wait(seconds=BUSY_S, reason=fault.message)


async def _fields(way: Reach, given: Mapping[str, Json]) -> dict[str, Any]:
    """Properties as the fields of a port; names resolved."""
    fields = {n: value for n, value in given.items() if n not in ("node", "portgroup")}
    if given.get("node") is not None:
        fields["node_uuid"] = (await way.node(given["node"]))["uuid"]
    if "portgroup" in given:
        group = given["portgroup"]
        fields["portgroup_uuid"] = None if group is None else await way.portgroup(group)
    return fields
