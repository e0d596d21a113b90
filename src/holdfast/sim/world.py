"""A whole deployment on virtual time: database, gateway, conductors, machines, clients, faults.

The conductors, the gateway, the handlers and the supervisor's obituaries are the real
code; only what is under their ports is simulated. A run has three phases: faults
strike while clients work; then everything is mended; then, within a bound, all work
must have ended, and the referee must have seen no promise broken.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from collections.abc import Callable
from functools import partial
from typing import cast
from uuid import UUID

import msgspec

from holdfast.baremetal.jobs import handlers
from holdfast.baremetal.jobs.limits import job_limits
from holdfast.baremetal.jobs.settings import ProvisioningSettings
from holdfast.baremetal.models import KIND, KINDS
from holdfast.baremetal.power_sync.restore import restore_handlers, restore_limit
from holdfast.baremetal.power_sync.settings import PowerSyncSettings
from holdfast.baremetal.power_sync.sync import PowerSync
from holdfast.bmc.dispatch import Dispatcher
from holdfast.bmc.gateway import GatewayCore
from holdfast.bmc.observatory import Observations
from holdfast.bmc.observing import Observer
from holdfast.core.clock import Clock
from holdfast.core.members import Membership
from holdfast.core.settings import CoreSettings
from holdfast.sim import faults
from holdfast.sim.belongings import MemBelongings
from holdfast.sim.errands import SCRIPTS, Errand, faults_of
from holdfast.sim.logs import overheard
from holdfast.sim.loop import SimLoop
from holdfast.sim.machines import SimMachine, Wiring
from holdfast.sim.memstore import MemStore
from holdfast.sim.network import Network, RemoteGateway, Server, remote_store
from holdfast.sim.processes import (
    ConductorLife,
    ConductorParts,
    SimConductor,
    SimGateway,
    SimWaker,
    Trade,
)
from holdfast.sim.referee import Referee, refereed
from holdfast.store.model import Json, Member
from holdfast.store.port import Store, Waker

EPOCH_S = 1_700_000_000.0  # the database's clock at the start
DOCUMENTS = ("properties", "instance_info", "interfaces", "driver_internal_info", "extra")
PROVISIONING = ProvisioningSettings(
    callback_timeout_s=300.0,
    power_timeout_s=120.0,
    power_reissue_s=8.0,
    poll_s=0.7,
    command_timeout_s=5.0,
    agent_step_timeout_s=300.0,
    retry_s=600.0,
    operator_retry_s=600.0,
)


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """What a world is like. ``kinds``: of faults (``faults.KINDS``). Times in seconds."""

    name: str
    kinds: tuple[str, ...]
    conductors: tuple[int, int] = (2, 4)
    machines: tuple[int, int] = (4, 8)
    shards: int = 6
    lease_s: float = 3.0
    faults: tuple[int, int] = (6, 20)
    faults_s: float = 30.0
    settle_s: float = 150.0
    abort_chance: float = 0.1
    flaw_chance: float = 0.05  # of a machine whose deployments and cleanings must fail
    power_sync_s: float = 0.0  # its interval; 0: none
    deploys_max: int = 250  # per conductor


class Bugs:
    """Known bugs to put in; this base puts in none. Tests override (``tests/sim/bugs.py``)."""

    def store(self, truth: MemStore) -> Store:
        """The database, as the network reaches it."""
        return truth

    def conductor_store(self, store: Store) -> Store:
        """The store, as a conductor uses it."""
        return store

    def waker(self, waker: SimWaker) -> Waker:
        return waker

    def membership(self, membership: Membership, clock: Clock) -> None:
        """Change a conductor's membership before it runs."""

    def gateway(self, core: GatewayCore) -> None:
        """Change a gateway before it answers."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """A run's verdict. ``digest`` is equal for equal histories."""

    seed: int
    scenario: str
    breaches: list[str]
    jobs: int
    effects: int
    takeovers: int
    simulated_s: float
    cpu_s: float
    digest: str
    trace: list[str]


class PlainBox:
    """``baremetal.credentials.SecretBox`` for worlds without secrets."""

    def encrypt(self, plaintext: bytes, context: bytes) -> bytes:
        del context
        return plaintext

    def decrypt(self, blob: bytes, context: bytes) -> bytes:
        del context
        return blob


class World:
    """One run. Everything random comes from the seed."""

    def __init__(self, seed: int, scenario: Scenario, bugs: Bugs, *, trace: bool = False) -> None:
        self.seed = seed
        self.scenario = scenario
        self.bugs = bugs
        self.lease_s = scenario.lease_s
        self.loop = SimLoop(seed)
        self.network = Network(self.loop)
        self.database = Server(name="database")
        self.database_skew_s = 0.0
        self.history: list[str] = []
        self._tracing = trace
        self._digest = hashlib.blake2b(digest_size=16)
        self.referee = Referee(self.loop, self.say)
        self.store = MemStore(self._database_clock, {KIND: KINDS[KIND].columns})
        self.belongings = MemBelongings(self.store.tables)
        self.store.tables.hints.append(self._hint)
        watched = refereed(self.store, bugs.store(self.store), self.referee, scenario.lease_s)
        self._reach: Callable[[str], Store] = lambda source: remote_store(
            self.network, source, self.database, watched, scenario.lease_s / 2
        )
        self.settings = CoreSettings(
            lease_s=scenario.lease_s,
            lease_margin_s=scenario.lease_s / 5,
            tick_s=scenario.lease_s / 4,
            shards=scenario.shards,
            drain_s=30.0,
        )
        self.machines: list[SimMachine] = []
        self.errands: list[Errand] = []
        self._by_id: dict[UUID, SimMachine] = {}
        self.gateway = SimGateway(self.loop, self._wiring, bugs.gateway, self.say)
        self.conductors = self._conductors()
        self._hinted: set[str] = set()
        self.mended = False

    # -- building ------------------------------------------------------------------------

    def _database_clock(self) -> float:
        return EPOCH_S + self.loop.now + self.database_skew_s

    def _wiring(self, source: str) -> Wiring:
        return Wiring(self.network, source, self._by_id)

    def _conductors(self) -> list[SimConductor]:
        chance = self.loop.random
        parts = ConductorParts(
            reach=self._reach,
            amend_store=self.bugs.conductor_store,
            trade=self._trade,
            settings=self.settings,
            waker=self.bugs.waker,
            amend=self.bugs.membership,
        )
        keeps_id = chance.random() < 0.5
        return [
            SimConductor(
                self.loop,
                f"conductor-{number}",
                parts,
                keeps_id=keeps_id,
                registered=self._registered,
                said=self.say,
                failed=self.referee.breach,
            )
            for number in range(1, chance.randint(*self.scenario.conductors) + 1)
        ]

    def _trade(self, slot: str, store: Store) -> Trade:
        """What the conductor's role wires in production (``ops.roles.conductor``)."""
        gateway = RemoteGateway(
            self.network, slot, self.gateway.server, lambda: self.gateway.core, 1.0
        )
        belongings = remote_store(
            self.network, slot, self.database, self.belongings, self.lease_s / 2
        )
        dispatcher, box = Dispatcher(store, gateway, seal=_no_seal), PlainBox()
        observer = Observer(dispatcher, Observations(gateway, 50))
        settings = PowerSyncSettings(interval_s=self.scenario.power_sync_s or 60.0)
        sync = PowerSync(store, observer, box, settings, self.loop.uuid)
        provisioning = msgspec.structs.replace(
            PROVISIONING, concurrent_deploys_max=self.scenario.deploys_max
        )
        return Trade(
            {
                **handlers(dispatcher, box, provisioning, belongings),
                **restore_handlers(dispatcher, box, provisioning),
            },
            (*job_limits(provisioning), restore_limit(settings.restores_max)),
            (sync.run,) if self.scenario.power_sync_s else (),
        )

    def _registered(self, member: Member, life: ConductorLife) -> None:
        self.referee.lives[member.id, member.epoch] = life
        self.say(f"{life.name} is member {str(member.id)[:8]}, epoch {member.epoch}")

    def _enlist(self) -> None:
        """Machines, their nodes and the clients that want something of them."""
        chance = self.loop.random
        for number in range(chance.randint(*self.scenario.machines)):
            state, script = chance.choice(SCRIPTS)
            ref = self.store.add_object(
                KIND,
                {
                    "uuid": self.loop.uuid(),
                    "name": f"node-{number}",
                    "driver": "redfish",
                    "driver_info": {
                        "redfish_address": f"http://bmc-{number}",
                        **({"deploy_iso": "http://images/ramdisk.iso"} if number % 2 else {}),
                    },
                    **dict.fromkeys(DOCUMENTS, cast("Json", {})),
                    "provision_state": state.value,
                    "power_state": "power off",
                },
            )
            machine = SimMachine(self.loop, ref, self._reach("api"), self.referee.effect)
            machine.flawed = chance.random() < self.scenario.flaw_chance
            self.machines.append(machine)
            self._by_id[ref.id] = machine
            self.network.prompt.add(machine.server.name)
            self.errands.append(
                Errand(
                    self.loop,
                    self._reach("api"),
                    machine,
                    script,
                    within_s=self.scenario.faults_s,
                    abort_chance=self.scenario.abort_chance,
                    said=self.say,
                )
            )

    # -- what happens ----------------------------------------------------------------------

    def say(self, what: str) -> None:
        """Add a line to the history."""
        line = f"{self.loop.now:9.3f} {what}"
        self._digest.update(line.encode())
        if self._tracing:
            self.history.append(line)

    def _hint(self, topic: str) -> None:
        """The database's NOTIFY, coalesced like the real one."""
        if topic == "events":
            return  # no process of this world listens for it
        if not self._hinted:
            self.loop.call_outside(0.01, self._send_hints)
        self._hinted.add(topic)

    def _send_hints(self) -> None:
        topics = frozenset(self._hinted)
        self._hinted.clear()
        for conductor in self.conductors:
            wake = partial(conductor.waker.wake, topics)
            self.network.tell(self.database.name, conductor.slot, wake)

    def run(self) -> Outcome:
        """Let it all happen, and judge."""
        began_s = time.process_time()
        try:
            with overheard(self.referee.breach):
                try:
                    self.loop.run(self._main())
                except Exception as fault:  # noqa: BLE001 - a seed must not be lost
                    self.referee.breach(f"the world broke: {type(fault).__name__}: {fault}")
            for error in self.loop.errors:
                self.referee.breach(f"nobody caught {type(error).__name__}: {error}")
            return self._outcome(began_s)
        finally:
            self.loop.close()

    async def start(self) -> None:
        """Start every process."""
        await self.store.ensure_shards("", self.scenario.shards)
        self._enlist()
        self.gateway.start()
        for conductor in self.conductors:
            conductor.start()

    async def _main(self) -> None:
        await self.start()
        for errand in self.errands:
            self.loop.create_task(errand.run())
        await self._strike()
        self.calm()
        await self._settle()
        await self._judge()

    async def _strike(self) -> None:
        chance = random.Random(self.loop.random.getrandbits(64))
        count = chance.randint(*self.scenario.faults) if self.scenario.kinds else 0
        planned = faults.schedule(
            chance,
            self.scenario.kinds,
            count=count,
            within_s=self.scenario.faults_s,
            lease_s=self.lease_s,
        )
        for fault in planned:
            await asyncio.sleep(max(0.0, fault.at_s - self.loop.now))
            self.say(f"FAULT {fault}")
            faults.strike(self, fault)
        await asyncio.sleep(max(0.0, self.scenario.faults_s - self.loop.now))

    def calm(self) -> None:
        """Mend everything: from here on only recovery counts."""
        self.say("CALM")
        self.mended = True
        self.network.calm()
        if not self.database.up:
            self.store.restart()
            self.database.start()
        for machine in self.machines:
            machine.server.start()
            machine.stuck = False
        self.loop.resume(self.gateway.process)
        self.gateway.start()
        for conductor in self.conductors:
            if conductor.life is not None:
                self.loop.resume(conductor.life.process)
            conductor.start()

    async def _settle(self) -> None:
        """Wait for all work to end; ownership must be whole after a few leases."""
        began = self.loop.now
        owned_by_s = 4 * self.lease_s + 5
        checked = False
        while self.loop.now - began < self.scenario.settle_s:
            await asyncio.sleep(0.5)
            if not checked and self.loop.now - began >= owned_by_s:
                checked = True
                self._judge_claims(f"{owned_by_s:.0f} s after all was mended")
            if checked and not any(errand.busy for errand in self.errands):
                return

    def _judge_claims(self, when: str) -> None:
        tables = self.store.tables
        for claim in tables.shards[""]:
            if tables.living(claim.owner, claim.incarnation) is None:
                self.referee.breach(f"shard {claim.shard} has no living owner {when}")

    async def _judge(self) -> None:
        self._judge_claims("at the end")
        for errand in self.errands:
            node = await self.store.get_object(errand.machine.ref)
            for sentence in faults_of(errand, node or {}):
                self.referee.breach(sentence)

    def _outcome(self, began_s: float) -> Outcome:
        return Outcome(
            seed=self.seed,
            scenario=self.scenario.name,
            breaches=list(self.referee.breaches),
            jobs=sum(len(errand.jobs) for errand in self.errands),
            effects=len(self.referee.effects),
            takeovers=self.referee.taken,
            simulated_s=self.loop.now,
            cpu_s=time.process_time() - began_s,
            digest=self._digest.hexdigest(),
            trace=list(self.history),
        )


def _no_seal(secrets: dict[str, object], public_key: bytes, context: bytes) -> bytes:
    """Secrets are not what is simulated; sealing them costs more than all the rest."""
    del secrets, public_key, context
    return b""


ALL = tuple(faults.KINDS)
SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        Scenario(name="calm", kinds=(), settle_s=60.0),
        Scenario(name="deaths", kinds=("crash", "pause", "freeze", "last_words", "drain")),
        Scenario(
            name="network",
            kinds=("partition", "storm", "no_hints", "slow_boat", "slow_renewal", "last_words"),
        ),
        Scenario(
            name="database", kinds=("outage", "slow_renewal", "leap", "drift", "crash", "freeze")
        ),
        Scenario(
            name="gateway",
            kinds=(
                "gateway_restart",
                "gateway_pause",
                "memory_gap",
                "last_words",
                "bmc_away",
                "stuck",
            ),
            power_sync_s=5.0,
        ),
        Scenario(name="all", kinds=ALL, faults=(10, 30), power_sync_s=5.0, deploys_max=1),
    )
}


def play(
    seed: int, scenario: Scenario | None = None, bugs: Bugs | None = None, *, trace: bool = False
) -> Outcome:
    """Run one world. Without a scenario the seed chooses it."""
    if scenario is None:
        names = sorted(SCENARIOS)
        scenario = SCENARIOS[names[seed % len(names)]]
    return World(seed, scenario, bugs or Bugs(), trace=trace).run()
