"""The faults: each is done to real processes, waits until it is over, and says what it did.

Takeover times are from the fault to the moment when no claim names the lost incarnation any
more, as the database tells; they are figures. The verdict is not made from them.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

import msgspec
from tests.chaos.cluster import Cluster, Incarnation
from tests.chaos.network import Cut, Dropped
from tests.chaos.postgres import Postgres
from tests.chaos.processes import lives, until

RECOVERY_S: Final = 60.0  # beyond it the run is broken, whatever the machine is doing
NEEDS_BMC_S: Final = 10.0  # how long to wait for a command that a partition can drop
LOOK_S: Final = 0.01
TOGETHER: Final = 0.15  # how often two faults come at once


class Done(msgspec.Struct, kw_only=True):
    """One fault that was done. ``lasted_s``: how long the victim was stopped or cut off."""

    kind: str
    victim: str
    at: float = 0.0
    lasted_s: float = 0.0
    takeover_s: float | None = None
    dropped: Dropped | None = None
    both_lived: bool = True
    together: bool = False  # with another one: its times say nothing of its kind
    note: str = ""

    def __str__(self) -> str:
        parts = [f"{self.at:6.1f} s  {self.kind} of {self.victim}"]
        if self.lasted_s:
            parts.append(f"for {self.lasted_s:.1f} s")
        if self.takeover_s is not None:
            parts.append(f"taken over after {self.takeover_s * 1000:.0f} ms")
        if self.dropped is not None:
            parts.append(f"dropped {self.dropped.into} in, {self.dropped.out_of} out")
        return ", ".join([*parts, *([self.note] if self.note else [])])


class Faults:
    """Does faults to one cluster, with one source of chance."""

    def __init__(self, cluster: Cluster, chance: random.Random) -> None:
        self._cluster = cluster
        self._chance = chance
        self._lease_s = cluster.layout.lease_s

    # -- conductors -------------------------------------------------------------------------

    async def kill_supervised(self) -> Done:
        """kill -9 of a conductor whose supervisor reports it."""
        return await self._kill("kill, supervised", self._conductor(supervised=True))

    async def kill_unsupervised(self) -> Done:
        """kill -9 of a conductor whose death nobody reports: its lease has to expire."""
        return await self._kill("kill, unsupervised", self._conductor(supervised=False))

    async def _kill(self, kind: str, slot: str) -> Done:
        one, pid = await self._who(slot)
        began = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        done = Done(kind=kind, victim=slot)
        done.takeover_s = await self._taken_over(one, began)
        return done

    async def pause(self) -> Done:
        """SIGSTOP past the lease, then SIGCONT: what wakes up must do nothing stale."""
        slot = self._conductor()
        one, pid = await self._who(slot)
        began = time.monotonic()
        os.kill(pid, signal.SIGSTOP)
        done = Done(kind="pause", victim=slot)
        try:
            done.takeover_s = await self._taken_over(one, began)
            wanted_s = self._chance.uniform(1.5, 3) * self._lease_s
            await asyncio.sleep(max(0.0, began + wanted_s - time.monotonic()))
        finally:
            os.kill(pid, signal.SIGCONT)
        done.lasted_s = time.monotonic() - began
        return done

    async def partition(self, cut: Cut) -> Done:
        """Drop a host's packets past the lease; both ends live."""
        cluster = self._cluster
        slot = self._chance.choice([s for s, host in cluster.hosts.items() if host is not None])
        host = cluster.hosts[slot]
        assert host is not None
        one, pid = await self._who(slot)
        gateway = await cluster.pid("rack-1")
        began = time.monotonic()
        done = Done(kind=f"partition ({cut})", victim=slot)
        host.cut(cut, cluster.ports)
        try:
            if cut.peer != "gateway":
                done.takeover_s = await self._taken_over(one, began)
            else:  # its lease goes on, and with it its work: sooner or later that needs a BMC
                await _within(lambda: host.dropped() != Dropped(0, 0), NEEDS_BMC_S)
            wanted_s = self._chance.uniform(1.5, 3) * self._lease_s
            await asyncio.sleep(max(0.0, began + wanted_s - time.monotonic()))
            done.dropped = host.dropped()
            done.both_lived = all(map(lives, (pid, cluster.postgres.pid, gateway)))
        finally:
            host.heal()
        done.lasted_s = time.monotonic() - began
        return done

    # -- gateway and API ----------------------------------------------------------------------

    async def kill_gateway(self) -> Done:
        """kill -9 of the gateway; its state is there when it comes back."""
        return await self._kill_gateway("kill, with state")

    async def kill_gateway_without_state(self) -> Done:
        """The gateway loses what it remembers, and dies: it comes back as a new incarnation."""
        state = self._cluster.gateway_state
        # Removed first: the one that still runs has the file open and notices nothing.
        shutil.rmtree(state)
        done = await self._kill_gateway("kill, state lost")
        assert state.exists()
        return done

    async def _kill_gateway(self, kind: str) -> Done:
        began = time.monotonic()
        await self._replaced("rack-1")
        url = f"{self._cluster.gateway_url}/readyz"
        await until(lambda: self._cluster.answers(url), "the gateway is back", RECOVERY_S)
        return Done(kind=kind, victim="gateway", lasted_s=time.monotonic() - began)

    async def pause_gateway(self) -> Done:
        """SIGSTOP of the gateway for a while: what it had in hand is late."""
        pid = await self._cluster.pid("rack-1")
        lasted_s = self._chance.uniform(1, 2) * self._lease_s
        os.kill(pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(lasted_s)
        finally:
            os.kill(pid, signal.SIGCONT)
        return Done(kind="pause", victim="gateway", lasted_s=lasted_s)

    async def kill_api(self) -> Done:
        """kill -9 of one API process while requests are in hand."""
        slot = f"api-{self._chance.randint(1, self._cluster.layout.apis)}"
        await self._replaced(slot)
        return Done(kind="kill", victim=slot)

    async def _replaced(self, slot: str) -> None:
        """Kill what runs in a slot, and wait until another process does."""
        pid = await self._cluster.pid(slot)
        os.kill(pid, signal.SIGKILL)

        async def fresh() -> bool:
            return await self._cluster.pid(slot) != pid

        await until(fresh, f"{slot} is started again", RECOVERY_S)

    # -- database -----------------------------------------------------------------------------

    async def kill_database(self) -> Done:
        """kill -9 of the postmaster, and a restart."""
        return await self._restart("kill", signal.SIGKILL)

    async def stop_database_at_once(self) -> Done:
        """Immediate shutdown (no checkpoint, clients cut off), and a restart."""
        return await self._restart("immediate shutdown", signal.SIGQUIT)

    async def _restart(self, kind: str, number: int) -> Done:
        began = time.monotonic()
        await self._cluster.postgres.kill(number)
        await asyncio.sleep(self._chance.uniform(0, 0.5) * self._lease_s)
        await self._cluster.postgres.start()
        lasted_s = time.monotonic() - began
        return Done(kind=kind, victim="database", lasted_s=lasted_s)

    async def jump_clock(self) -> Done:
        """The database's wall clock, which judges leases, jumps; later it is set right again."""
        offset_s = self._chance.choice([-1, 1]) * self._chance.uniform(2, 20) * self._lease_s
        postgres = self._cluster.postgres
        assert isinstance(postgres, Postgres)
        postgres.set_clock(offset_s)
        try:
            await asyncio.sleep(self._lease_s)
            await self._cluster.settled(RECOVERY_S + abs(offset_s))
        finally:
            postgres.set_clock(0)
        return Done(kind="clock jump", victim="database", note=f"by {offset_s:+.1f} s and back")

    # -- who ----------------------------------------------------------------------------------

    def _conductor(self, *, supervised: bool | None = None) -> str:
        return self._chance.choice(self._cluster.conductors(supervised=supervised))

    async def _who(self, slot: str) -> tuple[Incarnation, int]:
        """A conductor that is registered and owns something, and its process."""
        found: list[Incarnation] = []

        async def owning() -> bool:
            one = await self._cluster.incarnation(slot)
            found[:] = [one] if one else []
            return one is not None and await self._cluster.shards_of(one) > 0

        await until(owning, f"{slot} owns shards", RECOVERY_S)
        return found[0], await self._cluster.pid(slot)

    async def _taken_over(self, one: Incarnation, since: float) -> float:
        """Wait until nothing is owned by that incarnation; seconds since the fault."""

        async def passed() -> bool:
            return await self._cluster.shards_of(one) == 0

        await until(passed, f"the shards of {one.member} are taken over", RECOVERY_S, LOOK_S)
        return time.monotonic() - since


Fault: TypeAlias = Callable[[], Awaitable[Done]]

CUTS: Final = tuple(
    Cut(direction=direction, peer=peer)
    for direction in ("both", "in", "out")
    for peer in ("all", "database", "gateway")
)


def schedule(faults: Faults, *, network: bool, clock: bool) -> list[Fault]:
    """Every kind of fault once; some that matter most, twice."""
    chosen: list[Fault] = [
        faults.kill_supervised,
        faults.kill_unsupervised,
        faults.kill_gateway,
        faults.pause,
        faults.kill_database,
        faults.kill_api,
        faults.kill_gateway_without_state,
        faults.pause,
        faults.stop_database_at_once,
        faults.pause_gateway,
        faults.kill_supervised,
    ]
    if network:
        cuts = (
            Cut(direction="both"),
            Cut(direction="both", peer="gateway"),
            Cut(direction="in"),
            Cut(direction="out", peer="database"),
        )
        for place, cut in zip((3, 6, 9, 12), cuts, strict=True):
            chosen.insert(place, _partition(faults, cut))
    if clock:
        chosen.append(faults.jump_clock)
    return chosen


def endless(
    faults: Faults, chance: random.Random, *, network: bool, clock: bool
) -> Callable[[], tuple[Fault, ...]]:
    """A source of faults, in the proportions of the design's bars for two hours.

    Mostly one at a time; now and then a conductor's together with one of what it needs.
    """
    of_conductors: dict[Fault, int] = {
        faults.kill_supervised: 18,
        faults.kill_unsupervised: 12,
        faults.pause: 30,
    }
    if network:
        of_conductors |= {_partition(faults, cut): 3 for cut in CUTS}
    of_others: dict[Fault, int] = {
        faults.kill_gateway: 6,
        faults.kill_gateway_without_state: 4,
        faults.kill_api: 6,
        faults.pause_gateway: 3,
        faults.kill_database: 3,
        faults.stop_database_at_once: 3,
    }
    alone = of_conductors | of_others | ({faults.jump_clock: 7} if clock else {})

    def one_of(weights: dict[Fault, int]) -> Fault:
        return chance.choices(list(weights), list(weights.values()))[0]

    def draw() -> tuple[Fault, ...]:
        if chance.random() < TOGETHER:
            return one_of(of_conductors), one_of(of_others)
        return (one_of(alone),)

    return draw


async def _within(condition: Callable[[], bool], limit_s: float) -> None:
    """Wait for a condition, for a while."""
    end = time.monotonic() + limit_s
    while not condition() and time.monotonic() < end:
        await asyncio.sleep(0.1)


def _partition(faults: Faults, cut: Cut) -> Fault:
    async def partition() -> Done:
        return await faults.partition(cut)

    return partition
