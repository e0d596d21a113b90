"""Engines as real processes: some below a supervisor, some that nobody reports when they die.

PostgreSQL · RabbitMQ, where it is installed · `holdfast up`: APIs and engines · `holdfast run
engine`, started again when it ends.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp
import msgspec
from tests.chaos.cluster import ROOT, START_S, Cluster, Incarnation, Layout
from tests.chaos.processes import Kept, until
from tests.chaos.stacks_counted import URL, plug_in
from tests.chaos.stacks_provider import Provider
from tests.rabbitmq import SCRIPT, RabbitMq


class Engines(msgspec.Struct, frozen=True, kw_only=True):
    """What runs. ``bug``: one of tests/chaos/buggy.py, in engines without supervisor.

    ``broker``: whether hints go through RabbitMQ, if there is one.
    """

    supervised: int = 2
    unsupervised: int = 2
    lease_s: float = 1.5
    bug: str = ""
    broker: bool = False
    settings: dict[str, str] = {}


class StackCluster(Cluster):
    """APIs and engines over one database, and the provider that they know."""

    def __init__(self, engines: Engines, provider: Provider) -> None:
        settings = {
            "HOLDFAST_ENGINE__PROCESSES": str(engines.supervised),
            "HOLDFAST_STACKS__TIMEOUT_S": "600",
            # Killed as often as here, a supervised engine would soon wait ten seconds each time.
            "HOLDFAST_SUPERVISOR__BACKOFF_MAX_S": "0.5",
            **engines.settings,
        }
        buggy = {"engine": engines.bug} if engines.bug else {}
        super().__init__(
            Layout(
                nodes=0,
                supervised=0,
                unsupervised=0,
                lease_s=engines.lease_s,
                buggy=buggy,
                settings=settings,
            )
        )
        self.engines = engines
        self.rabbit = RabbitMq() if engines.broker and Path(SCRIPT).exists() else None
        self._plugged: dict[str, str] = {
            "PYTHONPATH": plug_in(self.folder / "plug-in", ROOT),
            URL: provider.url,
        }

    @property
    def environ(self) -> dict[str, str]:
        broker = {"HOLDFAST_BROKER__URL": self.rabbit.url()} if self.rabbit else {}
        return {**super().environ, **self._plugged, **broker}

    def slots(self, *, supervised: bool | None = None) -> list[str]:
        """Slots of engines."""
        below = [f"engine-{n + 1}" for n in range(self.engines.supervised)]
        alone = [f"engine-h{n + 1}" for n in range(self.engines.unsupervised)]
        if supervised is None:
            return [*below, *alone]
        return below if supervised else alone

    async def __aenter__(self) -> StackCluster:
        try:
            self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5))
            if self.rabbit is not None:
                self.rabbit.start()
            await self.postgres.start()
            await self._start_up()
            for slot in self.slots(supervised=False):
                self.kept[slot] = self._keep_engine(slot)
            for slot in self.slots():
                await self.up(slot)
            if self.rabbit is not None:
                await asyncio.to_thread(self.rabbit.ready)
        except BaseException:
            await self.close()
            raise
        return self

    async def close(self) -> None:
        await super().close()
        if self.rabbit is not None:
            self.rabbit.close()

    def _keep_engine(self, slot: str) -> Kept:
        home = self.folder / slot
        self._share_keys(home)
        return Kept(lambda: self._run("engine", slot, home))

    async def up(self, slot: str) -> Incarnation:
        """As whom an engine is registered, as soon as it is."""
        found: list[Incarnation] = []

        async def registered() -> bool:
            one = await self.incarnation(slot)
            found[:] = [one] if one else []
            return one is not None

        await until(registered, f"{slot} is registered", START_S)
        return found[0]

    async def held_by(self, one: Incarnation) -> int:
        """How many jobs still run under that incarnation (-1: nobody answers)."""
        rows = await self.query(
            "select count(*) from job where state = 'running' and owner = $1 and run_epoch = $2",
            one.member,
            one.epoch,
        )
        return -1 if rows is None else int(rows[0][0])
