"""``baremetal.jobs.belongings.Belongings`` in memory, beside ``sim.memstore``."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from holdfast.sim.memtables import Tables, as_json
from holdfast.store.model import Fence, Json


class MemBelongings:
    """Each method runs without giving way: that makes it a transaction."""

    def __init__(self, tables: Tables) -> None:
        self._t = tables
        self.inventories: dict[UUID, Json] = {}
        self.ports: dict[str, UUID] = {}  # hardware address -> node
        self.allocations: dict[UUID, UUID] = {}  # node -> allocation

    async def keep_inventory(
        self, fence: Fence, node: UUID, inventory: dict[str, Json], addresses: Sequence[str]
    ) -> list[str]:
        self._t.check(fence)
        self.inventories[node] = as_json(inventory)
        made = [address for address in addresses if address not in self.ports]
        self.ports |= dict.fromkeys(made, node)
        return made

    async def release_allocation(self, fence: Fence, node: UUID) -> None:
        self._t.check(fence)
        self.allocations.pop(node, None)
