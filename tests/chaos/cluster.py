"""A whole deployment as real processes: one supervised host, and hosts without a supervisor.

    our namespace      PostgreSQL · `holdfast up`: APIs, gateway, some conductors · the fleet
    a namespace each   `holdfast run conductor`, started again when it ends, reported by nobody

Without namespaces the unsupervised conductors run beside the others, on loopback.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import aiohttp
import asyncpg
import msgspec
from tests.chaos.network import Host, Network, Peer
from tests.chaos.postgres import PORT, Postgres
from tests.chaos.processes import ChaosError, Kept, Process, until
from tests.chaos.replicas import Pair, Way

from holdfast.bmc.client import GatewayClient
from holdfast.cli.client import Cloud, find_cloud
from holdfast.ops.datadir import DataDir
from holdfast.sim.fleet.faults import Faults, Latency

START_S: Final = 90.0
HOLDFAST: Final = (sys.executable, "-P", "-m", "holdfast.cli.main")
LOOPBACK: Final = "127.0.0.1"
ROOT: Final = Path(__file__).parents[2]

# Quick machines and short leases; everything that decides between right and wrong is as shipped.
SETTINGS: Final = {
    "HOLDFAST_CORE__TICK_S": "0.25",
    "HOLDFAST_CORE__SHARDS": "256",
    "HOLDFAST_BAREMETAL__HEARTBEAT_S": "6",
    "HOLDFAST_PROVISIONING__POLL_S": "0.3",
    "HOLDFAST_PROVISIONING__COMMAND_TIMEOUT_S": "15",
    "HOLDFAST_WEB__ACCESS_LOG": "false",
    "HOLDFAST_LOGS__FORMAT": "json",
}
FLEET_OPTIONS: Final = (
    *("--heartbeat-min", "1"),
    *("--power", "0.1", "0.3"),
    *("--boot", "0.5", "2"),
    *("--step", "0.5", "2.5"),
)

# So that there is always something in hand, and whether it was done is not always known.
SLOW_AND_LOSSY: Final = Faults(
    latency=Latency(median_s=0.1, sigma=0.8, max_s=2.0),
    lost_answer_rate=0.01,
    agent_lost_answer_rate=0.02,
)


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """What runs. ``buggy``: roles that run with a known bug in them (tests/chaos/buggy.py).

    ``machines``: what is wrong with every machine. ``pair``: a database with a synchronous
    standby, and how the one is found that leads; None: one server.
    """

    nodes: int = 50
    supervised: int = 2
    unsupervised: int = 2
    apis: int = 2
    lease_s: float = 1.5
    clean: bool = False
    buggy: dict[str, str] = {}
    pair: Way | None = None
    machines: Faults = SLOW_AND_LOSSY
    settings: dict[str, str] = {}


class Incarnation(msgspec.Struct, frozen=True):
    """One registration of a member."""

    member: UUID
    epoch: int


class Fleet(msgspec.Struct, frozen=True, kw_only=True):
    """Where the simulated machines are."""

    process: Process
    control_url: str
    journal: Path
    machines: list[dict[str, Any]]


class Cluster:
    """Everything of one run. Use it as an asynchronous context manager."""

    def __init__(self, layout: Layout, network: Network | None = None) -> None:
        self.layout = layout
        self.folder = Path(tempfile.mkdtemp(prefix="holdfast-chaos-"))
        self.folder.chmod(0o711)  # as root, PostgreSQL runs as another user
        tail = f"{os.getpid() % 250}.{_odd()}"
        self.address = network.address if network else f"127.0.{tail}"
        self.postgres = self._database(network, tail)
        self.api_port, self._host_port, self.rack_port = _free_ports(3)
        self.data = self.folder / "up"
        self.hosts: dict[str, Host | None] = {
            f"conductor-h{n + 1}": network.hosts[n] if network else None
            for n in range(layout.unsupervised)
        }
        self.kept: dict[str, Kept] = {}
        self._up: Process | None = None
        self._fleet: Fleet | None = None
        self._http: aiohttp.ClientSession | None = None
        self._connection: Any = None
        self._asking = asyncio.Lock()

    def _database(self, network: Network | None, tail: str) -> Postgres | Pair:
        home, subnet = self.folder / "db", network.subnet if network else "127.0.0.0/8"
        if self.layout.pair is None:
            return Postgres(home, self.address, subnet)
        return Pair(
            home, (self.address, f"127.1.{tail}", f"127.2.{tail}"), subnet, self.layout.pair
        )

    @property
    def pair(self) -> Pair:
        """The database, where it is one of two servers."""
        assert isinstance(self.postgres, Pair)
        return self.postgres

    # -- life -------------------------------------------------------------------------------

    async def __aenter__(self) -> Cluster:
        try:
            self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5))
            await self.postgres.start()
            if "rack" in self.layout.buggy:
                self._make_secret()
                self.kept["rack-1"] = Kept(lambda: self._run("rack", "rack-1", self.data))
            await self._start_up()
            self._fleet = await self._start_fleet()
            for slot in self.hosts:
                self.kept[slot] = self._keep_conductor(slot)
            count = self.layout.supervised + self.layout.unsupervised
            await until(lambda: self._settled(count), "all conductors own shards", START_S)
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End every process that was started here, and remove the folder."""
        await asyncio.gather(*(kept.stop() for kept in self.kept.values()))
        if self._up is not None:
            await self._up.stop()
        if self._fleet is not None:
            await self._fleet.process.stop()
        if self._connection is not None:
            self._connection.terminate()
        await self.postgres.stop()
        if self._http is not None:
            await self._http.close()
        if not os.environ.get("HOLDFAST_TEST_CHAOS_KEEP"):
            shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def environ(self) -> dict[str, str]:
        """What every role is given."""
        layout = self.layout
        rack = self.address
        return {
            **{k: v for k, v in os.environ.items() if not k.startswith("HOLDFAST_")},
            **SETTINGS,
            "HOLDFAST_DATABASE__URL": self.postgres.url,
            "HOLDFAST_CORE__LEASE_S": f"{layout.lease_s}",
            "HOLDFAST_CORE__LEASE_MARGIN_S": f"{min(1.0, layout.lease_s / 3):.3f}",
            "HOLDFAST_PROVISIONING__AUTOMATED_CLEAN": str(layout.clean).lower(),
            "HOLDFAST_RACK__HOST": rack,
            "HOLDFAST_RACK__PORT": str(self.rack_port),
            "HOLDFAST_RACK__PLAIN_HTTP": "true",
            "HOLDFAST_BMC__ALLOW_LOOPBACK": "true",
            **layout.settings,
        }

    async def _start_up(self) -> None:
        env = {
            **self.environ,
            "HOLDFAST_DATA_DIR": str(self.data),
            "HOLDFAST_API__PORT": str(self.api_port),
            "HOLDFAST_API__PROCESSES": str(self.layout.apis),
            "HOLDFAST_CONDUCTOR__PROCESSES": str(self.layout.supervised),
            "HOLDFAST_SUPERVISOR__PORT": str(self._host_port),
            **({"HOLDFAST_RACK__URL": self.gateway_url} if "rack" in self.layout.buggy else {}),
        }
        up = self._up = Process((*HOLDFAST, "up"), env, self.folder / "up.log")

        async def ready() -> bool:
            if up.status is not None:
                raise ChaosError(f"`holdfast up` ended:\n{up.tail()}")
            return await self.answers(f"http://{LOOPBACK}:{self._host_port}/readyz")

        await until(ready, "`holdfast up` is ready", START_S)

    def _keep_conductor(self, slot: str) -> Kept:
        home = self.folder / slot
        self._share_keys(home)
        return Kept(lambda: self._run("conductor", slot, home, self.hosts[slot]))

    def _make_secret(self) -> None:
        """A gateway that ``up`` does not run needs its secret before ``up`` makes it."""
        data = DataDir(self.data).prepare()
        data.secret(data.gateway_secret)

    def _share_keys(self, home: Path) -> None:
        """What a host is given of the first one's keys (docs: "On several hosts")."""
        home.mkdir(mode=0o700)
        for name in ("master.key", "gateway.secret"):
            shutil.copy(self.data / name, home / name)

    def _run(self, role: str, slot: str, home: Path, host: Host | None = None) -> Process:
        program = HOLDFAST
        if (bug := self.layout.buggy.get(role)) is not None:
            program = (sys.executable, "-m", "tests.chaos.buggy", bug)
        argv = (*(host.prefix if host else ()), *program, "run", role, "--slot", slot)
        env = {**self.environ, "HOLDFAST_DATA_DIR": str(home)}
        return Process(argv, env, self.folder / f"{slot}.log", cwd=ROOT)

    async def _start_fleet(self) -> Fleet:
        journal, log = self.folder / "journal.jsonl", self.folder / "fleet.log"
        options = {
            "--count": str(self.layout.nodes),
            "--port-base": "0",
            "--api-url": f"{self.url}/baremetal",
            "--journal": str(journal),
        }
        words = (word for pair in options.items() for word in pair)
        process = Process((*HOLDFAST, "fleet", *FLEET_OPTIONS, *words), os.environ, log)

        async def said() -> bool:
            if process.status is not None:
                raise ChaosError(f"the fleet ended:\n{process.tail()}")
            return log.read_text().endswith("}\n")

        await until(said, "the fleet is ready", START_S)
        control = str(msgspec.json.decode(log.read_text().splitlines()[-1])["control_url"])
        body = {"machines": "all", "faults": msgspec.to_builtins(self.layout.machines)}
        assert self._http is not None
        async with self._http.put(f"{control}/control/faults", json=body) as response:
            assert response.status == 200, await response.text()
        listed = await self.fetch(f"{control}/control/machines")
        return Fleet(
            process=process, control_url=control, journal=journal, machines=listed["machines"]
        )

    # -- who and where ----------------------------------------------------------------------

    @property
    def url(self) -> str:
        """The APIs' address."""
        return f"http://{LOOPBACK}:{self.api_port}"

    @property
    def gateway_url(self) -> str:
        return f"http://{self.address}:{self.rack_port}"

    @property
    def ports(self) -> dict[Peer, int]:
        """Where a host's conductor finds its peers."""
        return {"database": PORT, "gateway": self.rack_port}

    @property
    def fleet(self) -> Fleet:
        if self._fleet is None:
            raise ChaosError("the fleet was not started")
        return self._fleet

    @property
    def gateway_state(self) -> Path:
        return self.data / "gateway"

    async def gateway_highest(self) -> int:
        """The highest epoch that the gateway has seen."""
        secret = (self.data / "gateway.secret").read_text().strip()
        gateway = GatewayClient(self.gateway_url, secret)
        try:
            return int((await gateway.status())["highest"])
        finally:
            await gateway.close()

    def cloud(self) -> Cloud:
        """How to log in."""
        return find_cloud(None, {}, self.data / "clouds.yaml")

    async def children(self) -> dict[str, int]:
        """Slot -> process id of what the supervisor runs."""
        document = await self.fetch(f"http://{LOOPBACK}:{self._host_port}/status")
        return {c["slot"]: c["pid"] for c in document["children"] if c["pid"] is not None}

    async def pid(self, slot: str) -> int:
        """The process that runs in a slot now; waits while it is being started again."""
        if slot in self.kept:
            return self.kept[slot].pid
        pids: dict[str, int] = {}

        async def there() -> bool:
            pids.update(await self.children())
            return slot in pids

        await until(there, f"{slot} is started", START_S)
        return pids[slot]

    def conductors(self, *, supervised: bool | None = None) -> list[str]:
        """Slots of conductors."""
        below = [f"conductor-{n + 1}" for n in range(self.layout.supervised)]
        if supervised is None:
            return [*below, *self.hosts]
        return below if supervised else list(self.hosts)

    async def answers(self, url: str) -> bool:
        assert self._http is not None
        try:
            async with self._http.get(url) as response:
                return response.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def fetch(self, url: str) -> dict[str, Any]:
        assert self._http is not None
        try:
            async with self._http.get(url) as response:
                document: dict[str, Any] = await response.json()
                return document
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ChaosError(f"{url} does not answer: {error!r}") from error

    # -- what the database says (for timing only; never for the verdict) -----------------------

    async def query(self, statement: str, *args: object) -> list[Any] | None:
        """Rows, or None while the database does not answer."""
        async with self._asking:
            try:
                if self._connection is None:
                    self._connection = await asyncpg.connect(self.postgres.local_url, timeout=2)
                return list(await self._connection.fetch(statement, *args, timeout=2))
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                if self._connection is not None:
                    self._connection.terminate()
                self._connection = None
                return None

    async def value(self, statement: str) -> Any:
        """One value, as soon as the database answers."""
        return (await self._surely(statement))[0][0]

    async def _surely(self, statement: str) -> list[Any]:
        found: list[list[Any]] = []

        async def answered() -> bool:
            rows = await self.query(statement)
            found.extend([rows] if rows is not None else [])
            return rows is not None

        await until(answered, f"an answer to {statement}", START_S)
        return found[0]

    async def incarnation(self, slot: str) -> Incarnation | None:
        """As whom the slot is registered now; None: as nobody."""
        rows = await self.query(
            "select id, epoch from member where slot = $1 and state <> 'gone'", slot
        )
        return Incarnation(rows[0]["id"], rows[0]["epoch"]) if rows else None

    async def members(self) -> set[Incarnation]:
        """Everybody who is registered now."""
        rows = await self._surely("select id, epoch from member where state <> 'gone'")
        return {Incarnation(row["id"], row["epoch"]) for row in rows}

    async def shards_of(self, one: Incarnation) -> int:
        """How many claims still name that incarnation (-1: nobody answers)."""
        rows = await self.query(
            "select count(*) from shard_claim where owner = $1 and incarnation = $2",
            one.member,
            one.epoch,
        )
        return -1 if rows is None else int(rows[0][0])

    async def _settled(self, members: int) -> bool:
        """Every shard has a living owner, and so many members have a share."""
        rows = await self.query(
            "select count(*) free from shard_claim c where not exists (select from member m where "
            "m.id = c.owner and m.epoch = c.incarnation and m.state = 'up') "
            "union all select count(distinct owner) from shard_claim"
        )
        return bool(rows) and rows[0][0] == 0 and rows[1][0] >= members

    async def settled(self, within_s: float) -> float:
        """Wait until every shard has a living owner; returns how long it took."""
        return await until(lambda: self._settled(1), "all shards are owned", within_s)


def tail_of(folder: Path, lines: Mapping[str, int]) -> str:
    """The ends of some logs, for a report."""
    said: list[str] = []
    for name, count in lines.items():
        path = folder / name
        if path.exists():
            text = path.read_text(errors="replace").splitlines()[-count:]
            said += [f"--- {name}", *text]
    return "\n".join(said)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for sock in sockets:
            sock.bind((LOOPBACK, 0))
        return [int(sock.getsockname()[1]) for sock in sockets]
    finally:
        for sock in sockets:
            sock.close()


def _odd() -> int:
    return 1 + os.getpid() // 250 % 250
