"""A database of two servers: a primary, and a synchronous standby that can be promoted.

Nothing is acknowledged that the standby does not have (``synchronous_standby_names``). Two
ways lead to the one that may be written to: HAProxy, which asks each server's agent whether
it leads (as it asks Patroni's REST API), or a URL that names both. The agents are ours; what
they say is what the run has decided.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any, Final, Literal

import asyncpg
from tests.chaos.postgres import PORT, READY_S, Postgres
from tests.chaos.processes import ChaosError, Process, until

Way = Literal["proxy", "hosts"]

PROXY_PORT: Final = 5000
AGENT_PORT: Final = 8008
PROMOTION_S: Final = 30
LEADS: Final = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
FOLLOWS: Final = LEADS.replace(b"200 OK", b"503 Service Unavailable")
PROXY: Final = Path(__file__).parents[2] / "docs/examples/haproxy-database.cfg"
# A transaction that writes takes a number, even one that then waits for a standby for ever.
NUMBER: Final = "select pg_snapshot_xmax(pg_current_snapshot())::text::bigint"


class Pair:
    """As ``Postgres``, of whichever of two servers leads. ``addresses``: front, first, second."""

    movable = False

    def __init__(self, home: Path, addresses: tuple[str, str, str], subnet: str, way: Way) -> None:
        home.mkdir(mode=0o711)
        self._home, self._subnet, self._way = home, subnet, way
        self._front, first, self._second = addresses
        self._addresses = addresses[1:]
        self.leader = Postgres(home / "a", first, subnet)
        self._other: Postgres | None = None
        self._number = 0  # of the former primary's next transaction, when it came back
        self._agents: list[asyncio.Server] = []
        self._proxy: Process | None = None
        front = f"{self._front}:{PROXY_PORT}"
        both = ",".join(f"{address}:{PORT}" for address in self._addresses)
        self.url = self.leader.url.replace(f"{first}:{PORT}", front if way == "proxy" else both)

    @property
    def pid(self) -> int:
        return self.leader.pid

    @property
    def local_url(self) -> str:
        return self.leader.local_url

    @property
    def other(self) -> Postgres:
        """The standby; after a failover, the former primary."""
        if self._other is None:
            raise ChaosError("the standby was not started")
        return self._other

    async def start(self) -> None:
        """Start both, and the way to them; returns when the standby follows synchronously."""
        await self.leader.start()
        await asyncio.to_thread(_base_backup, self._home / "a", self._home / "b", self.leader)
        self._other = Postgres(self._home / "b", self._second, self._subnet)
        await self._other.start()
        await ask(self.leader, "alter system set synchronous_standby_names = '*'")
        await ask(self.leader, "alter system set autovacuum = off")  # it takes numbers, too
        await ask(self.leader, "select pg_reload_conf()")
        await until(self._synchronous, "the standby follows", READY_S)
        if self._way == "proxy":
            await self._start_proxy()

    async def _start_proxy(self) -> None:
        for server, address in zip((self.leader, self.other), self._addresses, strict=True):
            self._agents.append(await self._agent(server, address))
        program = shutil.which("haproxy")
        if program is None:
            raise ChaosError("haproxy is not installed")
        text = PROXY.read_text().replace("bind 127.0.0.1", f"bind {self._front}")
        for shown, ours in zip(("10.0.0.11", "10.0.0.12"), self._addresses, strict=True):
            assert shown in text
            text = text.replace(shown, ours)
        config = self._home / "haproxy.cfg"
        config.write_text(text)
        argv = (program, "-db", "-f", str(config))
        self._proxy = Process(argv, {}, self._home / "haproxy.log")

    async def _agent(self, server: Postgres, address: str) -> asyncio.Server:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readline()
            writer.write(LEADS if server is self.leader else FOLLOWS)
            await writer.drain()
            writer.close()

        return await asyncio.start_server(answer, address, AGENT_PORT)

    async def _synchronous(self) -> bool:
        rows = await ask(self.leader, "select sync_state from pg_stat_replication")
        return [row[0] for row in rows] == ["sync"]

    async def kill(self, number: int = signal.SIGKILL) -> None:
        await self.leader.kill(number)

    async def promote(self) -> None:
        """The standby leads from now on, on a timeline of its own."""
        if not (await ask(self.other, f"select pg_promote(true, {PROMOTION_S})"))[0][0]:
            raise ChaosError("the standby could not be promoted")
        self.leader, self._other = self.other, self.leader

    async def come_back(self) -> None:
        """The former primary starts as if nothing had happened: it takes itself for one still."""
        await self.other.start()
        if (await ask(self.other, "select pg_is_in_recovery()"))[0][0]:
            raise ChaosError("the former primary came back as a standby")
        self._number = int((await ask(self.other, NUMBER))[0][0])

    async def written_behind(self) -> int:
        """How many transactions wrote on the former primary since it came back."""
        return int((await ask(self.other, NUMBER))[0][0]) - self._number

    async def stop(self) -> None:
        for agent in self._agents:
            agent.close()
        if self._proxy is not None:
            await self._proxy.stop(signal.SIGTERM, 2)
        # The standby first: a primary's shutdown waits for those who follow it.
        if self._other is not None:
            await self._other.stop()
        await self.leader.stop()


async def ask(server: Postgres, statement: str) -> list[Any]:
    """Rows of one server, as its superuser."""
    connection: Any = await asyncpg.connect(server.prepared.admin_dsn, timeout=5)
    try:
        return list(await connection.fetch(statement, timeout=PROMOTION_S + 5))
    except (OSError, asyncpg.PostgresError) as fault:
        raise ChaosError(f"{statement}: {fault}") from fault
    finally:
        connection.terminate()


def _base_backup(one: Path, other: Path, primary: Postgres) -> None:
    """Copy the running primary, as its hot standby."""
    prepared = primary.prepared
    home = other / "postgres"
    home.mkdir(mode=0o700, parents=True)
    prepared.account.own(home)
    other.chmod(0o711)
    shutil.copy(one / "postgres.password", other)
    program = Path(prepared.argv[0]).with_name("pg_basebackup")
    admin = prepared.admin_dsn.removeprefix("postgresql://postgres:").partition("@")[0]
    source = primary.url.rpartition("@")[2].partition("/")[0]
    url = f"postgresql://postgres:{admin}@{source}/?application_name=standby"
    argv = (str(program), "-d", url, "-D", str(home / "data"), "-R", "-X", "stream", "-c", "fast")
    options = prepared.spawn_options
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60, **options)
    if done.returncode:
        raise ChaosError(f"pg_basebackup: {done.stderr}")
