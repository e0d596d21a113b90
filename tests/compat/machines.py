"""Machines to provision: our own simulated fleet, and sushy-tools' emulator from the registry."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_DNS, uuid5

import msgspec
from tests.compat.clients import BIN
from tests.compat.programs import Program, free_ports

MODULE = (sys.executable, "-m", "holdfast.sim.fleet")
USERNAME, PASSWORD = "admin", "a mock's password"
PASSWORD_BCRYPT = "$2b$04$yvR9iNUbziJF//Qh5/QAYuaaeRkWhwdF0AwEWsChr7kY8EbV4NGhm"

# Quicker than the fleet's defaults: the clients are what is tested here.
TIMES = (
    *("--power", "0.1", "0.4"),
    *("--boot", "0.3", "0.8"),
    *("--step", "0.2", "0.6"),
    *("--heartbeat-min", "1"),
)


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """What a user knows of a machine when enrolling it."""

    driver_info: dict[str, str]
    mac: str


class Fleet:
    """``python -m holdfast.sim.fleet``. Its ramdisks boot from the network."""

    def __init__(
        self, folder: Path, api_url: str, *options: str, count: int, name: str = "fleet"
    ) -> None:
        self.journal = folder / f"{name}.journal.jsonl"
        argv = [*MODULE, "--api-url", api_url, *TIMES]
        argv += ["--count", str(count), "--port-base", "0", "--journal", str(self.journal)]
        argv += ["--username", USERNAME, "--password", PASSWORD]
        self.program = Program([*argv, *options], folder / f"{name}.log")
        ready = self.program.wait_until(
            lambda: self.program.output().endswith("}\n"), "it said where it is"
        )
        assert ready
        self.control_url: str = json.loads(self.program.output())["control_url"]

    def machines(self) -> Iterator[Machine]:
        """Each of them once."""
        for found in self.control("machines")["machines"]:
            info = {
                "redfish_address": found["address"],
                "redfish_username": USERNAME,
                "redfish_password": PASSWORD,
            }
            yield Machine(driver_info=info, mac=found["mac"])

    def control(self, path: str) -> Any:
        with urllib.request.urlopen(f"{self.control_url}/control/{path}", timeout=10) as response:
            return json.load(response)

    def assert_no_double_command(self) -> int:
        """The referee's verdict over what its BMCs and agents heard; returns how many commands."""
        argv = [*MODULE, "referee", str(self.journal), "--require-origin", "--json"]
        judged = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert judged.returncode == 0, judged.stdout + judged.stderr
        return int(json.loads(judged.stdout)["commands"])

    def stop(self) -> None:
        self.program.stop()


class Sushy:
    """``sushy-emulator --fake`` with a password, and the fleet as the agents in its machines.

    A system there reports its changes to ``EXTERNAL_NOTIFICATION_URL``, and a fleet in
    ``--sushy`` mode then boots the simulated agent. Its ramdisks boot from virtual media.
    """

    def __init__(self, folder: Path, api_url: str, *, count: int) -> None:
        (port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{port}"
        self.agents = Fleet(folder, api_url, "--sushy", self.url, count=0, name="sushy-agents")
        self._systems = [
            {
                "uuid": str(uuid5(NAMESPACE_DNS, f"sushy-{number}")),
                "name": f"sushy-{number}",
                "power_state": "Off",
                "external_notifier": True,
                "nics": [{"mac": f"52:54:01:00:00:{number:02x}", "ip": "192.0.2.1"}],
            }
            for number in range(1, count + 1)
        ]
        self.program = Program(
            [BIN / "sushy-emulator", "--fake", "--config", self._configure(folder, port)],
            folder / "sushy.log",
        )
        self.program.wait_until(self._answers, "it answered")

    def _configure(self, folder: Path, port: int) -> Path:
        users = folder / "sushy.htpasswd"
        users.write_text(f"{USERNAME}:{PASSWORD_BCRYPT}\n")
        settings = {
            "SUSHY_EMULATOR_LISTEN_IP": "127.0.0.1",
            "SUSHY_EMULATOR_LISTEN_PORT": port,
            "SUSHY_EMULATOR_AUTH_FILE": str(users),
            "SUSHY_EMULATOR_STATE_DIR": str(folder),
            "SUSHY_EMULATOR_FAKE_SYSTEMS": self._systems,
            "EXTERNAL_NOTIFICATION_URL": f"{self.agents.control_url}/notify",
        }
        config = folder / "sushy.conf"
        config.write_text("".join(f"{name} = {value!r}\n" for name, value in settings.items()))
        return config

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/redfish/v1/", timeout=5) as response:
                return response.status == 200
        except OSError:
            return False

    def machines(self) -> Iterator[Machine]:
        for system in self._systems:
            info = {
                "redfish_address": self.url,
                "redfish_system_id": f"/redfish/v1/Systems/{system['uuid']}",
                "redfish_username": USERNAME,
                "redfish_password": PASSWORD,
                "deploy_iso": f"{self.agents.control_url}/ramdisk.iso",
            }
            yield Machine(driver_info=info, mac=system["nics"][0]["mac"])

    def stop(self) -> None:
        self.program.stop()
        self.agents.stop()
