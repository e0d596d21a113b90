"""What is done to engines and to what they need; a fault every second."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time

import msgspec
from tests.chaos.processes import lives
from tests.chaos.stacks_cluster import StackCluster


class Loss(msgspec.Struct, kw_only=True):
    """An engine that was killed or stopped. ``at``: CLOCK_MONOTONIC."""

    kind: str
    slot: str
    pid: int
    at: float
    supervised: bool
    lasted_s: float = 0.0


class EngineFaults:
    """Faults of one cluster, with one source of chance."""

    def __init__(self, cluster: StackCluster, chance: random.Random) -> None:
        self._cluster = cluster
        self._chance = chance
        self._stopped: set[str] = set()
        self.losses: list[Loss] = []
        self.others: list[str] = []

    async def every_second(self) -> None:
        """For ever: kill -9 or SIGSTOP of some engine."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                began = time.monotonic()
                if (found := await self._victim()) is not None:
                    tasks.create_task(self._harm(*found))
                await asyncio.sleep(max(0.0, began + 1.0 - time.monotonic()))

    async def _victim(self) -> tuple[str, int] | None:
        slots = [slot for slot in self._cluster.slots() if slot not in self._stopped]
        self._chance.shuffle(slots)
        pids = await self._cluster.children() | {
            slot: kept.pid for slot, kept in self._cluster.kept.items()
        }
        return next(((s, pids[s]) for s in slots if s in pids and lives(pids[s])), None)

    async def _harm(self, slot: str, pid: int) -> None:
        if self._chance.random() < 0.5:
            await self.kill(slot, pid)
        else:
            await self.pause(slot, pid)

    async def kill(self, slot: str, pid: int) -> Loss:
        """kill -9."""
        loss = self._lost("kill", slot, pid)
        _signal(pid, signal.SIGKILL)
        return loss

    async def pause(self, slot: str, pid: int) -> Loss:
        """SIGSTOP for 1.5 to 3 leases, then SIGCONT: whoever wakes up must do nothing stale."""
        loss = self._lost("pause", slot, pid)
        loss.lasted_s = self._chance.uniform(1.5, 3) * self._cluster.engines.lease_s
        self._stopped.add(slot)
        _signal(pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(loss.lasted_s)
        finally:
            _signal(pid, signal.SIGCONT)
            self._stopped.discard(slot)
        return loss

    def _lost(self, kind: str, slot: str, pid: int) -> Loss:
        supervised = slot in self._cluster.slots(supervised=True)
        loss = Loss(kind=kind, slot=slot, pid=pid, at=time.monotonic(), supervised=supervised)
        self.losses.append(loss)
        return loss

    async def restart_database(self) -> None:
        """kill -9 of PostgreSQL, and a start."""
        began = time.monotonic()
        await self._cluster.postgres.kill()
        await self._cluster.postgres.start()
        self.others.append(f"database killed, back after {time.monotonic() - began:.1f} s")

    async def restart_broker(self) -> None:
        """kill -9 of RabbitMQ, and a start; nobody waits for it."""
        rabbit = self._cluster.rabbit
        if rabbit is None:
            return
        began = time.monotonic()
        rabbit.kill()
        rabbit.start()
        await asyncio.to_thread(rabbit.ready)
        self.others.append(f"broker killed, back after {time.monotonic() - began:.1f} s")


def _signal(pid: int, number: int) -> None:
    if lives(pid):
        os.kill(pid, number)
