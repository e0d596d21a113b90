"""The fleet put together: machines, their BMCs on their ports, agents, control."""

from __future__ import annotations

import asyncio
import logging
import resource
from collections.abc import Callable, Coroutine
from functools import partial
from random import Random
from uuid import UUID, uuid5

import msgspec

from holdfast.errors import HoldfastError
from holdfast.sim.fleet.accounts import Account
from holdfast.sim.fleet.agent import Agent, Surroundings
from holdfast.sim.fleet.bmc import Bmc
from holdfast.sim.fleet.caller import HttpCaller
from holdfast.sim.fleet.control import Control
from holdfast.sim.fleet.faults import Faults
from holdfast.sim.fleet.http import HttpServer, Reply, Request, Response, json_response
from holdfast.sim.fleet.journal import Journal
from holdfast.sim.fleet.machine import Machine
from holdfast.sim.fleet.redfish import Redfish
from holdfast.sim.fleet.settings import FleetSettings
from holdfast.sim.fleet.sushy import RAMDISK_IMAGE, SushyBridge

LOG = logging.getLogger(__name__)
FLEET = UUID("6f1d0d5e-2d0c-4d6f-9a55-7a1c3d0c9e11")  # namespace of the machines' UUIDs
SPARE_FILES = 2_000  # open files beside the listening sockets: connections


class FleetError(HoldfastError):
    """The fleet cannot start as it was told to; the message says what to change."""

    code = "fleet"


class FleetInfo(msgspec.Struct, frozen=True, kw_only=True):
    """Where a started fleet is."""

    count: int
    host: str
    port_base: int  # BMC n is at port_base + n, unless ports were left to the system
    single_port: bool
    control_url: str
    journal: str
    username: str


class Fleet:
    """All machines of one process. ``start`` it, ``close`` it."""

    def __init__(self, settings: FleetSettings) -> None:
        settings.check()
        self.config = settings
        self.journal = Journal(settings.journal, reads=settings.journal_reads)
        self._rng = Random(settings.seed)
        self._loop = asyncio.get_running_loop()
        self._caller = HttpCaller()
        self._around = Surroundings(
            settings=settings.agent,
            times=settings.times,
            clock=self._loop,
            rng=self._rng,
            journal=self.journal,
            caller=self._caller,
        )
        self.machines: list[Machine] = []
        self.agents: dict[int, Agent] = {}
        self._bmcs: list[Bmc] = []
        self._agent_servers: dict[int, HttpServer] = {}
        self._servers: list[HttpServer] = []
        self._control = Control(self)
        self._service = HttpServer(self._serve, settings.host, settings.control_port)
        self._account = Account(
            username=settings.username,
            password=settings.password,
            session_limit=settings.session_limit,
            session_idle_s=settings.session_idle_s,
        )
        self._bridge: SushyBridge | None = None
        self._opening: set[asyncio.Task[None]] = set()

    # -- life -------------------------------------------------------------------------------

    async def start(self) -> FleetInfo:
        """Listen on every port. Raises FleetError when one is taken."""
        _allow_files(2 * self.config.count + SPARE_FILES)
        try:
            await self._service.open()
            if self.config.sushy_url:
                self._bridge = self._bridged()
            else:
                self._build()
                for server in self._servers:
                    await server.open()
        except OSError as error:
            await self.close()
            raise FleetError(
                f"cannot listen: {error.strerror or error}; choose another port base or port"
            ) from error
        for machine in self.machines:
            self.set_faults(machine, self.config.faults, lambda: None)
        return FleetInfo(
            count=len(self.machines),
            host=self.config.host,
            port_base=self._servers[0].port if self._servers else 0,
            single_port=self.config.single_port,
            control_url=f"http://{self.config.host}:{self._service.port}",
            journal=self.config.journal,
            username=self.config.username,
        )

    async def close(self) -> None:
        for agent in self.agents.values():
            agent.stop()
        for machine in self.machines:
            machine.halt()
        for task in list(self._opening):
            task.cancel()
        for server in [*self._servers, *self._agent_servers.values(), self._service]:
            server.close()
        await self._caller.close()
        self.journal.close()

    def _build(self) -> None:
        config = self.config
        for index in range(config.count):
            name = f"bmc-{index:05d}"
            self.machines.append(
                Machine(
                    index,
                    name=name,
                    uuid=uuid5(FLEET, f"{config.mac_prefix}/{index}"),
                    mac=f"{config.mac_prefix}:{index.to_bytes(3).hex(':')}",
                    times=config.times,
                    clock=self._loop,
                    rng=self._rng,
                    watcher=self,
                )
            )
        groups = (
            [{str(machine.index): machine for machine in self.machines}]
            if config.single_port
            else [{"1": machine} for machine in self.machines]
        )
        for index, machines in enumerate(groups):
            redfish = Redfish(machines, self._account, self._loop.time)
            name = "all" if config.single_port else self.machines[index].name
            bmc = Bmc(name, redfish, clock=self._loop, rng=self._rng, journal=self.journal)
            port = config.port_base + index if config.port_base else 0
            self._bmcs.append(bmc)
            self._servers.append(HttpServer(bmc, config.host, port))

    def _bridged(self) -> SushyBridge:
        return SushyBridge(
            self.config.sushy_url,
            f"{self.config.username}:{self.config.password}",
            times=self.config.times,
            clock=self._loop,
            rng=self._rng,
            caller=self._caller,
            watcher=self,
            adopt=self.machines.append,
        )

    # -- Watcher: what machines do ----------------------------------------------------------

    def ramdisk_up(self, machine: Machine) -> None:
        agent = Agent(machine, self._around, api_url=self.config.api_url)
        self.agents[machine.index] = agent
        self._later(self._listen(machine.index, agent))

    def ramdisk_down(self, machine: Machine) -> None:
        agent = self.agents.pop(machine.index, None)
        if agent is not None:
            agent.stop()
        server = self._agent_servers.get(machine.index)
        if server is not None:
            server.close()

    async def _listen(self, index: int, agent: Agent) -> None:
        """Open the agent's port, the same at each boot if it is free, and let it call."""
        server = self._agent_servers.get(index)
        if server is None:
            base = self.config.agent_port_base
            port = base + index if base else 0
            server = HttpServer(partial(self._to_agent, index), self.config.host, port)
            self._agent_servers[index] = server
        try:
            await self._open_somewhere(server)
        except OSError as error:
            LOG.warning("the agent of machine %d cannot listen: %s", index, error)
            return
        if self.agents.get(index) is agent:
            host = self.config.advertise_host or self.config.host
            agent.start(f"http://{host}:{server.port}")
        elif index not in self.agents:
            server.close()  # its machine went dark meanwhile

    async def _open_somewhere(self, server: HttpServer) -> None:
        """On the port of its last boot; another one if somebody took a port that was any."""
        try:
            await server.open()
        except OSError:
            if self.config.agent_port_base or not server.port:
                raise  # that port was asked for
            server.port = 0
            await server.open()

    def _to_agent(self, index: int, request: Request, reply: Reply) -> None:
        agent = self.agents.get(index)
        if agent is None:
            reply(None)
        else:
            agent.handle(request, reply)

    def changed(self, machine: Machine, what: str, value: str) -> None:
        self.journal.state(machine.name, what, value)

    # -- Controlled -------------------------------------------------------------------------

    def address(self, machine: Machine) -> str:
        if not self._servers:
            return self.config.sushy_url
        server = self._servers[0 if self.config.single_port else machine.index]
        return f"http://{self.config.host}:{server.port}"

    def requests(self) -> int:
        return sum(bmc.requests for bmc in self._bmcs)

    def set_faults(self, machine: Machine, faults: Faults, done: Callable[[], None]) -> None:
        machine.set_faults(faults)
        if not self._servers or self.config.single_port:
            done()
            return
        server = self._servers[machine.index]
        if faults.dead == "refuse":
            server.close()
            done()
            return
        self._later(server.open()).add_done_callback(lambda _: done())

    def _later(self, coroutine: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(coroutine)
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)
        return task

    def reset_bmc(self, machine: Machine) -> None:
        if self._bmcs:
            self._bmcs[0 if self.config.single_port else machine.index].redfish.sessions.forget()

    # -- the control port -------------------------------------------------------------------

    def _serve(self, request: Request, reply: Reply) -> None:
        first = request.path.lstrip("/").partition("/")[0]
        if first == "control":
            self._control(request, reply)
        elif first == "ramdisk.iso" and request.method in ("GET", "HEAD"):
            reply(Response(200, RAMDISK_IMAGE))
        elif first == "notify" and self._bridge is not None:
            self._notified(self._bridge, request, reply)
        else:
            reply(json_response({"code": "not_found", "message": "see /control/machines"}, 404))

    def _notified(self, bridge: SushyBridge, request: Request, reply: Reply) -> None:
        try:
            bridge.notified(request.body)
        except HoldfastError as error:
            document = {"code": error.code, "message": error.message}
            reply(json_response(document, error.status))
        else:
            reply(Response(204))


def _allow_files(wanted: int) -> None:
    """Raise this process's limit of open files as far as needed and allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        raised = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, raised), hard))


async def run_fleet(settings: FleetSettings, ready: Callable[[FleetInfo], None]) -> None:
    """Run a fleet until cancelled. ``ready`` is called once every port listens.

    Raises ConfigError for settings that cannot be, FleetError for ports in use.
    """
    fleet = Fleet(settings)
    try:
        ready(await fleet.start())
        await asyncio.get_running_loop().create_future()
    finally:
        await fleet.close()
