"""What a piece of work costs on this machine: the figures that ``holdfast plan`` reckons with.

A whole system (``holdfast up``) with simulated BMCs on loopback; CPU is read from /proc, for
each process of the system by itself, over a stretch of work that is counted. What an idle
process spends meanwhile is taken off. Writes ``src/holdfast/ops/planner/costs.toml``.
"""

from __future__ import annotations

import asyncio
import os
import platform
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import uvloop

from holdfast import __version__
from holdfast.cli.demo.cloud import Api
from holdfast.cli.demo.stage import Fleet, Stage
from holdfast.ops.planner.costs import FILE
from holdfast.store.embedded import EmbeddedPostgres

TITLE = "Unit costs"
MACHINES = 200
DEPLOYS = 40
LOOKING_S = 30.0
SETTLE_S = 5.0
GETS = 4000
AT_ONCE = 16
IDLE_S = 5.0
TICK_S = 1 / os.sysconf("SC_CLK_TCK")
STACKS = 4
RESOURCES = 500
GROUPS = ("conductor", "gateway", "api", "engine", "database")


@dataclass
class Cpu:
    """CPU seconds of each part of a system, by group."""

    pids: dict[str, list[int]]
    idle: dict[str, float] = field(default_factory=dict[str, float])  # CPU-s per second

    def read(self) -> dict[str, float]:
        found = {group: sum(map(cpu_s, pids)) for group, pids in self.pids.items()}
        [postmaster] = self.pids["database"]
        found["database"] = cpu_s(postmaster, ended=True) + sum(map(cpu_s, children(postmaster)))
        return found

    async def learn_idle(self) -> None:
        before, began = self.read(), time.monotonic()
        await asyncio.sleep(IDLE_S)
        after, took = self.read(), time.monotonic() - began
        self.idle = {group: (after[group] - before[group]) / took for group in GROUPS}

    async def spent(self, work: Callable[[], Awaitable[None]]) -> tuple[dict[str, float], float]:
        """CPU seconds each group spent on the work beyond idling, and how long it took."""
        before, began = self.read(), time.monotonic()
        await work()
        took = time.monotonic() - began
        after = self.read()
        return {g: max(0.0, after[g] - before[g] - self.idle[g] * took) for g in GROUPS}, took


@dataclass
class Found:
    """A figure, what it is in words, and where it comes from."""

    value: float
    what: str
    how: str


def cpu_s(pid: int, *, ended: bool = False) -> float:
    """User and system CPU of a process; ``ended``: with its children that have ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return sum(int(fields[n]) for n in ((11, 12, 13, 14) if ended else (11, 12))) * TICK_S


def children(parent: int) -> list[int]:
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(fields[1]) == parent:
                found.append(int(entry.name))
    return found


def memory_mb(pid: int) -> float:
    """Resident memory of a process."""
    [line] = re.findall(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(line) / 1024


async def each(items: list[Any], work: Callable[[Any], Awaitable[object]]) -> None:
    """All of them, ``AT_ONCE`` at a time."""
    waiting = iter(items)

    async def worker() -> None:
        for item in waiting:
            await work(item)

    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))


class Bench:
    """One system, measured part by part."""

    def __init__(self, stage: Stage, api: Api, fleet: Fleet, cpu: Cpu, dsn: str) -> None:
        self.stage = stage
        self.api = api
        self.fleet = fleet
        self.cpu = cpu
        self.dsn = dsn
        self.nodes: list[str] = []
        self.found: dict[str, Found] = {}
        self.rate: dict[str, float] = {}

    async def run_looks(self) -> None:
        """The part of a system whose power sync looks every second."""
        await self._enrol()
        await self.cpu.learn_idle()
        how = f"{MACHINES} simulated machines enrolled, nothing asked for, {IDLE_S:g} s"
        self._note("nodes_measured", MACHINES, "machines", "simulated, on loopback")
        for group in ("conductor", "gateway", "api", "engine"):
            share = self.cpu.idle[group] / len(self.cpu.pids[group])
            self._note(f"{group}_idle", share, f"share of a core, idle, {group}", how)
        await self._all_to(self.nodes, "manage", "manageable")
        await self._looks()

    async def run_rest(self) -> None:
        """The part of a system without power sync."""
        await self._enrol()
        await self.cpu.learn_idle()
        await self._deployments()
        await self._gets()
        await self._stacks()
        self._memory()

    async def _enrol(self) -> None:
        async def one(machine: dict[str, Any]) -> None:
            info = {
                "redfish_address": machine["address"],
                "redfish_username": "admin",
                "redfish_password": "password",
                "deploy_iso": f"{self.fleet.control_url}/ramdisk.iso",
            }
            name = f"m{int(machine['index']):03d}"
            self.nodes.append(await self.api.create(name, info, machine["mac"]))

        await each(self.fleet.machines, one)

    async def _looks(self) -> None:
        """Power sync as it is: the conductor asks in batches, the gateway asks the BMCs."""
        await asyncio.sleep(SETTLE_S)  # sessions are opened and layouts learnt
        looks, requests = await self._commands(), await self._requests()
        spent, took = await self.cpu.spent(lambda: asyncio.sleep(LOOKING_S))
        looks, requests = await self._commands() - looks, await self._requests() - requests
        self.rate["looks"] = looks / took
        how = f"power sync of {MACHINES} BMCs over http each second, {looks:,.0f} looks"
        size = requests / looks * await self._bytes()
        for name, value, what, more in (
            ("drivers.redfish.gateway_look_ms", spent["gateway"] * 1000 / looks,
             "a look at a BMC's power state, gateway", "sessions kept"),
            ("drivers.redfish.look_requests", requests / looks,
             "… requests to the BMC", "counted by the gateway"),
            ("drivers.redfish.look_bytes", size,
             "… bytes both ways", "length of the system's document, and 700 for the heads"),
            ("conductor_look_ms", spent["conductor"] * 1000 / looks,
             "… conductor", "credentials sealed for the gateway"),
            ("database_look_ms", spent["database"] * 1000 / looks,
             "… database", "nothing had changed"),
        ):  # fmt: skip
            self._note(name, value, what, f"{how}; {more}")

    async def _deployments(self) -> None:
        nodes = self.nodes[:DEPLOYS]
        await self._all_to(nodes, "manage", "manageable")
        await self._all_to(nodes, "provide", "available")
        commands = await self._commands()
        spent, took = await self.cpu.spent(lambda: self._all_to(nodes, "active", "active"))
        commands = await self._commands() - commands
        connection = await asyncpg.connect(self.dsn)
        try:
            # A journalled step knows how often it was begun: that many runs it took.
            steps = await connection.fetchval(
                "select sum(s.attempt) from job_step s join job j on j.id = s.job "
                "where j.kind = 'node.deploy'"
            )
        finally:
            await connection.close()
        self.rate["deployments"] = len(nodes) / took
        how = f"{len(nodes)} deployments of simulated machines at once, {steps} step runs"
        self._note(
            "conductor_step_ms",
            spent["conductor"] * 1000 / steps,
            "a job step, conductor",
            f"{how}; with the BMC commands and call-backs in them",
        )
        self._note(
            "database_step_ms", spent["database"] * 1000 / steps, "… database", f"{how}; fsync on"
        )
        self._note("steps_per_deploy", steps / len(nodes), "step runs in a deployment", how)
        self._note(
            "commands_per_deploy",
            commands / len(nodes),
            "BMC and agent commands in a deployment",
            f"{how}, counted by the gateway",
        )

    async def _gets(self) -> None:
        async def get(number: int) -> None:
            await self.api.call("GET", f"/baremetal/v1/nodes/{self.nodes[number % MACHINES]}")

        await each(list(range(200)), get)
        spent, took = await self.cpu.spent(lambda: each(list(range(GETS)), get))
        self.rate["gets"] = GETS / took
        how = f"{GETS:,} GET /v1/nodes/UUID over kept connections"
        self._note("api_get_ms", spent["api"] * 1000 / GETS, "an API request, API process", how)
        self._note("database_get_ms", spent["database"] * 1000 / GETS, "… database", how)

    async def _stacks(self) -> None:
        """Stacks are created and deleted again: each resource is operated on twice."""
        root = "/orchestration/v1/" + await self._project()
        resource = {"type": "OS::Heat::TestResource", "properties": {"value": "x"}}
        template = {
            "heat_template_version": "2021-04-16",
            "resources": {f"r{n}": resource for n in range(RESOURCES)},
        }

        async def make(number: int) -> None:
            body = {"stack_name": f"cost-{number}", "template": template, "timeout_mins": 10}
            await self.api.call("POST", f"{root}/stacks", body)

        async def all_made() -> None:
            await each(list(range(STACKS)), make)
            await self._until_stacks(root, "CREATE_COMPLETE")

        async def all_gone() -> None:
            for stack in (await self.api.read(f"{root}/stacks"))["stacks"]:
                await self.api.call("DELETE", f"{root}/stacks/{stack['stack_name']}/{stack['id']}")
            await self._until_stacks(root, None)

        made, took_s = await self.cpu.spent(all_made)
        gone, _ = await self.cpu.spent(all_gone)
        count = STACKS * RESOURCES
        self.rate["resources created"] = count / took_s
        how = f"{STACKS} stacks of {RESOURCES} independent TestResources"
        for name, value, what, more in (
            ("engine_operation_ms", (made["engine"] + gone["engine"]) * 500 / count,
             "an operation on a resource, engine", "created, then deleted"),
            ("database_operation_ms", (made["database"] + gone["database"]) * 500 / count,
             "… database", "created, then deleted; fsync on"),
            ("api_resource_ms", made["api"] * 1000 / count,
             "a resource of a template, API process", "compiled, checked, asked after"),
        ):  # fmt: skip
            self._note(name, value, what, f"{how}, {more}")

    async def _project(self) -> str:
        """The project that we are logged in to."""
        found = await self.api.read("/identity/v3/projects")
        [project] = [one["id"] for one in found["projects"] if one["name"] == "admin"]
        return str(project)

    async def _until_stacks(self, root: str, status: str | None) -> None:
        """Until all have that status; None: until all are gone."""
        while True:
            stacks = (await self.api.read(f"{root}/stacks"))["stacks"]
            states = {stack["stack_status"] for stack in stacks}
            if failed := [one for one in states if one.endswith("FAILED")]:
                raise SystemExit(f"a stack became {failed[0]}")
            if states == ({status} if status else set[str]()):
                return
            await asyncio.sleep(0.2)

    def _memory(self) -> None:
        for group in ("conductor", "gateway", "api", "engine"):
            pids = self.cpu.pids[group]
            self._note(
                f"{group}_mb",
                sum(map(memory_mb, pids)) / len(pids),
                f"resident memory, {group}",
                f"after all this, with {MACHINES} nodes",
            )

    def _note(self, name: str, value: float, what: str, how: str) -> None:
        self.found[name] = Found(max(value, 0.001), what, how)

    async def _all_to(self, nodes: list[str], target: str, state: str) -> None:
        await each(nodes, lambda node: self.api.provision(node, target))
        wanted = set(nodes)
        while True:
            states = {n["uuid"]: n["provision_state"] for n in await self.api.nodes()}
            if failed := [s for n, s in states.items() if n in wanted and s.endswith("failed")]:
                raise SystemExit(f"a node did not become {state}: {failed[0]}")
            if all(states[node] == state for node in wanted):
                return
            await asyncio.sleep(0.5)

    def _gateway_port(self) -> int:
        [pid] = self.cpu.pids["gateway"]
        environ = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        [port] = [entry for entry in environ if entry.startswith(b"HOLDFAST_RACK__PORT=")]
        return int(port.partition(b"=")[2])

    async def _metric(self, name: str) -> float:
        url = f"http://127.0.0.1:{self._gateway_port()}/metrics"
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            page = await response.text()
        found = re.findall(rf"^{name}(?:{{.*}})? ([\d.e+]+)$", page, re.MULTILINE)
        return sum(float(value) for value in found)

    async def _requests(self) -> float:
        made = await self._metric("holdfast_gateway_connections_total")
        return made + await self._metric("holdfast_gateway_connections_reused_total")

    async def _commands(self) -> float:
        return await self._metric("holdfast_gateway_commands_total")

    async def _bytes(self) -> float:
        machine = self.fleet.machines[0]
        auth = aiohttp.BasicAuth("admin", "password")
        url = f"{machine['address']}/redfish/v1/Systems/1"
        async with aiohttp.ClientSession(auth=auth) as session, session.get(url) as response:
            return len(await response.read()) + 700


async def measured(interval_s: float, part: Callable[[Bench], Awaitable[None]]) -> Bench:
    """Start a system and a fleet, measure one part, stop both."""
    stage = Stage(1, {"HOLDFAST_POWER_SYNC__INTERVAL_S": str(interval_s)})
    try:
        cloud = await stage.start_system()
        async with Api(cloud) as api:
            fleet = await stage.start_fleet(MACHINES, api.baremetal_url)
            pids: dict[str, list[int]] = {group: [] for group in GROUPS}
            names = {"rack": "gateway", "postgres": "database"}
            for slot, pid in (await stage.children()).items():
                role = slot.partition("-")[0]
                pids[names.get(role, role)].append(pid)
            postgres = EmbeddedPostgres.prepare(stage.folder / "data")
            bench = Bench(stage, api, fleet, Cpu(pids), postgres.dsn)
            await part(bench)
            return bench
    finally:
        await stage.close(keep=False)


async def both() -> Bench:
    """A system that does nothing but look at power states, then one that does all the rest."""
    looks = await measured(1.0, Bench.run_looks)
    rest = await measured(0.0, Bench.run_rest)
    rest.found = {**looks.found, **rest.found}
    rest.rate |= looks.rate
    return rest


def processor() -> str:
    found = re.findall(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[0] if found else platform.machine()


def data_file(found: dict[str, Found]) -> str:
    """``costs.toml``."""
    lines = [
        "# Written by `python -m benchmarks unit_costs`; the planner's figures and their source.",
        "# CPU in milliseconds of one core of this machine, which is speed 1.",
        "",
        "[measured]",
        f'day = "{time.strftime("%Y-%m-%d")}"',
        f'machine = "{os.cpu_count()} cores, {processor()}"',
        f'software = "Holdfast {__version__}, Python {platform.python_version()}, embedded '
        'PostgreSQL, everything on one host"',
        f'load = "{os.getloadavg()[1]:.1f} over five minutes: CPU a piece holds, rates do not"',
        'command = "python -m benchmarks unit_costs"',
    ]
    for name, one in found.items():
        lines += ["", f"[costs.{name}]", f"value = {one.value:.4g}", f'how = "{one.how}"']
    return "\n".join(lines) + "\n"


def measure() -> list[tuple[str, str, str]]:
    """Rows of (what, aim, measured)."""
    bench = uvloop.run(both())
    FILE.write_text(data_file(bench.found))
    rows = [
        (one.what, "-", f"{one.value:.4g}" + (" ms CPU" if name.endswith("_ms") else ""))
        for name, one in bench.found.items()
    ]
    rates = ", ".join(f"{value:,.0f} {name}/s" for name, value in bench.rate.items())
    return [*rows, ("rates on the shared machine, everything included", "-", rates)]
