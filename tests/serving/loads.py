"""Clients that ask without a pause, and HAProxy for those that know one address only."""

from __future__ import annotations

import contextlib
import http.client
import json
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from tests.serving.nodes import KEY, NodeProcess, basic, until

from holdfast.client import ApiNodes, Settings
from holdfast.errors import HoldfastError

CLIENTS = 3
EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "haproxy-apinodes.cfg"
Ask: TypeAlias = Callable[[int], str]  # a number in; the generation that answered out
Failures = (AssertionError, OSError, http.client.HTTPException, HoldfastError)


class Load:
    """Some threads; each query is asked once. ``asks`` makes what one thread asks with."""

    def __init__(self, asks: Callable[[], contextlib.AbstractContextManager[Ask]]) -> None:
        self.answers = 0
        self.failures: list[str] = []
        self.generations: list[str] = []
        self._asks = asks
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run) for _ in range(CLIENTS)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        self.more(50)
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def more(self, count: int) -> None:
        """Wait for so many more answers (or failures)."""
        wanted = self.answers + len(self.failures) + count
        until(lambda: self.answers + len(self.failures) >= wanted, f"{wanted} answers")

    def _run(self) -> None:
        number = 0
        with self._asks() as ask:
            while not self._over.is_set():
                number += 1
                try:
                    generation = ask(number)
                    with self._lock:
                        self.answers += 1
                        if self.generations[-1:] != [generation]:
                            self.generations.append(generation)
                except Failures as error:
                    with self._lock:
                        self.failures.append(repr(error))


def over_http(port: int, *, kept: bool = True) -> Load:
    """Each thread over a connection of its own, or one for each query; nothing is repeated."""

    @contextlib.contextmanager
    def asks() -> Iterator[Ask]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

        def ask(number: int) -> str:
            try:
                body = json.dumps({"a": number})
                headers = {"Authorization": basic(KEY)}
                connection.request("POST", "/public/api/v1/sums/add/run", body, headers)
                answer = connection.getresponse()
                data = answer.read()
                assert answer.status == 200, f"{answer.status} {data!r}"
            except Failures:
                connection.close()
                raise
            if not kept:
                connection.close()
            return json.loads(data)["apiContext"]["serviceGeneration"]

        yield ask
        connection.close()

    return Load(asks)


@contextlib.contextmanager
def over_client(nodes: Sequence[NodeProcess], settings: Settings) -> Iterator[Load]:
    """All threads over one client of ours."""

    client = ApiNodes([one.url for one in nodes], "sums", KEY, settings=settings)

    def ask(number: int) -> str:
        answer: Any = client.run_function("add", a=number)
        return answer["apiContext"]["serviceGeneration"]

    with client, Load(lambda: contextlib.nullcontext(ask)) as load:
        yield load


HAPROXY = """
defaults
  mode http
  timeout connect 2s
  timeout client 30s
  timeout server 30s
  retries 0
frontend queries
  bind 127.0.0.1:{port}
  default_backend nodes
backend nodes
  option httpchk GET /isAlive/
  default-server inter {inter_ms}ms fall 2 rise 1
{servers}
"""


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@contextlib.contextmanager
def balancer(folder: Path, nodes: Sequence[NodeProcess], inter_ms: int = 100) -> Iterator[int]:
    """HAProxy, which repeats nothing, before the nodes; gives its port."""
    port = free_port()
    lines = [f"  server n{one.port} 127.0.0.1:{one.port} check" for one in nodes]
    text = HAPROXY.format(port=port, servers="\n".join(lines), inter_ms=inter_ms)
    with haproxy(folder, text, port):
        yield port


@contextlib.contextmanager
def example_balancer(folder: Path, nodes: Sequence[NodeProcess]) -> Iterator[int]:
    """HAProxy as the documentation's example has it, before three nodes."""
    text = EXAMPLE.read_text()
    ports = {12100: free_port(), **{12000 + n: one.port for n, one in enumerate(nodes)}}
    for told, port in ports.items():
        assert text.count(f":{told}\n") == 1
        text = text.replace(f":{told}\n", f":{port}\n")
    with haproxy(folder, text, ports[12100]):
        yield ports[12100]


@contextlib.contextmanager
def haproxy(folder: Path, text: str, port: int) -> Iterator[None]:
    haproxy = shutil.which("haproxy")
    assert haproxy, "HAProxy is not installed: make test installs it"
    file = folder / "haproxy.cfg"
    file.write_text(text)
    process = subprocess.Popen([haproxy, "-db", "-f", file], stdout=subprocess.DEVNULL)
    try:
        until(lambda: answers(port), "HAProxy")
        yield
    finally:
        process.kill()
        process.wait()


def answers(port: int) -> bool:
    try:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port)) as one:
            one.request("GET", "/isAlive/")
            return one.getresponse().status == 200
    except OSError:
        return False
