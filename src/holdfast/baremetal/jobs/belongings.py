"""What jobs write besides the node itself: rows of other tables that belong to it.

The same fence guards these writes as all others of the node's owner, and each may be
done twice. ``baremetal.belongings`` does it in PostgreSQL.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from holdfast.store.model import Fence, Json


class Belongings(Protocol):
    """Raises ``FenceLostError`` when the claim has passed on, and has written nothing then."""

    async def keep_inventory(
        self, fence: Fence, node: UUID, inventory: dict[str, Json], addresses: Sequence[str]
    ) -> list[str]:
        """Keep what inspection found, in place of what it found before.

        A port is made for each hardware address that no port has yet; returns those.
        """
        ...

    async def release_allocation(self, fence: Fence, node: UUID) -> None:
        """The node is nobody's any more: its allocation ends with its instance."""
        ...
