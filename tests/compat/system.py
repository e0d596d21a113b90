"""Holdfast as a user starts it, and a balancer in front of further API processes of it."""

from __future__ import annotations

import re
import shutil
import sys
import urllib.error
import urllib.request
from pathlib import Path

from tests.compat.programs import Program, free_ports

from holdfast.store.embedded import EmbeddedPostgres

ROOT = Path(__file__).parents[2]
HOLDFAST = (Path(sys.executable).parent / "holdfast",)
HAPROXY_EXAMPLE = ROOT / "docs" / "examples" / "haproxy.cfg"
READY_S = 90.0

# Everything else is as shipped. A short rhythm, because the simulated machines are quick.
SETTINGS = {
    "HOLDFAST_BAREMETAL__ENABLED_HARDWARE_TYPES": "redfish,fake-hardware",
    "HOLDFAST_BAREMETAL__HEARTBEAT_S": "10",
    "HOLDFAST_PROVISIONING__POLL_S": "0.3",
    "HOLDFAST_LOGS__FORMAT": "json",
}
_UP = re.compile(r"Holdfast is up at (\S+)")


class System:
    """``holdfast up`` on a data directory and ports of its own."""

    def __init__(self, folder: Path) -> None:
        self.data_dir = folder / "data"
        self.environ = {
            **SETTINGS,
            "HOLDFAST_DATA_DIR": str(self.data_dir),
            "HOLDFAST_API__PORT": "0",
            "HOLDFAST_SUPERVISOR__PORT": "0",
            "HOLDFAST_RACK__PORT": "0",
        }
        self.up = Program([*HOLDFAST, "up"], folder / "up.log", self.environ)
        said = self.up.wait_until(
            lambda: _UP.search(self.up.output()), "it said that it is up", READY_S
        )
        self.url = said.group(1)

    @property
    def clouds(self) -> Path:
        """The clouds.yaml made at the first start."""
        return self.data_dir / "clouds.yaml"

    @property
    def baremetal_url(self) -> str:
        return f"{self.url}/baremetal"

    def access_logs(self) -> list[Path]:
        """Where its API processes say what they answered."""
        return sorted((self.data_dir / "logs").glob("api-*.log"))

    def stop(self) -> None:
        self.up.stop()


class ApiProcess:
    """``holdfast run api`` with a port of its own, beside those of ``holdfast up``."""

    def __init__(self, system: System, slot: str, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.program = Program(
            [*HOLDFAST, "run", "api", "--slot", slot],
            system.data_dir / "logs" / f"{slot}.log",
            {
                **system.environ,
                "HOLDFAST_API__PORT": str(port),
                "HOLDFAST_DATABASE__URL": EmbeddedPostgres.prepare(system.data_dir).dsn,
            },
        )

    def wait_ready(self) -> None:
        self.program.wait_until(lambda: answers(f"{self.url}/readyz"), "it was ready", READY_S)


class Balancer:
    """HAProxy, configured as the documentation's example, and the two APIs behind it."""

    def __init__(self, system: System, folder: Path) -> None:
        own, *ports = free_ports(3)
        self.url = f"http://127.0.0.1:{own}"
        self.apis = [
            ApiProcess(system, f"api-behind-{n}", port) for n, port in enumerate(ports, start=1)
        ]
        config = HAPROXY_EXAMPLE.read_text()
        for example, port in (("8443", own), ("8081", ports[0]), ("8091", ports[1])):
            config = config.replace(f"127.0.0.1:{example}", f"127.0.0.1:{port}")
        (folder / "haproxy.cfg").write_text(config)
        program = shutil.which("haproxy") or "/usr/sbin/haproxy"
        self.program = Program(
            [program, "-db", "-f", folder / "haproxy.cfg"], folder / "haproxy.log"
        )
        for api in self.apis:
            api.wait_ready()
        self.program.wait_until(lambda: answers(f"{self.url}/readyz"), "an API was behind it")
        self.clouds = folder / "clouds.yaml"
        self.clouds.write_text(system.clouds.read_text().replace(system.url, self.url))
        self.clouds.chmod(0o600)

    @property
    def baremetal_url(self) -> str:
        return f"{self.url}/baremetal"

    def stop(self) -> None:
        self.program.stop()
        for api in self.apis:
            api.program.stop()


def answers(url: str) -> bool:
    """Whether a GET is answered with 200."""
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return response.status == 200
    except (urllib.error.URLError, OSError):
        return False
