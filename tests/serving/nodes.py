"""Real API nodes on loopback, and packages to serve."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from holdfast.serving.packages.build import Built, build

KEY = "a-key-of-some-length"
START_S = 60.0
ADD = "def add(a, b=1):\n    return a + b\n"
QUICK = "[workers]\nlibraries = []\n[http]\ndrain_notice_s = 0.3\n"


def function(name: str, **more: Any) -> dict[str, Any]:
    """An endpoint that calls the function of its name in f.py."""
    return {"id": name, "kind": "function", "file": "f.py", "function": name, **more}


def make(
    folder: Path,
    service: str,
    files: Mapping[str, str | bytes],
    endpoints: list[dict[str, Any]],
    *,
    generation: str | None = None,
    key: Ed25519PrivateKey | None = None,
    **more: Any,
) -> Built:
    """Build a package below ``folder``; ``more`` are members of the service."""
    source = Path(tempfile.mkdtemp(dir=folder))
    document = {"id": service, "auth": {"keys": [{"id": "test", "key": KEY}]}, **more}
    (source / "service.json").write_text(json.dumps({**document, "endpoints": endpoints}))
    for name, content in files.items():
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return build(source, source.with_suffix(".hfpkg"), generation=generation, key=key)


def adder(folder: Path, generation: str, plus: int = 0, **more: Any) -> Built:
    """The service ``sums``, whose answers tell generations apart by ``plus``."""
    code = f"def add(a, b=1):\n    return a + b + {plus}\n"
    return make(folder, "sums", {"f.py": code}, [function("add")], generation=generation, **more)


def until(holds: Callable[[], bool], what: str, timeout_s: float = START_S) -> None:
    """Wait for something of another process."""
    end = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < end, f"not within {timeout_s} s: {what}"
        threading.Event().wait(0.02)


class Reply:
    """An answer: ``status``, ``headers`` and the JSON ``body``."""

    def __init__(self, status: int, headers: Mapping[str, str], data: bytes) -> None:
        self.status = status
        self.headers = {name.lower(): value for name, value in headers.items()}
        self.data = data

    @property
    def body(self) -> Any:
        return json.loads(self.data)

    def __repr__(self) -> str:
        return f"{self.status} {self.data[:300]!r}"


class NodeProcess:
    """``holdfast apinode run``."""

    def __init__(self, data: Path, settings: str = QUICK, port: int = 0) -> None:
        self.data = data
        data.mkdir(parents=True, exist_ok=True)
        (data / "apinode.toml").write_text(settings)
        self.port = port
        self.process: subprocess.Popen[str] | None = None
        self.log = (data / "log").open("a")

    def start(self, port: int | None = None) -> NodeProcess:
        argv = [sys.executable, "-m", "holdfast.cli.main", "apinode", "run"]
        wanted = self.port if port is None else port
        self.process = subprocess.Popen(
            [*argv, "--data", str(self.data), "--port", str(wanted)],
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("serving on "), (self.data / "log").read_text()
        self.port = int(line.split(",")[0].rsplit(":", 1)[1])
        return self

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def admin_key(self) -> str:
        return (self.data / "admin.key").read_text().strip()

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        with contextlib.closing(connection):
            told = dict(headers or {})
            if key is not None:
                told["Authorization"] = basic(key)
            connection.request(method, path, body, told)
            answer = connection.getresponse()
            return Reply(answer.status, dict(answer.getheaders()), answer.read())

    def admin(self, method: str, path: str, body: Any = None) -> Reply:
        data = None if body is None else json.dumps(body).encode()
        return self.request(method, f"/admin/api/{path}", data, self.admin_key)

    def ask(self, service: str, where: str, query: Any = None, key: str | None = KEY) -> Reply:
        data = b"" if query is None else query
        data = data if isinstance(data, bytes) else json.dumps(data).encode()
        return self.request("POST", f"/public/api/v1/{service}/{where}", data, key)

    def put(self, built: Built, *, switch: bool = True) -> None:
        """Create the service if need be, import the package, and switch to it."""
        services = self.admin("GET", "services").body["services"]
        if all(one["serviceId"] != built.service for one in services):
            assert self.admin("POST", "services/", {"serviceId": built.service}).status == 200
        path = f"services/{built.service}/generations/actions/importFromArchive"
        reply = self.admin("POST", f"{path}?filePath={built.path}")
        assert reply.status == 200, reply
        if switch:
            where = f"services/{built.service}/actions/switchTo/{built.generation}"
            reply = self.admin("POST", where)
            assert reply.status == 200, reply

    def workers(self) -> list[int]:
        """Processes of packages: children of the fork server."""
        assert self.process is not None
        return [pid for server in children(self.process.pid) for pid in children(server)]

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def wait(self) -> int:
        assert self.process is not None
        return self.process.wait(timeout=60)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()  # its orderly end is tested where it is tested
            self.process.wait()
        if self.process is not None and self.process.stdout is not None:
            self.process.stdout.close()
        self.log.close()


def children(pid: int) -> list[int]:
    """Processes whose parent is this one."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except FileNotFoundError:
        return []
    return [int(word) for word in text.split()]


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (ProcessLookupError, FileNotFoundError):
        return False


def basic(key: str) -> str:
    return "Basic " + base64.b64encode(f"{key}:".encode()).decode()


@pytest.fixture
def node(tmp_path: Path) -> Iterator[NodeProcess]:
    """A node without services, and without libraries loaded."""
    made = NodeProcess(tmp_path / "node").start()
    yield made
    made.stop()
