"""The use cases of stacks, over one store. What ``api`` and other products call.

``Stacks`` is the whole of it; each part is a module of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import structlog

from holdfast.core.settings import CoreSettings
from holdfast.errors import HoldfastError
from holdfast.stacks.compiling import Plans
from holdfast.stacks.parts import Bodies, Parts
from holdfast.stacks.pgstore import PgStacks, Sealing
from holdfast.stacks.resource import Registry
from holdfast.stacks.service.catalogue import Catalogue
from holdfast.stacks.service.engines import Engines
from holdfast.stacks.service.handing_over import HandingOver
from holdfast.stacks.service.lifecycle import Lifecycle
from holdfast.stacks.service.looks import Looks
from holdfast.stacks.service.preparing import Planner
from holdfast.stacks.service.previews import Previews
from holdfast.stacks.service.reading import StackReader
from holdfast.stacks.service.retention import Retention
from holdfast.stacks.service.signals import Signals
from holdfast.stacks.service.software import Software
from holdfast.stacks.service.trees import Trees
from holdfast.stacks.service.writing import Writer
from holdfast.stacks.settings import StacksSettings
from holdfast.store.model import Json
from holdfast.store.pg.store import PgStore

log = structlog.get_logger(__name__)

PURGE_S = 600.0


class Stacks:
    """Everything that can be asked of stacks.

    ``vault``: ``store.secrets.Vault``. ``bodies`` makes the type of a resource whose type
    is a template. ``call``: ports to the outer world that attributes may need.
    """

    def __init__(
        self,
        store: PgStore,
        vault: Sealing,
        settings: StacksSettings,
        *,
        core: CoreSettings,
        registry: Registry,
        bodies: Bodies,
        region: str,
        call: Mapping[str, Json] | None = None,
    ) -> None:
        db = store.db
        engine = PgStacks(store, vault)
        plans = Plans(engine, region)
        parts = Parts(
            jobs=store,
            store=engine,
            plans=plans,
            registry=registry,
            bodies=bodies,
            call=call or {},
            events_max=settings.events_per_stack_max,
        )
        self.settings = settings
        self.engine = engine
        self.read = StackReader(db, settings.page_max)
        self.planner = Planner(settings, registry, region)
        writer = Writer(store, engine, settings)
        self.life = Lifecycle(engine, self.read, self.planner, writer, plans, settings)
        self.trees = Trees(db, engine.opened)
        self.looks = Looks(db, parts)
        self.signals = Signals(store, parts, self.looks)
        self.previews = Previews(db, parts)
        self.handing_over = HandingOver(db, parts, self.read)
        self.catalogue = Catalogue(registry)
        self.engines = Engines(store, core)
        self.software = Software(db, vault, settings.page_max)
        self._retention = Retention(db, settings.deleted_keep_days * 86_400.0)

    async def work(self) -> None:
        """What is done of its own accord, for as long as the API is served."""
        while True:
            try:
                await self.forget()
            except HoldfastError as fault:
                log.warning("stacks.purge_failed", why=fault.message)
            await asyncio.sleep(PURGE_S)

    async def forget(self) -> int:
        """Forget stacks that were deleted long ago; returns how many."""
        return await self._retention.purge()
