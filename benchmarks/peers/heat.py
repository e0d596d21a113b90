"""OpenStack Heat as a peer: one API process, four engine workers, PostgreSQL and RabbitMQ.

``noauth``, so it checks no token and needs no Keystone. Everything else is as Heat ships it, but
the number of engine workers (its default is by the number of cores) and the limit on resources.
Its API is a WSGI application that needs a server of its own: gunicorn, with threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg

from holdfast.cli.demo.stage import free_ports
from holdfast.store.embedded import EmbeddedPostgres

HOME = Path(__file__).parents[2] / ".venv-peers" / "heat"
PROGRAMS = HOME / "bin"
BROKERS = Path("/usr/lib/rabbitmq/lib")
WORKERS = 4
PROJECT = "benchmark"
START_S = 120.0
STOP_S = 20.0
SECRET = "0123456789abcdef0123456789abcdef"


def missing() -> str | None:
    """What keeps it from running here; None: nothing."""
    if not (PROGRAMS / "heat-engine").exists():
        return "Heat is not installed: `make bench ARGS=beside_heat` does that first"
    if not list(BROKERS.glob("*/sbin/rabbitmq-server")):
        return f"RabbitMQ is not installed below {BROKERS} (Debian: rabbitmq-server)"
    return None


class Heat:
    """One system of its own, in a folder that goes away with it."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="holdfast-peer-"))
        self.folder.chmod(0o711)  # as root, PostgreSQL runs as another user
        self.port, self._broker_port, self._dist_port, self._epmd_port = free_ports(4)
        self._postgres = EmbeddedPostgres.prepare(self.folder / "data")
        self._running: dict[str, subprocess.Popen[Any]] = {}

    @property
    def dsn(self) -> str:
        """Its database."""
        return self._postgres.dsn

    async def start(self) -> None:
        """Everything, until the API answers and all engine workers are known to it."""
        self._start("database", [*self._postgres.argv], **self._postgres.spawn_options)
        self._start("broker", [str(_broker())], env=self._broker_environ())
        await self._postgres.wait_ready()
        self._configure()
        await asyncio.to_thread(
            subprocess.run,
            [*self._argv("heat-manage"), "db_sync"],
            check=True,
            capture_output=True,
        )
        await self._until_listening(self._broker_port)
        self._start("engine", self._argv("heat-engine"))
        await self._until_working()
        bind = ("--bind", f"127.0.0.1:{self.port}", "--workers", "1", "--threads", "8")
        environ = {**os.environ, "OS_HEAT_CONFIG_DIR": str(self.folder)}
        server = [
            str(PROGRAMS / "gunicorn"),
            *bind,
            "--pythonpath",
            str(self.folder),
            "application",
        ]
        self._start("api", server, env=environ, cwd=self.folder)
        await self._until_known()

    def roots(self) -> dict[str, list[int]]:
        """The first process of each part; the rest are below them."""
        return {part: [process.pid] for part, process in self._running.items()}

    async def close(self) -> None:
        """Stop everything and clear the folder."""
        for part in ("api", "engine", "broker", "database"):
            if (process := self._running.get(part)) is not None:
                await self._stop(part, process)
        # The names' daemon of the broker's runtime outlives it.
        environ = self._broker_environ()
        kill = ["epmd", "-kill"]
        await asyncio.to_thread(subprocess.run, kill, env=environ, capture_output=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    async def _stop(self, part: str, process: subprocess.Popen[Any]) -> None:
        process.send_signal(self._postgres.stop_signal if part == "database" else signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            await asyncio.to_thread(process.wait, STOP_S)
        if part != "database":
            with contextlib.suppress(ProcessLookupError):  # its session is its own
                os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def _configure(self) -> None:
        connection = self._postgres.dsn.replace("postgresql:", "postgresql+psycopg2:", 1)
        settings = "\n".join(
            (
                "[DEFAULT]",
                f"transport_url = rabbit://guest:guest@127.0.0.1:{self._broker_port}//",
                f"num_engine_workers = {WORKERS}",
                f"auth_encryption_key = {SECRET}",
                "max_resources_per_stack = -1",
                "deferred_auth_method = password",
                "[paste_deploy]",
                "flavor = noauth",
                f"api_paste_config = {HOME / 'etc' / 'heat' / 'api-paste.ini'}",
                "[oslo_policy]",  # without Keystone everybody is "admin", which may create nothing
                "enforce_new_defaults = false",
                "enforce_scope = false",
                "[database]",
                f"connection = {connection}",
                "",
            )
        )
        (self.folder / "heat.conf").write_text(settings)
        # Heat reads the command line, which is the server's: so it is given one of its own.
        (self.folder / "application.py").write_text(
            "import sys\n"
            f"sys.argv = ['heat-api', '--config-file', {str(self.folder / 'heat.conf')!r}]\n"
            "from heat.wsgi.api import application\n"
        )

    def _argv(self, program: str) -> list[str]:
        return [str(PROGRAMS / program), "--config-file", str(self.folder / "heat.conf")]

    def _broker_environ(self) -> dict[str, str]:
        """A node of its own: its files, ports and names are nobody else's."""
        home = self.folder / "broker"
        home.mkdir(exist_ok=True)
        plugins = home / "plugins"
        plugins.write_text("[].")
        return {
            **os.environ,
            "HOME": str(home),
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"peer{self._broker_port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self._broker_port),
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "RABBITMQ_MNESIA_BASE": str(home / "data"),
            "RABBITMQ_LOG_BASE": str(home / "log"),
            "RABBITMQ_CONFIG_FILE": str(home / "none"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(plugins),
        }

    def _start(self, part: str, argv: list[str], **options: Any) -> None:
        with (self.folder / f"{part}.log").open("ab") as log:
            self._running[part] = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **options,
            )

    async def _until_listening(self, port: int) -> None:
        async with asyncio.timeout(START_S):
            while True:
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.close()
                    return
                await asyncio.sleep(0.2)

    async def _until_working(self) -> None:
        """Until all workers have said that they live; a call before that waits for a minute."""
        async with asyncio.timeout(START_S):
            connection: Any = await asyncpg.connect(self.dsn)
            try:
                while await connection.fetchval("select count(*) from service") < WORKERS:
                    await asyncio.sleep(0.5)
            finally:
                await connection.close()

    async def _until_known(self) -> None:
        url = f"http://127.0.0.1:{self.port}/v1/{PROJECT}/services"
        headers = {"X-Auth-Project": PROJECT, "X-Auth-User": "bench"}
        async with asyncio.timeout(START_S), aiohttp.ClientSession(headers=headers) as session:
            while True:
                with contextlib.suppress(aiohttp.ClientError):
                    async with session.get(url) as response:
                        if response.status == 200:
                            listed = (await response.json())["services"]
                            if sum(one["status"] == "up" for one in listed) == WORKERS:
                                return
                await asyncio.sleep(0.5)


def _broker() -> Path:
    return max(BROKERS.glob("*/sbin/rabbitmq-server"))
