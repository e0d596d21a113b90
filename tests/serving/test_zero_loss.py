"""Not one query is lost: switches under load, workers killed, nodes drained behind HAProxy.

Each test counts every query of clients that ask without a pause and never repeat one. The last
tests break the drain on purpose, and find losses: so the others could have found them, too.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.serving.nodes import KEY, NodeProcess, adder, basic, is_alive, until

SWITCHES = int(os.environ.get("HOLDFAST_TEST_SWITCHES", "200"))
CLIENTS = 6
NOTICE = "[workers]\nlibraries = []\n[http]\ndrain_notice_s = 1.5\n"
ABRUPT = "[workers]\nlibraries = []\n[http]\ndrain_notice_s = 0.0\n"


class Load:
    """Clients over kept-alive connections; each query is asked once."""

    def __init__(self, port: int) -> None:
        self.answers = 0
        self.failures: list[str] = []
        self.generations: list[str] = []
        self._port = port
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
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        headers = {"Authorization": basic(KEY)}
        number = 0
        while not self._over.is_set():
            number += 1
            try:
                body = json.dumps({"a": number})
                connection.request("POST", "/public/api/v1/sums/add/run", body, headers)
                answer = connection.getresponse()
                data = answer.read()
                assert answer.status == 200, f"{answer.status} {data!r}"
                generation = json.loads(data)["apiContext"]["serviceGeneration"]
                with self._lock:
                    self.answers += 1
                    if self.generations[-1:] != [generation]:
                        self.generations.append(generation)
            except (AssertionError, OSError, http.client.HTTPException) as error:
                with self._lock:
                    self.failures.append(repr(error))
                connection.close()
        connection.close()


def test_no_query_is_lost_while_generations_are_switched(node: NodeProcess, tmp_path: Path):
    """D12, D13."""
    node.put(adder(tmp_path, "v1"))
    node.put(adder(tmp_path, "v2", plus=1), switch=False)
    with Load(node.port) as load:
        for number in range(SWITCHES):
            name = ("v2", "v1")[number % 2]
            reply = node.admin("POST", f"services/sums/actions/switchTo/{name}")
            assert reply.status == 200, reply
            # From the answer on, all new queries go to the new one.
            answer = node.ask("sums", "add/run", {"a": 1})
            assert answer.body["apiContext"]["serviceGeneration"] == name
    assert load.failures == []
    assert len(load.generations) >= SWITCHES / 2  # the load has seen them come and go
    until(lambda: len(node.workers()) <= 2, "the old generations' workers to end", 10)


def test_no_query_is_lost_when_workers_are_killed(node: NodeProcess, tmp_path: Path):
    pool = {"floor": 2, "cruise": 2, "ceil": 2}
    node.put(adder(tmp_path, "v1", pool=pool))
    with Load(node.port) as load:
        for number in range(20):
            until(lambda: len(node.workers()) >= 2, "two workers")
            os.kill(node.workers()[number % 2], signal.SIGKILL)
            load.more(20)
    assert load.failures == []


def test_no_query_is_lost_when_the_fork_server_is_killed(node: NodeProcess, tmp_path: Path):
    node.put(adder(tmp_path, "v1"))
    assert node.process is not None
    with Load(node.port) as load:
        (server,) = [
            int(pid)
            for pid in Path(f"/proc/{node.process.pid}/task/{node.process.pid}/children")
            .read_text()
            .split()
        ]
        os.kill(server, signal.SIGKILL)
        load.more(50)
        node.put(adder(tmp_path, "v2"))
        load.more(50)
    assert load.failures == []
    assert load.generations[-1] == "v2"


def test_no_query_is_lost_when_a_node_is_upgraded_in_place(node: NodeProcess, tmp_path: Path):
    """D14: the successor takes the port over; the clients know one address only."""
    node.put(adder(tmp_path, "v1"))
    with Load(node.port) as load:
        before = node.admin("GET", "node").body["pid"]
        node.signal(signal.SIGUSR2)
        assert node.wait() == 0
        after = node.admin("GET", "node").body["pid"]
        load.more(100)
        node.put(adder(tmp_path, "v2"))  # the successor takes changes
        load.more(100)
    os.kill(after, signal.SIGTERM)
    until(lambda: not is_alive(after), "the successor to end")
    assert before != after
    assert load.failures == []
    # Some may end on the old one while others are answered by the new one (D13).
    assert (load.generations[0], load.generations[-1]) == ("v1", "v2")


def test_a_successor_that_cannot_start_leaves_the_node_as_it_was(node: NodeProcess, tmp_path: Path):
    node.put(adder(tmp_path, "v1"))
    (node.data / "apinode.toml").write_text("nonsense")
    with Load(node.port) as load:
        node.signal(signal.SIGUSR2)
        until(lambda: "did not start" in (node.data / "log").read_text(), "the failure")
        node.put(adder(tmp_path, "v2"))
        load.more(50)
    assert load.failures == []
    # Some may end on the old one while others are answered by the new one (D13).
    assert (load.generations[0], load.generations[-1]) == ("v1", "v2")


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
  default-server inter 100ms fastinter 100ms downinter 100ms fall 2 rise 1
{servers}
"""


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@contextlib.contextmanager
def balancer(folder: Path, nodes: list[NodeProcess]) -> Iterator[int]:
    """HAProxy, which repeats nothing, before the nodes; gives its port."""
    haproxy = shutil.which("haproxy")
    assert haproxy, "HAProxy is not installed: make test installs it"
    port = free_port()
    lines = [f"  server n{one.port} 127.0.0.1:{one.port} check" for one in nodes]
    file = folder / "haproxy.cfg"
    file.write_text(HAPROXY.format(port=port, servers="\n".join(lines)))
    process = subprocess.Popen([haproxy, "-db", "-f", file], stdout=subprocess.DEVNULL)
    try:
        until(lambda: answers(port), "HAProxy")
        yield port
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


@pytest.fixture
def three(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[list[NodeProcess]]:
    """Three nodes with the same service."""
    settings = getattr(request, "param", NOTICE)
    nodes = [NodeProcess(tmp_path / f"n{n}", settings).start() for n in range(3)]
    for one in nodes:
        one.put(adder(tmp_path, "v1"))
    yield nodes
    for one in nodes:
        one.stop()


def test_no_query_is_lost_when_a_node_is_drained_behind_haproxy(
    three: list[NodeProcess], tmp_path: Path
):
    """D17, D18."""
    with balancer(tmp_path, three) as port, Load(port) as load:
        three[0].signal(signal.SIGTERM)
        assert three[0].wait() == 0
        load.more(100)
    assert load.failures == []


def test_no_query_is_lost_in_a_rolling_update_of_three_nodes(
    three: list[NodeProcess], tmp_path: Path
):
    """D16 to D20: each node in turn leaves, stops, starts, gets the new package, comes back."""
    new = adder(tmp_path, "v2", plus=1)
    with balancer(tmp_path, three) as port, Load(port) as load:
        for one in three:
            alive = one.data / "apinode-not-alive.txt"
            alive.touch()
            one.signal(signal.SIGTERM)
            assert one.wait() == 0
            one.start(one.port)
            assert one.request("GET", "/isAlive/").status == 503  # still out
            one.put(new)
            alive.unlink()
            until(lambda one=one: one.request("GET", "/isAlive/").status == 200, "it is back")
            load.more(200)
    assert load.failures == []
    assert load.generations[-1] == "v2"


@pytest.mark.parametrize("three", [ABRUPT], indirect=True)
def test_a_drain_that_gives_no_notice_loses_queries_and_this_harness_sees_it(
    three: list[NodeProcess], tmp_path: Path
):
    """The drain broken on purpose."""
    with balancer(tmp_path, three) as port, Load(port) as load:
        for one in three[:2]:
            one.signal(signal.SIGTERM)
            one.wait()
            load.more(50)
    assert load.failures
