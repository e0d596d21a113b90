"""The systems that are measured beside one another, each as its package starts it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any, Protocol

import aiohttp
import msgspec

from benchmarks.baremetal_api import Side
from benchmarks.peers.ironic import HOSTS, Ironic
from benchmarks.unit_costs import children
from holdfast.cli.client import Cloud
from holdfast.cli.demo.stage import Stage
from holdfast.store.embedded import EmbeddedPostgres

AS_SHIPPED = {  # what the demonstration's stage has otherwise, and one API process
    "HOLDFAST_API__PROCESSES": "1",
    "HOLDFAST_WEB__ACCESS_LOG": "true",
    "HOLDFAST_BAREMETAL__HEARTBEAT_S": "300",
    "HOLDFAST_PROVISIONING__POLL_S": "1",
    "HOLDFAST_BAREMETAL__ENABLED_HARDWARE_TYPES": "redfish,fake-hardware",
}
NO_TIME = ("--power", "0", "0", "--boot", "0", "0", "--step", "0", "0")
LONG_STEPS = ("--power", "0", "0", "--boot", "0", "0", "--step", "5", "5")
NOWHERE = "http://127.0.0.1:9"
FAKE_DEPLOY_S = 10  # where Ironic's are to be caught in the middle
PROPERTIES = {
    "cpus": 64,
    "memory_mb": 262144,
    "local_gb": 960,
    "cpu_arch": "x86_64",
    "capabilities": "boot_mode:uefi,secure_boot:true,cpu_vt:true,cpu_aes:true",
}
EXTRA = {"rack": "R17", "room": "2.04", "serial": "7XK2M93", "contract": "2026-11"}


class System(Protocol):
    """One system under load."""

    side: Side

    async def start(self) -> Side: ...
    async def before_losses(self) -> None:
        """Deployments from here on take long enough to be caught."""

    async def victim(self) -> str:
        """The conductor that will be killed, as the API calls it."""
        ...

    def kill(self, *, supervised: bool) -> None:
        """``kill -9``; unless ``supervised``, nobody starts it again."""

    def after_loss(self) -> None:
        """What was done to its supervisor is undone."""

    async def close(self) -> None: ...


class Holdfast:
    """``holdfast up`` with simulated BMCs. ``quick`` machines take no time, ``slow`` ones do."""

    side: Side

    def __init__(self, quick: int, slow: int) -> None:
        self._stage = Stage(2, AS_SHIPPED)
        self._counts = (("52:54:01", NO_TIME, quick), ("52:54:02", LONG_STEPS, slow))
        self._fleets: list[asyncio.subprocess.Process] = []
        self._machines: list[tuple[str, dict[str, Any]]] = []  # (image URL, as the fleet says)
        self._children: dict[str, int] = {}
        self._stopped = 0

    async def start(self) -> Side:
        cloud = await self._stage.start_system()
        root = cloud.auth_url.removesuffix("/identity/v3")
        for prefix, times, count in self._counts:
            await self._start_fleet(f"{root}/baremetal", prefix, times, count)
        self._children = await self._stage.children()
        token = await _token(cloud)
        self.side = Side(
            "Holdfast",
            self._stage.api_port,
            "/baremetal",
            {"X-Auth-Token": token},
            self._roots,
            self._node,
            self._mac,
            "redfish",
        )
        return self.side

    def _roots(self) -> dict[str, list[int]]:
        database = EmbeddedPostgres.prepare(self._stage.folder / "data").running_pid()
        parts: dict[str, list[int]] = {"database": [database] if database else []}
        for slot, pid in self._children.items():
            role = slot.partition("-")[0]
            if role != "postgres":
                parts.setdefault(role, []).append(pid)
        return parts

    def _mac(self, number: int) -> str:
        return self._machines[number][1]["mac"]

    def _node(self, name: str, number: int | None) -> dict[str, Any]:
        image, machine = (NOWHERE, None) if number is None else self._machines[number]
        return {
            "name": name,
            "driver": "redfish",
            "driver_info": {
                "redfish_address": machine["address"] if machine else NOWHERE,
                "redfish_username": "admin",
                "redfish_password": "password",
                "deploy_iso": f"{image}/ramdisk.iso",
            },
            "properties": PROPERTIES,
            "extra": EXTRA,
        }

    async def _start_fleet(self, api: str, prefix: str, times: tuple[str, ...], n: int) -> None:
        argv = ("--count", str(n), "--port-base", "0", "--api-url", api, "--mac-prefix", prefix)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "holdfast.sim.fleet", *argv, "--heartbeat-min", "1", *times),
            stdout=asyncio.subprocess.PIPE,
        )
        self._fleets.append(process)
        assert process.stdout is not None
        control = str(msgspec.json.decode(await process.stdout.readline())["control_url"])
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{control}/control/machines") as answer,
        ):
            machines = (await answer.json())["machines"]
        self._machines += [(control, machine) for machine in machines]

    async def before_losses(self) -> None:
        self._children = await self._stage.children()

    async def victim(self) -> str:
        answer = await self.side.ask(self.side.wires[0], "GET", "/conductors")
        names = [one["hostname"] for one in msgspec.json.decode(answer)["conductors"]]
        return next(name for name in names if name.startswith("conductor-1."))

    def kill(self, *, supervised: bool) -> None:
        pid = self._children["conductor-1"]
        if not supervised:
            self._stopped = _parent(pid)
            os.kill(self._stopped, signal.SIGSTOP)
        os.kill(pid, signal.SIGKILL)

    def after_loss(self) -> None:
        if self._stopped:
            os.kill(self._stopped, signal.SIGCONT)

    async def close(self) -> None:
        for process in self._fleets:
            process.terminate()
            await process.wait()
        await self._stage.close(keep=False)


class Peer:
    """Ironic."""

    side: Side

    def __init__(self) -> None:
        self._ironic = Ironic()
        self._slow = False

    async def start(self) -> Side:
        await self._ironic.start()
        self.side = Side(
            "Ironic",
            self._ironic.port,
            "",
            {},
            self._ironic.roots,
            self._node,
            _mac,
            "fake-hardware",
        )
        return self.side

    @staticmethod
    def _node(name: str, _number: int | None) -> dict[str, Any]:
        info = {
            "address": NOWHERE,
            "username": "admin",
            "password": "password",
            "deploy_iso": f"{NOWHERE}/ramdisk.iso",
        }
        return {
            "name": name,
            "driver": "fake-hardware",
            "driver_info": info,
            "properties": PROPERTIES,
            "extra": EXTRA,
        }

    async def before_losses(self) -> None:
        if not self._slow:
            self._slow = True
            await self._ironic.start_conductors(FAKE_DEPLOY_S)
        await self._ironic.wait_ready()

    async def victim(self) -> str:
        return HOSTS[0]

    def kill(self, *, supervised: bool) -> None:
        first = self._ironic.conductor(HOSTS[0]).pid
        workers = children(first)
        for pid in workers if supervised else [first, *workers]:
            os.kill(pid, signal.SIGKILL)

    def after_loss(self) -> None:
        """Nothing was done to it."""

    async def close(self) -> None:
        await self._ironic.close()


def _mac(number: int) -> str:
    return f"52:54:03:00:{number >> 8:02x}:{number & 255:02x}"


async def _token(cloud: Cloud) -> str:
    auth = cloud.auth
    domain = {"id": auth.get("user_domain_id", "default")}
    user = {"name": auth["username"], "password": auth["password"], "domain": domain}
    body = {
        "auth": {
            "identity": {"methods": ["password"], "password": {"user": user}},
            "scope": {"project": {"name": auth["project_name"], "domain": domain}},
        }
    }
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{cloud.auth_url}/auth/tokens", json=body) as response,
    ):
        response.raise_for_status()
        return response.headers["X-Subject-Token"]


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
