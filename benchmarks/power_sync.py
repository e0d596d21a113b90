"""Power sync of 100, 1,000 and 5,000 Redfish BMCs, and operators' requests meanwhile.

A system of its own by ``holdfast up`` with one conductor and one gateway process; simulated
BMCs that answer after 50 ms, 1 % of them dead (half refuse connections, half accept and never
answer). CPU is read from /proc. What conductor and gateway spend without any node is taken off
for the cost of a BMC's pass, and is in the share of a core that both need together. Then the
same with an operator who reads nodes and switches machines on, each a few times a second.

The time to the BMC is from the moment before a request to switch a machine on is sent to the
API, until the first command of its job arrives at the BMC (the fleet's journal).
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import asyncpg
import msgspec

from benchmarks.unit_costs import children, cpu_s
from holdfast.baremetal.credentials import encrypt_driver_secrets
from holdfast.cli.demo.cloud import Api
from holdfast.cli.demo.stage import Stage
from holdfast.sim.fleet.journal import read_lines
from holdfast.store.embedded import EmbeddedPostgres
from holdfast.store.keyring import Keyring, LiveVault

TITLE = "Power sync"
RUNS = ((100, 1.2), (1_000, 12.0), (5_000, 60.0))  # BMCs, interval in seconds: equal rates
LATENCY_S = 0.05
DEAD_OF = 100  # one in so many
SETTLE_S = 4.0
IDLE_S = 12.0
QUIET_S_MIN = 20.0
BUSY_S = 30.0
PAUSE_S = 0.1  # between an operator's requests
PARTS = ("conductor-1", "rack-1")
DATABASE = "postgres"
LIMIT_S = 60.0
SYSTEM = "/redfish/v1/Systems/1"

SHARDS = "select shard from shard_claim where grp = '' order by shard"
COUNTED = "update shard_claim set objects = objects + 1 where grp = '' and shard = $1"
INSERT = """
insert into node (uuid, name, grp, shard, driver, driver_info, driver_secrets, provision_state,
                  power_state)
values ($1, $2, '', $3, 'redfish', $4, $5, 'active', 'power off')
"""


class Measured(msgspec.Struct, kw_only=True):
    """Of one run. Latencies in seconds."""

    bmcs: int
    interval_s: float
    cpu_s: dict[str, float] = {}  # of each part, over ``took_s``, with power sync alone
    idle: dict[str, float] = {}  # shares of a core
    took_s: float = 0.0
    observed: int = 0
    busy: float = 0.0  # the share of a core of all parts, operators' requests included
    gets: list[float] = []
    puts: list[float] = []
    to_bmc: list[float] = []

    @property
    def core(self) -> float:
        """The share of a core that all parts needed together, idling included."""
        return sum(self.cpu_s[part] for part in PARTS) / self.took_s

    def each_ms(self, part: str) -> float:
        """CPU of one BMC's pass."""
        spent = self.cpu_s[part] - self.idle[part] * self.took_s
        return spent / self.observed * 1e3


def measure() -> list[tuple[str, str, str]]:
    """Rows of (what, aim, measured)."""
    chosen = os.environ.get("BENCH_BMCS")
    runs = [run for run in RUNS if not chosen or str(run[0]) in chosen.split(",")]
    rows: list[tuple[str, str, str]] = []
    for bmcs, interval_s in runs:
        rows += _rows(asyncio.run(Bench(bmcs, interval_s).run()))
    return rows


def _rows(run: Measured) -> list[tuple[str, str, str]]:
    name = f"{run.bmcs:,} BMCs every {run.interval_s:g} s"
    conductor, gateway = (run.each_ms(part) for part in PARTS)
    return [
        (
            f"{name}: CPU of one BMC's pass",
            "flat, ≤ 12 ms",
            f"{conductor + gateway:.2f} ms (conductor {conductor:.2f}, gateway {gateway:.2f}; "
            f"{run.observed:,} passes)",
        ),
        (f"{name}: conductor and gateway together", "≤ 1 core", f"{run.core:.3f} core"),
        (
            f"{name}: … and PostgreSQL beside them",
            "",
            f"{run.each_ms(DATABASE):.2f} ms a pass, {run.cpu_s[DATABASE] / run.took_s:.3f} core",
        ),
        (f"{name}: … with an operator's requests", "≤ 1 core", f"{run.busy:.3f} core"),
        (f"{name}: GET of a node, p50 / p99", "≤ 50 ms", _shown(run.gets)),
        (f"{name}: request to switch on, p50 / p99", "≤ 50 ms", _shown(run.puts)),
        (f"{name}: … until its first command is at the BMC", "", _shown(run.to_bmc)),
    ]


def _shown(times: list[float]) -> str:
    if len(times) < 2:
        return "–"
    cut = statistics.quantiles(times, n=100, method="inclusive")
    return f"{cut[49] * 1e3:.1f} / {cut[98] * 1e3:.1f} ms ({len(times)})"


class Bench:
    """One run."""

    def __init__(self, bmcs: int, interval_s: float) -> None:
        self._measured = Measured(bmcs=bmcs, interval_s=interval_s)
        self._stage = Stage(
            conductors=1,
            settings={
                "HOLDFAST_POWER_SYNC__INTERVAL_S": str(interval_s),
                "HOLDFAST_API__PROCESSES": "1",
            },
        )
        self._journal = self._stage.folder / "reads.jsonl"
        self._fleet: asyncio.subprocess.Process | None = None
        self._nodes: list[UUID] = []
        self._asked: dict[int, float] = {}  # machine -> wall clock of the request

    async def run(self) -> Measured:
        try:
            cloud = await self._stage.start_system()
            pids = await self._stage.children()
            parts = {part: pids[part] for part in (*PARTS, DATABASE)}
            machines = await self._start_fleet()
            await asyncio.sleep(SETTLE_S)
            self._measured.idle = {
                part: spent / IDLE_S for part, spent in (await _spent(parts, IDLE_S)).items()
            }
            await self._enrol(machines)
            interval_s = self._measured.interval_s
            # Until nodes are found, routes granted, and all BMCs logged in to.
            await asyncio.sleep(interval_s * 1.25 + SETTLE_S)
            await self._watch(parts, max(interval_s / 2, QUIET_S_MIN))
            async with Api(cloud) as api:
                operator = asyncio.create_task(self._operate(api))
                spent = await _spent(parts, BUSY_S)
                self._measured.busy = sum(spent[part] for part in PARTS) / BUSY_S
                operator.cancel()
                await asyncio.gather(operator, return_exceptions=True)
            self._read_journal()
        finally:
            if self._fleet is not None:
                self._fleet.terminate()
                await self._fleet.wait()
            await self._stage.close(keep=False)
        return self._measured

    async def _start_fleet(self) -> list[dict[str, Any]]:
        log = self._stage.folder / "fleet.log"
        argv = ("--count", str(self._measured.bmcs), "--port-base", "0", "--journal-reads")
        argv = (*argv, "--journal", str(self._journal))
        with log.open("wb") as sink:
            self._fleet = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "holdfast.sim.fleet", *argv, stdout=sink, stderr=sink
            )
        async with asyncio.timeout(LIMIT_S):
            while not log.read_text().endswith("}\n"):
                await asyncio.sleep(0.1)
        control = str(msgspec.json.decode(log.read_text().splitlines()[-1])["control_url"])
        async with aiohttp.ClientSession() as session:
            slow = {"latency": {"median_s": LATENCY_S}}
            await _faults(session, control, "all", slow)
            dead = range(0, self._measured.bmcs, DEAD_OF)
            for how, which in (("refuse", dead[::2]), ("hang", dead[1::2])):
                if which:
                    await _faults(session, control, list(which), {"dead": how})
            async with session.get(f"{control}/control/machines") as response:
                return (await response.json())["machines"]

    async def _enrol(self, machines: list[dict[str, Any]]) -> None:
        """Straight into the database: what is measured is not the API's creation of nodes."""
        data = self._stage.folder / "data"
        vault = LiveVault(Keyring(data / "master.key", {}))
        connection = await asyncpg.connect(EmbeddedPostgres.prepare(data).dsn)
        shards = [row["shard"] for row in await connection.fetch(SHARDS)]
        rows: list[tuple[Any, ...]] = []
        for machine in machines:
            node = uuid4()
            self._nodes.append(node)
            info = {"redfish_address": machine["address"], "redfish_username": "admin"}
            sealed = encrypt_driver_secrets(vault, node, {"redfish_password": "password"})
            index = int(machine["index"])
            shard = shards[index % len(shards)]
            rows.append((node, f"m{index:05d}", shard, msgspec.json.encode(info).decode(), sealed))
        async with connection.transaction():
            await connection.executemany(COUNTED, [(row[2],) for row in rows])
            await connection.executemany(INSERT, rows)
        await connection.close()

    async def _watch(self, parts: dict[str, int], for_s: float) -> None:
        before = self._journal.stat().st_size
        began = time.monotonic()
        self._measured.cpu_s = await _spent(parts, for_s)
        self._measured.took_s = time.monotonic() - began
        with self._journal.open("rb") as lines:
            lines.seek(before)
            seen = [line for line in read_lines(lines) if line is not None]
        # The dead are asked, too, and do not always say so in the journal.
        heard = sum(1 for line in seen if line.step == "power-sync" and line.path == SYSTEM)
        self._measured.observed = round(heard * DEAD_OF / (DEAD_OF - 1))

    async def _operate(self, api: Api) -> None:
        """Read one node, switch another on, and again; a dead one is nobody's to switch."""
        for number in range(1, len(self._nodes)):
            if number % DEAD_OF == 0:
                continue
            node = f"/baremetal/v1/nodes/{self._nodes[number]}"
            self._measured.gets.append(await _timed(api.call("GET", node)))
            await asyncio.sleep(PAUSE_S)
            self._asked[number] = time.time()
            asking = api.call("PUT", f"{node}/states/power", {"target": "power on"})
            self._measured.puts.append(await _timed(asking))
            await asyncio.sleep(PAUSE_S)

    def _read_journal(self) -> None:
        with self._journal.open("rb") as lines:
            for line in read_lines(lines):
                if line is None or not line.job:
                    continue
                asked = self._asked.pop(int(line.machine.removeprefix("bmc-")), None)
                if asked is not None:
                    self._measured.to_bmc.append(line.wall - line.took_s - asked)


async def _faults(
    session: aiohttp.ClientSession, control: str, machines: Any, faults: dict[str, Any]
) -> None:
    body = {"machines": machines, "faults": faults}
    async with session.put(f"{control}/control/faults", json=body) as response:
        response.raise_for_status()


async def _spent(parts: dict[str, int], for_s: float) -> dict[str, float]:
    """CPU seconds of each process over a while."""
    before = {part: _cpu_s(part, pid) for part, pid in parts.items()}
    await asyncio.sleep(for_s)
    return {part: _cpu_s(part, pid) - before[part] for part, pid in parts.items()}


def _cpu_s(part: str, pid: int) -> float:
    """PostgreSQL's is that of its children, also of those that have ended."""
    if part == DATABASE:
        return cpu_s(pid, ended=True) + sum(map(cpu_s, children(pid)))
    threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9


async def _timed(request: Any) -> float:
    began = time.perf_counter()
    await request
    return time.perf_counter() - began
