"""A real RabbitMQ for tests: a node of its own on free ports, in a directory of its own.

It is Debian's package (``make`` installs it), run without its service: own home, cookie and
epmd, reached by AMQP alone.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from uuid import uuid4

import aio_pika
import pytest

SCRIPT = "/usr/lib/rabbitmq/bin/rabbitmq-server"
START_S = 60.0


def free_port() -> int:
    with closing(socket.socket()) as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class RabbitMq:
    """One node. ``kill`` is SIGKILL; ``start`` after it finds what was on disk."""

    def __init__(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="holdfast-rabbitmq-"))
        self.port, dist, epmd = free_port(), free_port(), free_port()
        config = self.home / "rabbitmq.conf"
        config.write_text(
            f"listeners.tcp.default = 127.0.0.1:{self.port}\n"
            "num_acceptors.tcp = 2\nlog.console = false\nlog.file.level = warning\n"
        )
        (self.home / "plugins").write_text("[].\n")
        self._env = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            "ERL_EPMD_PORT": str(epmd),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"holdfast{os.getpid()}@localhost",
            "RABBITMQ_DIST_PORT": str(dist),
            "RABBITMQ_MNESIA_BASE": str(self.home / "data"),
            "RABBITMQ_LOG_BASE": str(self.home / "log"),
            "RABBITMQ_CONFIG_FILE": str(config),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self.home / "none.config"),
            "RABBITMQ_CONF_ENV_FILE": str(self.home / "none.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.home / "plugins"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none",
        }
        self._epmd = subprocess.Popen(["epmd"], env=self._env)
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, vhost: str = "%2F", password: str = "guest") -> str:
        return f"amqp://guest:{password}@127.0.0.1:{self.port}/{vhost}"

    def start(self) -> None:
        """Begin to start; ``ready`` says when it has."""
        with (self.home / "out").open("ab") as out:
            self._process = subprocess.Popen(
                [SCRIPT], env=self._env, stdout=out, stderr=out, start_new_session=True
            )

    def kill(self) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def ready(self) -> None:
        """Wait until it lets somebody in."""
        asyncio.run(self._ready())

    async def _ready(self) -> None:
        until = time.monotonic() + START_S
        while not await self._answers():
            assert time.monotonic() < until, (self.home / "out").read_text()
            assert self._process is not None
            assert self._process.poll() is None, (self.home / "out").read_text()
            await asyncio.sleep(0.1)

    async def _answers(self) -> bool:
        try:
            async with asyncio.timeout(5), await aio_pika.connect(self.url()):
                return True
        except (OSError, TimeoutError):
            return False

    def close(self) -> None:
        self.kill()
        self._epmd.kill()
        self._epmd.wait()
        shutil.rmtree(self.home, ignore_errors=True)


@pytest.fixture(scope="package")
def rabbitmq() -> Iterator[RabbitMq]:
    """One node for the tests of a package that import this into their conftest."""
    server = RabbitMq()
    try:
        server.start()
        server.ready()
        yield server
    finally:
        server.close()


def fresh_queue() -> str:
    return f"q{uuid4().hex[:8]}"
