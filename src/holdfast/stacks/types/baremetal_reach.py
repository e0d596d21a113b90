"""The bare-metal product as resource types reach it: on behalf of the stack's user.

Whatever is made gets a UUID that comes from the resource's key, so that making it again finds it.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Final, cast
from uuid import UUID, uuid5

import msgspec

from holdfast.baremetal.service import Baremetal
from holdfast.baremetal.service.filters import NodeFilter, PageQuery, PortFilter
from holdfast.baremetal.service.reading import ALLOCATIONS, PORTGROUPS, PORTS, Resource
from holdfast.baremetal.service.verbs import PowerRequest, ProvisionRequest
from holdfast.errors import HoldfastError, NotFoundError
from holdfast.identity.policy import Caller
from holdfast.stacks.resource import ResourceContext, ResourceFailedError
from holdfast.stacks.types.callers import caller_of, on_behalf
from holdfast.store.model import Json

Document = dict[str, Any]

_NAMESPACE: Final = UUID("6f1f5d3a-8f0e-4b52-9d1c-3b0a5e7c9e21")
_BUSY: Final = frozenset({"node_locked", "invalid_transition"})
_NODE: Final = (
    *("uuid", "name", "provision_state", "target_provision_state", "power_state", "last_error"),
    *("target_power_state", "instance_uuid", "instance_info", "resource_class", "traits"),
    *("properties", "provision_updated_at", "maintenance"),
)
_ALLOCATION: Final = ("uuid", "state", "node_uuid", "last_error", "extra")
_PORT: Final = (
    *("uuid", "address", "node_uuid", "portgroup_uuid", "local_link_connection", "pxe_enabled"),
    *("physical_network", "internal_info", "extra", "is_smartnic", "name"),
)


def is_busy(fault: HoldfastError) -> bool:
    """Whether the node is just in other hands, or in another state: to be looked at again."""
    return fault.code in _BUSY


def derived(ctx: ResourceContext, what: str) -> UUID:
    """The UUID of what this resource makes."""
    return uuid5(_NAMESPACE, f"{ctx.key}/{what}")


class Reach:
    """One operation's way to bare metal. Every method that changes something guards first."""

    def __init__(self, ctx: ResourceContext, baremetal: Baremetal, caller: Caller) -> None:
        self._ctx = ctx
        self._baremetal = baremetal
        self._caller = caller

    # -- reading ------------------------------------------------------------------------

    async def node(self, ident: str) -> Document:
        """A node by UUID or name. Raises ``NotFoundError``."""
        return _decoded(await self._baremetal.read.node(self._caller, ident, _NODE))

    async def allocation(self, uuid: UUID) -> Document | None:
        """An allocation, if it is there."""
        return await self._one(ALLOCATIONS, str(uuid), _ALLOCATION)

    async def port(self, uuid: UUID | str) -> Document | None:
        """A port, if it is there."""
        return await self._one(PORTS, str(uuid), _PORT)

    async def portgroup(self, ident: str) -> str:
        """The UUID of a port group. Raises ``NotFoundError``."""
        found = await self._baremetal.read.one(PORTGROUPS, self._caller, ident, ("uuid",))
        return found["_uuid"]

    async def addresses(self, node: str) -> list[str]:
        """The MAC addresses of a node's ports, sorted."""
        query = PageQuery(fields=("address",))
        found = await self._baremetal.read.ports(self._caller, PortFilter(node=node), query)
        return sorted(port["address"] for port in found)

    async def free_nodes(self, group: str, resource_class: str) -> list[str]:
        """Nodes of a conductor group and class that are available and nobody's."""
        asked = NodeFilter(
            conductor_group=group,
            resource_class=resource_class,
            provision_state="available",
            associated=False,
            maintenance=False,
        )
        found = await self._baremetal.read.nodes(self._caller, asked, PageQuery(fields=("uuid",)))
        return [node["_uuid"] for node in found]

    async def _one(self, of: Resource, ident: str, fields: tuple[str, ...]) -> Document | None:
        try:
            return _decoded(await self._baremetal.read.one(of, self._caller, ident, fields))
        except NotFoundError:
            return None

    # -- changing -----------------------------------------------------------------------

    async def allocate(self, document: Document) -> None:
        """Ask for a node."""
        with self._acting():
            await self._baremetal.allocations.create(self._caller, document)

    async def describe(self, allocation: UUID, extra: Mapping[str, Json]) -> None:
        """Set what is noted with an allocation."""
        patch = [{"op": "add", "path": "/extra", "value": dict(extra)}]
        with self._acting():
            await self._baremetal.allocations.update(self._caller, str(allocation), patch)

    async def release(self, allocation: UUID) -> None:
        """Give the node back; nothing if that has been done."""
        with self._acting():
            try:
                await self._baremetal.allocations.delete(self._caller, str(allocation))
            except NotFoundError:
                return

    async def change_node(self, node: str, patch: list[dict[str, Json]]) -> None:
        """Apply a JSON patch to a node."""
        with self._acting():
            await self._baremetal.nodes.update(self._caller, node, patch)

    async def provision(self, node: str, verb: str, drive: Json = None) -> None:
        """Start what a provision verb means."""
        asked = ProvisionRequest(target=verb, configdrive=drive)
        with self._acting():
            await self._baremetal.verbs.provision(self._caller, node, asked)

    async def power(self, node: str, target: str) -> None:
        """Start a change of power state."""
        with self._acting():
            await self._baremetal.verbs.power(self._caller, node, PowerRequest(target=target))

    async def create_port(self, document: Document) -> None:
        """Add a port to a node."""
        with self._acting():
            await self._baremetal.ports.create(self._caller, document)

    async def change_port(self, port: str, patch: list[dict[str, Json]]) -> None:
        """Apply a JSON patch to a port."""
        with self._acting():
            await self._baremetal.ports.update(self._caller, port, patch)

    async def delete_port(self, port: str) -> None:
        """Delete a port; nothing if it is gone."""
        with self._acting():
            try:
                await self._baremetal.ports.delete(self._caller, port)
            except NotFoundError:
                return

    def _acting(self) -> AbstractContextManager[None]:
        self._ctx.guard()
        return on_behalf(self._caller)


def _decoded(document: Document) -> Document:
    return {
        name: msgspec.json.decode(value) if isinstance(value, msgspec.Raw) else value
        for name, value in document.items()
    }


async def reach(ctx: ResourceContext) -> Reach:
    """The way to bare metal. Raises ``ResourceFailedError`` if this engine has none."""
    baremetal = ctx.call.get("baremetal")
    if baremetal is None:
        raise ResourceFailedError(
            "this deployment has no bare metal: its conductors are not set up"
        )
    return Reach(ctx, cast("Baremetal", baremetal), await caller_of(ctx))
