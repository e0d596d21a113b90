"""The use cases of bare metal, over one store. What ``api`` and other products call.

``Baremetal`` is the whole of it; each part is a module of its own.
"""

from __future__ import annotations

from holdfast.baremetal.credentials import SecretBox
from holdfast.baremetal.service.conductors import Conductors
from holdfast.baremetal.service.nodes import Nodes
from holdfast.baremetal.service.placement import Placement
from holdfast.baremetal.service.ports import Ports
from holdfast.baremetal.service.ramdisk import Ramdisk
from holdfast.baremetal.service.reading import Reader
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
