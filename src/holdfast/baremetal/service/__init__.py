"""The use cases of bare metal, over one store. What ``api`` and other products call.

``Baremetal`` is the whole of it; each part is a module of its own.
"""

from __future__ import annotations

from uuid import UUID

from holdfast.baremetal.credentials import SecretBox
from holdfast.baremetal.service.allocations import Allocations
from holdfast.baremetal.service.chassis import Chassis
from holdfast.baremetal.service.conductors import Conductors
from holdfast.baremetal.service.history import History
from holdfast.baremetal.service.nodes import Nodes
from holdfast.baremetal.service.placement import Placement
from holdfast.baremetal.service.portgroups import Portgroups
from holdfast.baremetal.service.ports import Ports
from holdfast.baremetal.service.procedures import DeployTemplates, Runbooks
from holdfast.baremetal.service.ramdisk import Ramdisk
from holdfast.baremetal.service.reading import Reader
from holdfast.baremetal.service.rows import ident_condition
from holdfast.baremetal.service.secrets import NodeSecrets
from holdfast.baremetal.service.upkeep import Upkeep
from holdfast.baremetal.service.verbs import Verbs
from holdfast.baremetal.service.vifs import Vifs
from holdfast.baremetal.settings import BaremetalSettings
from holdfast.store.pg.store import PgStore


class Baremetal:
    """Everything that can be asked of nodes, and of what belongs to them.

    ``vault``: ``store.secrets.Vault``. ``shards``: how many a conductor group gets
    when it is first used (``core.shards``).
    """

    def __init__(
        self, store: PgStore, vault: SecretBox, settings: BaremetalSettings, *, shards: int
    ) -> None:
        db, types = store.db, settings.enabled_hardware_types
        bytes_max = settings.document_bytes_max
        self.settings = settings
        secrets = NodeSecrets(vault)
        self.read = Reader(db, settings.page_max)
        self.nodes = Nodes(db, secrets, Placement(store, shards), types, bytes_max)
        self.ports = Ports(db, bytes_max)
        self.portgroups = Portgroups(db, bytes_max)
        self.chassis = Chassis(db, bytes_max)
        self.allocations = Allocations(db, bytes_max)
        self.deploy_templates = DeployTemplates(db, bytes_max)
        self.runbooks = Runbooks(db, bytes_max)
        self.verbs = Verbs(db, store, secrets, settings)
        self.upkeep = Upkeep(db)
        self.vifs = Vifs(db)
        self.ramdisk = Ramdisk(db, store, secrets, settings)
        self.history = History(db, store)
        self.conductors = Conductors(store, types)
        self._db = db

    async def work(self) -> None:
        """What is done of its own accord, for as long as the API is served."""
        await self.allocations.run()

    async def find(self, ident: str) -> UUID | None:
        """The UUID of the node with this name or UUID, whosever it is; None if there is none."""
        condition, value = ident_condition(ident)
        return await self._db.fetchval(
            f"select n.uuid from node n where {condition}",  # noqa: S608 - a column of ours
            value,
        )
