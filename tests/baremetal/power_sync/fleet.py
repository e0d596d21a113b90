"""A conductor that keeps some machines in sync on virtual time: everything real but the wires.

The worker, the duty, the dispatcher and the gateway are the real code; the machines behind
them are plain models, and the store is the simulator's.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from uuid import UUID

from holdfast.baremetal.jobs.settings import ProvisioningSettings
from holdfast.baremetal.models import KIND, KINDS, WATCH
from holdfast.baremetal.power_sync.restore import restore_handlers, restore_limit
from holdfast.baremetal.power_sync.settings import PowerSyncSettings
from holdfast.baremetal.power_sync.sync import PowerSync
from holdfast.bmc.commands import Command, GatewayIdentity
from holdfast.bmc.dispatch import Dispatcher
from holdfast.bmc.errors import BmcUnreachableError
from holdfast.bmc.gate import Mark
from holdfast.bmc.gateway import GatewayCore
from holdfast.bmc.observatory import Observations
from holdfast.bmc.observing import Observer
from holdfast.bmc.settings import BmcSettings
from holdfast.core.jobs import Done, Handler, Outcome, Step, StepContext
from holdfast.core.members import Membership
from holdfast.core.settings import CoreSettings
from holdfast.core.worker import Worker
from holdfast.sim.loop import Process, SimLoop
from holdfast.sim.memstore import MemStore
from holdfast.store.model import (
    Job,
    JobError,
    JobState,
    Json,
    MemberSpec,
    NewJob,
    ObjectRef,
    Submission,
    Write,
)

INTERVAL_S = 60.0
CORE = CoreSettings(lease_s=5.0, lease_margin_s=1.0, shards=16)
PROVISIONING = ProvisioningSettings(power_reissue_s=8.0, poll_s=1.0, command_timeout_s=30.0)


class Machine:
    """One machine behind its BMC. ``dead``: how its BMC does not answer."""

    def __init__(self, node: ObjectRef) -> None:
        self.node = node
        self.power = "power on"
        self.latency_s = 0.05
        self.dead: str | None = None  # "refuse" | "hang"
        self.obeys = True
        self.seen: list[float] = []  # when it was asked
        self.told: list[tuple[float, str, str]] = []  # when, the state, the lane

    def execute(self, command: Command, now: float) -> dict[str, Json]:
        if command.action == "observe":
            return {"power_state": self.power, "powering": False}
        assert command.action == "set_power"
        self.told.append((now, str(command.params["state"]), command.lane))
        if self.obeys:
            self.power = str(command.params["state"])
        return {}


class Disk:
    """The gateway's memory; ``lose`` makes it another incarnation."""

    def __init__(self) -> None:
        self.incarnation = UUID(int=1)

    def lose(self) -> None:
        self.incarnation = UUID(int=self.incarnation.int + 1)

    async def load(self) -> tuple[GatewayIdentity, dict[UUID, Mark]]:
        identity = GatewayIdentity(
            id=UUID(int=9), incarnation=self.incarnation, public_key=bytes(32)
        )
        return identity, {}

    async def record(self, bmc: UUID, term: int, token: int) -> None:
        pass


class PlainBox:
    def encrypt(self, plaintext: bytes, context: bytes) -> bytes:
        return plaintext

    def decrypt(self, blob: bytes, context: bytes) -> bytes:
        return blob


class Busy:
    """A job of the operators' that holds its node for a while and powers it off at its end."""

    kind = "node.power"
    cleanup: tuple[Step, ...] = ()

    def __init__(self) -> None:
        self.steps = (Step(name="work", run=self._work),)

    async def _work(self, ctx: StepContext) -> Outcome:
        await asyncio.sleep(float(ctx.args["seconds"]))
        return Done(patch={"power_state": "power off"})

    def ended(self, obj: Any, job: Job, state: JobState, error: JobError | None) -> dict[str, Json]:
        return {}

    def closing(self, job: Job, error: JobError, now: float) -> tuple[Write, ...]:
        raise LookupError("a bound job writes its object's fields")

    def trouble(self, error: JobError) -> dict[str, Json]:
        return {}


class Waker:
    async def wait(self, timeout_s: float) -> frozenset[str]:
        await asyncio.sleep(timeout_s)
        return frozenset()


class LoopClock:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def now(self) -> float:
        return self._loop.time()


class Fleet:
    """Some machines, a gateway, and conductors."""

    def __init__(self, sync: PowerSyncSettings | None = None, bmc: BmcSettings | None = None):
        self.loop = SimLoop(11)
        self.settings = sync or PowerSyncSettings(interval_s=INTERVAL_S)
        self.bmc_settings = bmc or BmcSettings()
        kinds = {KIND: KINDS[KIND].columns}
        self.store = MemStore(lambda: 1_700_000_000.0 + self.loop.now, kinds, {KIND: WATCH})
        self.machines: dict[UUID, Machine] = {}
        self.disk = Disk()
        self.core: GatewayCore | None = None
        self.gateway = Process("gateway")
        self.syncs: dict[str, PowerSync] = {}
        self.processes: dict[str, Process] = {}
        self.executing: set[UUID] = set()

    # -- the machines and their gateway ------------------------------------------------------

    async def execute(self, command: Command, secrets: dict[str, Json]) -> dict[str, Json]:
        machine = self.machines[command.bmc]
        assert command.bmc not in self.executing
        if command.lane == "sync" and command.action == "observe":
            machine.seen.append(self.loop.now)
        if machine.dead == "refuse":
            raise BmcUnreachableError("connection refused")
        self.executing.add(command.bmc)
        try:
            await asyncio.sleep(machine.latency_s if machine.dead is None else 1e6)
        finally:
            self.executing.discard(command.bmc)
        return machine.execute(command, self.loop.now)

    async def open_gateway(self) -> None:
        self.core = await GatewayCore.open(
            memory=self.disk,
            device=self,
            unseal=lambda *_: {},
            settings=self.bmc_settings,
            chance=random.Random(1),
        )

    async def identity(self) -> GatewayIdentity:
        assert self.core is not None
        return await self.core.identity()

    async def floor(self, bmc: UUID, **said: Any) -> None:
        assert self.core is not None
        await self.core.floor(bmc, **said)

    async def command(self, command: Command) -> dict[str, Json]:
        assert self.core is not None
        # In its own process: what a conductor began there outlives the conductor.
        return await self.loop.spawn(self.gateway, self.core.command(command))

    # -- nodes and conductors ----------------------------------------------------------------

    def enrol(self, count: int, **fields: Json) -> list[Machine]:
        made: list[Machine] = []
        for _ in range(count):
            key = self.loop.uuid()
            document = {
                "uuid": key,
                "driver": "redfish",
                "driver_info": {"redfish_address": f"http://bmc-{key}"},
                "provision_state": "active",
                "power_state": "power on",
                "maintenance": False,
                "disable_power_off": False,
                "last_error": "an old error",
                **fields,
            }
            machine = Machine(self.store.add_object(KIND, document))
            self.machines[key] = machine
            made.append(machine)
        return made

    def document(self, machine: Machine) -> dict[str, Json]:
        return self.store.tables.objects[KIND][machine.node.id]

    def start(self, slot: str) -> None:
        clock = LoopClock(self.loop)
        spec = MemberSpec(id=self.loop.uuid(), role="conductor", slot=slot, host=slot)
        membership = Membership(self.store, spec, CORE, clock)
        box = PlainBox()
        dispatcher = Dispatcher(self.store, self, seal=lambda *_: b"")
        observer = Observer(dispatcher, Observations(self, 1000))
        sync = PowerSync(self.store, observer, box, self.settings, self.loop.uuid)
        busy: Handler = Busy()
        worker = Worker(
            self.store,
            membership,
            lambda: {**restore_handlers(dispatcher, box, PROVISIONING), busy.kind: busy},
            CORE,
            clock,
            Waker(),
            limits=[restore_limit(self.settings.restores_max)],
            duties=[sync.run],
        )
        self.syncs[slot], self.processes[slot] = sync, Process(slot)
        self.loop.spawn(self.processes[slot], worker.run())

    async def work(self, machine: Machine, seconds: float) -> None:
        """An operator gives the node something to do."""
        job = NewJob(
            id=self.loop.uuid(), kind=Busy.kind, object=machine.node, args={"seconds": seconds}
        )
        await self.store.submit(Submission(job=job))

    def play(
        self, scene: Callable[[], Awaitable[None]], conductors: Sequence[str] = ("a",)
    ) -> None:
        """Start, and play a scene; nothing may be left unhandled."""

        async def main() -> None:
            await self.open_gateway()
            for slot in conductors:
                self.start(slot)
            await scene()

        async def prepared() -> None:
            await self.store.ensure_shards("", CORE.shards)

        try:
            self.loop.run(prepared())
            self.loop.run(main())
            assert self.loop.errors == []
        finally:
            self.loop.close()
