"""The use cases of bare metal, over one store. What ``api`` and other products call.

``Baremetal`` is the whole of it; each part is a module of its own.
"""

from __future__ import annotations

from uuid import UUID

from holdfast.baremetal.credentials import SecretBox
from holdfast.baremetal.service.conductors import Conductors
from holdfast.baremetal.service.nodes import Nodes
from holdfast.baremetal.service.placement import Placement
from holdfast.baremetal.service.ports import Ports
from holdfast.baremetal.service.ramdisk import Ramdisk
from holdfast.baremetal.service.reading import Reader
from holdfast.baremetal.service.rows import ident_condition
from holdfast.baremetal.service.secrets import NodeSecrets
from holdfast.baremetal.service.verbs import Verbs
from holdfast.baremetal.settings import BaremetalSettings
from holdfast.store.pg.store import PgStore


class Baremetal:
    """Everything that can be asked of nodes and ports.

    ``vault``: ``store.secrets.Vault``. ``shards``: how many a conductor group gets
    when it is first used (``core.shards``).
    """

    def __init__(
        self, store: PgStore, vault: SecretBox, settings: BaremetalSettings, *, shards: int
    ) -> None:
        self.settings = settings
        secrets = NodeSecrets(vault)
        self.read = Reader(store.db, settings.page_max)
        self.nodes = Nodes(store.db, secrets, Placement(store, shards))
        self.ports = Ports(store.db)
        self.verbs = Verbs(store.db, store, settings)
        self.ramdisk = Ramdisk(store.db, store, secrets, settings)
        self.conductors = Conductors(store)
        self._db = store.db

    async def find(self, ident: str) -> UUID | None:
        """The UUID of the node with this name or UUID, whosever it is; None if there is none."""
        condition, value = ident_condition(ident)
        return await self._db.fetchval(
            f"select n.uuid from node n where {condition}",  # noqa: S608 - a column of ours
            value,
        )
