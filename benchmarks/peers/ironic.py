"""OpenStack Ironic as a peer: one API process, two conductors, fake hardware, PostgreSQL.

JSON-RPC between them, so no message broker is needed; ``noauth``, so it checks no token.
Everything else is as Ironic ships it, but automated cleaning is off, as on our side.
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

from holdfast.cli.demo.stage import free_ports
from holdfast.store.embedded import EmbeddedPostgres

PROGRAMS = Path(__file__).parents[2] / ".venv-peers" / "ironic" / "bin"
HOSTS = ("127.0.0.2", "127.0.0.3")
"""The conductors' names, by which JSON-RPC reaches them.

With a port of its own a conductor is called by host and port, but locks nodes by its host alone
and then never clears its locks: so each gets an address of its own and the port it is shipped with.
"""
RPC_PORT = 8089
START_S = 90.0
STOP_S = 20.0
FAKE = ("bios", "console", "firmware", "inspect", "raid", "rescue", "vendor")
FAKE_ONLY = ("boot", "deploy", "management", "power")


def installed() -> bool:
    """Whether ``make bench`` has put it below ``.venv-peers``."""
    return (PROGRAMS / "ironic-conductor").exists()


class Ironic:
    """One system of its own, in a folder that goes away with it."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="holdfast-peer-"))
        self.folder.chmod(0o711)  # as root, PostgreSQL runs as another user
        [self.port] = free_ports(1)
        self._postgres = EmbeddedPostgres.prepare(self.folder / "data")
        self._database: subprocess.Popen[Any] | None = None
        self._api: subprocess.Popen[bytes] | None = None
        self._conductors: dict[str, subprocess.Popen[bytes]] = {}

    async def start(self) -> None:
        """Everything, until both conductors are known to the API."""
        self._database = self._spawn_database()
        await self._postgres.wait_ready()
        (self.folder / "ironic.conf").write_text(self._configuration())
        await asyncio.to_thread(
            subprocess.run,
            [*self._argv("ironic-dbsync"), "create_schema"],
            check=True,
            capture_output=True,
        )
        await self.start_conductors(deploy_delay_s=0)
        self._api = self._spawn("ironic-api")
        await self._until_known()

    async def start_conductors(self, deploy_delay_s: int) -> None:
        """Both, anew if they run. ``deploy_delay_s``: how long its fake deployments take."""
        await self._stop(*self._conductors.values())
        for host in HOSTS:
            settings = self.folder / f"{host}.conf"
            settings.write_text(
                f"[DEFAULT]\nhost = {host}\n[json_rpc]\nhost_ip = {host}\n"
                f"[fake]\ndeploy_delay = {deploy_delay_s}\n"
            )
            self._conductors[host] = self._spawn("ironic-conductor", settings)

    async def wait_ready(self) -> None:
        """Until both conductors answer calls."""
        async with asyncio.timeout(START_S):
            for host in HOSTS:
                while not await _listens(host):
                    await asyncio.sleep(0.2)

    def conductor(self, host: str) -> subprocess.Popen[bytes]:
        """The first process of a conductor; what works is its child."""
        return self._conductors[host]

    def roots(self) -> dict[str, list[int]]:
        """The first process of each part; the rest are below them."""
        assert self._database
        assert self._api
        conductors = [process.pid for process in self._conductors.values()]
        return {
            "api": [self._api.pid],
            "conductor": conductors,
            "database": [self._database.pid],
        }

    async def close(self) -> None:
        """Stop everything and clear the folder."""
        await self._stop(*filter(None, (self._api, *self._conductors.values())))
        if self._database is not None:
            self._database.send_signal(self._postgres.stop_signal)
            await asyncio.to_thread(self._database.wait, STOP_S)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _configuration(self) -> str:
        connection = self._postgres.dsn.replace("postgresql:", "postgresql+psycopg2:", 1)
        enabled = [f"enabled_{kind}_interfaces = fake,no-{kind}" for kind in FAKE]
        enabled += [f"enabled_{kind}_interfaces = fake" for kind in FAKE_ONLY]
        return "\n".join(
            (
                "[DEFAULT]",
                "auth_strategy = noauth",
                "rpc_transport = json-rpc",
                f"state_path = {self.folder}",
                "enabled_hardware_types = fake-hardware",
                "enabled_network_interfaces = noop",
                "enabled_storage_interfaces = noop",
                "default_network_interface = noop",
                *enabled,
                "[api]",
                "host_ip = 127.0.0.1",
                f"port = {self.port}",
                "api_workers = 1",
                "[conductor]",
                "automated_clean = false",
                "[json_rpc]",
                "auth_strategy = noauth",
                "[database]",
                f"connection = {connection}",
                "",
            )
        )

    def _argv(self, program: str, *more: Path) -> list[str]:
        files = (self.folder / "ironic.conf", *more)
        options = [word for file in files for word in ("--config-file", str(file))]
        return [str(PROGRAMS / program), *options]

    def _spawn(self, program: str, *more: Path) -> subprocess.Popen[bytes]:
        with (self.folder / f"{program}.log").open("ab") as log:
            return subprocess.Popen(
                self._argv(program, *more),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _spawn_database(self) -> subprocess.Popen[Any]:
        with (self.folder / "postgres.log").open("wb") as log:
            options: dict[str, Any] = {"stdout": log, "stderr": log}
            options |= self._postgres.spawn_options
            return subprocess.Popen(self._postgres.argv, **options)

    async def _stop(self, *processes: subprocess.Popen[bytes]) -> None:
        for process in processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                await asyncio.to_thread(process.wait, STOP_S)
            with contextlib.suppress(ProcessLookupError):  # its session is its own
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    async def _until_known(self) -> None:
        url = f"http://127.0.0.1:{self.port}/v1/conductors"
        headers = {"X-OpenStack-Ironic-API-Version": "1.95"}
        async with asyncio.timeout(START_S), aiohttp.ClientSession(headers=headers) as session:
            while True:
                with contextlib.suppress(aiohttp.ClientError):
                    async with session.get(url) as response:
                        if len((await response.json())["conductors"]) == len(HOSTS):
                            break
                await asyncio.sleep(0.2)
        await self.wait_ready()


async def _listens(host: str) -> bool:
    try:
        _, writer = await asyncio.open_connection(host, RPC_PORT)
    except OSError:
        return False
    writer.close()
    return True
