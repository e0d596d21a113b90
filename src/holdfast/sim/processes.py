"""The simulated processes: the real conductor and gateway code, given lives that can be ended."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, cast
from uuid import UUID

import msgspec

from holdfast.bmc.commands import Gateway, GatewayIdentity
from holdfast.bmc.gate import Mark
from holdfast.bmc.gateway import Device, GatewayCore
from holdfast.bmc.sealing import public_key_of
from holdfast.core.clock import Clock
from holdfast.core.jobs import Handler
from holdfast.core.members import Membership
from holdfast.core.settings import CoreSettings
from holdfast.core.worker import Duty, Worker
from holdfast.ops.children import Incarnation
from holdfast.ops.obituaries import Obituaries
from holdfast.sim.loop import Life, Process, SimLoop
from holdfast.sim.network import ProcessClock, Server
from holdfast.store.model import Claim, Fence, JobLimit, Json, Member, MemberSpec
from holdfast.store.port import Store, Waker


class SimWaker:
    """``store.port.Waker``: hints come over the network and may not come."""

    def __init__(self) -> None:
        self._heard: set[str] = set()
        self._waiting: asyncio.Future[None] | None = None

    def wake(self, topics: frozenset[str]) -> None:
        """A hint has arrived; if nobody waits it ends the next wait at once."""
        self._heard |= topics
        _end(self._waiting)

    async def wait(self, timeout_s: float) -> frozenset[str]:
        """Return at a hint or after ``timeout_s``, whichever is first."""
        if not self._heard:
            loop = asyncio.get_running_loop()
            self._waiting = loop.create_future()
            timer = loop.call_later(timeout_s, _end, self._waiting)
            try:
                await self._waiting
            finally:
                timer.cancel()
                self._waiting = None
        heard, self._heard = frozenset(self._heard), set()
        return heard


def _end(waiting: asyncio.Future[None] | None) -> None:
    if waiting is not None and not waiting.done():
        waiting.set_result(None)


class _Handing:
    """A conductor's reach to the store that knows which hand-overs wait for their answer."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.handing: set[Fence] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def hand_over(self, fences: Sequence[Fence], to: UUID, to_epoch: int) -> list[Claim]:
        self.handing.update(fences)
        try:
            return await self._store.hand_over(fences, to, to_epoch)
        finally:
            self.handing.difference_update(fences)


class Trade(msgspec.Struct, frozen=True):
    """What a conductor can do: kinds of jobs, how many at a time, and what it does besides."""

    handlers: Mapping[str, Handler]
    limits: tuple[JobLimit, ...]
    duties: tuple[Duty, ...]


class ConductorParts:
    """What a conductor is made of, as the world decides (known bugs are put in here)."""

    def __init__(
        self,
        *,
        reach: Callable[[str], Store],
        amend_store: Callable[[Store], Store],
        trade: Callable[[str, Store], Trade],
        settings: CoreSettings,
        waker: Callable[[SimWaker], Waker],
        amend: Callable[[Membership, Clock], None],
    ) -> None:
        self.reach = reach
        self.amend_store = amend_store
        self.trade = trade
        self.settings = settings
        self.waker = waker
        self.amend = amend


class ConductorLife:
    """One life of a conductor: a process, a membership, a worker (``referee.Incarnation``)."""

    def __init__(
        self,
        name: str,
        process: Process,
        membership: Membership,
        worker: Worker,
        handing: Collection[Fence],
    ) -> None:
        self.name = name
        self.handing = handing
        self.process = process
        self.membership = membership
        self.worker = worker

    def trusts(self) -> bool:
        return self.process.life is not Life.DEAD and self.membership.window.open()

    def breaks_off(self, fence: Fence) -> bool:
        """Whether it hands that claim over now, though it runs a step there.

        Not counted is a request that arrives long after it gave up: nothing can keep
        that from coming in the middle, and the fence and the gateway make it harmless.
        """
        runner = self.worker.runner
        return (
            self.process.life is not Life.DEAD
            and fence in self.handing
            and runner is not None
            and fence.shard in runner.active_shards()
        )


class SimConductor:
    """A conductor's slot on a host with a supervisor of its own, over all its lives."""

    def __init__(
        self,
        loop: SimLoop,
        slot: str,
        parts: ConductorParts,
        *,
        keeps_id: bool,
        registered: Callable[[Member, ConductorLife], None],
        said: Callable[[str], None],
        failed: Callable[[str], None],
    ) -> None:
        self._loop = loop
        self.slot = slot
        self._parts = parts
        self._id = loop.uuid() if keeps_id else None
        self._registered = registered
        self._said = said
        self._failed = failed
        self._lives = 0
        self._members: list[Incarnation] = []
        self.rate = 1.0
        self.life: ConductorLife | None = None
        self.waker = SimWaker()
        self.supervisor = Process(f"{slot}-supervisor")
        self._obituaries: Obituaries | None = None

    @property
    def alive(self) -> bool:
        return self.life is not None and self.life.process.life is not Life.DEAD

    def start(self) -> None:
        """Begin a new life, unless there is one."""
        if self.alive:
            return
        self._lives += 1
        name = f"{self.slot}.{self._lives}"
        offset_s = self._loop.random.uniform(0, 1000)
        process = Process(name, rate=self.rate, offset_s=offset_s - self._loop.now * self.rate)
        clock = ProcessClock(self._loop, process)
        handing = _Handing(self._parts.reach(self.slot))
        store = self._parts.amend_store(cast("Store", handing))
        self.waker = SimWaker()
        self._members = []
        spec = MemberSpec(
            id=self._id or self._loop.uuid(), role="conductor", slot=self.slot, host=self.slot
        )
        membership = Membership(
            store, spec, self._parts.settings, clock, on_registered=self._on_registered
        )
        self._parts.amend(membership, clock)
        trade = self._parts.trade(self.slot, store)
        worker = Worker(
            store,
            membership,
            lambda: trade.handlers,
            self._parts.settings,
            clock,
            self._parts.waker(self.waker),
            limits=trade.limits,
            duties=trade.duties,
        )
        self.life = ConductorLife(name, process, membership, worker, handing.handing)
        self._said(f"{name} starts")
        self._loop.spawn(process, self._live(self.life))

    def _on_registered(self, member: Member) -> None:
        if self.life is None:
            raise AssertionError("nobody registers before it lives")
        self._members.append(Incarnation(member=member.id, epoch=member.epoch))
        self._registered(member, self.life)

    async def _live(self, life: ConductorLife) -> None:
        try:
            how = await life.worker.run()
        except Exception as fault:  # noqa: BLE001 - reported as what it is: a bug
            self._failed(f"{life.name} died of {type(fault).__name__}: {fault}")
            how = "a bug"
        self._said(f"{life.name} ends: {how}")
        if self.life is life:
            self._loop.call_outside(0.0, self._ended, life)

    def _ended(self, life: ConductorLife) -> None:
        self._loop.crash(life.process)
        self.bury()
        self._loop.call_outside(self._loop.random.uniform(0.05, 0.5), self.start)

    def kill(self) -> None:
        """End the present life at once."""
        if self.life is not None and self.alive:
            self._said(f"{self.life.name} is killed")
            self._loop.crash(self.life.process)

    def bury(self) -> None:
        """The supervisor has reaped the dead child, and reports it."""
        if self.alive:
            return
        dead, self._members = self._members, []
        self._loop.spawn(self.supervisor, self._report(dead))

    def _heard_of(self, announced: str) -> None:
        del announced
        self._said(f"{self.slot}'s obituary has been taken")

    async def _report(self, dead: list[Incarnation]) -> None:
        await asyncio.sleep(self._loop.random.uniform(0.002, 0.03))
        if self._obituaries is None:
            store = self._parts.reach(self.slot)
            # What it says has real milliseconds in it: they would not replay.
            self._obituaries = Obituaries(store.end_lease, self._heard_of)
        self._obituaries.send(self.slot, dead, "killed")


class SimDisk:
    """``bmc.gateway.GateMemory``: survives the gateway's process, unless it is lost."""

    def __init__(self, loop: SimLoop) -> None:
        self._loop = loop
        self._id = loop.uuid()
        self._marks: dict[UUID, Mark] = {}
        self._incarnation = loop.uuid()
        self._public_key = public_key_of(loop.random.randbytes(32))

    def lose(self) -> None:
        """Everything is gone; what comes after is another incarnation."""
        self._marks = {}
        self._incarnation = self._loop.uuid()

    async def load(self) -> tuple[GatewayIdentity, dict[UUID, Mark]]:
        await asyncio.sleep(self._loop.random.uniform(0.001, 0.02))
        identity = GatewayIdentity(
            id=self._id, incarnation=self._incarnation, public_key=self._public_key
        )
        return identity, dict(self._marks)

    async def record(self, bmc: UUID, term: int, token: int) -> None:
        """Durable somewhere in the middle: a crash may come before or after it."""
        await asyncio.sleep(self._loop.random.uniform(0.0002, 0.003))
        known = self._marks.get(bmc, Mark(0, 0))
        self._marks[bmc] = Mark(max(known.term, term), max(known.token, token))
        await asyncio.sleep(self._loop.random.uniform(0.0, 0.002))


class SimGateway:
    """The gateway's process over all its lives, with its disk."""

    def __init__(
        self,
        loop: SimLoop,
        device: Callable[[str], Device],
        amend: Callable[[GatewayCore], None],
        said: Callable[[str], None],
    ) -> None:
        self._loop = loop
        self._device = device
        self._amend = amend
        self._said = said
        self.disk = SimDisk(loop)
        self.server = Server(name="gateway", up=False)
        self.process = Process("gateway")
        self._core: GatewayCore | None = None
        self._lives = 0

    @property
    def core(self) -> Gateway:
        """Who answers now; asked when a request arrives, never while it is down."""
        if self._core is None:
            raise AssertionError("no request arrives before the gateway is open")
        return self._core

    def start(self) -> None:
        if self.process.life is not Life.DEAD and self._lives:
            return
        self._lives += 1
        self.process = Process(f"gateway.{self._lives}")
        self._loop.spawn(self.process, self._open(self.process))

    async def _open(self, process: Process) -> None:
        core = await GatewayCore.open(
            memory=self.disk,
            device=self._device("gateway"),
            unseal=_nothing_sealed,
            chance=random.Random(self._loop.random.getrandbits(32)),
        )
        self._amend(core)
        self._core = core
        self.server.process = process
        self.server.start()
        self._said(f"{process.name} is open")

    def kill(self, *, lose_state: bool) -> None:
        """End its process; with ``lose_state`` its disk too."""
        self._said(f"{self.process.name} is killed{' with its state' if lose_state else ''}")
        self.server.stop()
        self._loop.crash(self.process)
        if lose_state:
            self.disk.lose()


def _nothing_sealed(sealed: bytes, context: bytes) -> dict[str, Json]:
    del sealed, context
    return {}
