"""Not one query is lost: switches under load, workers killed, a node drained behind HAProxy.

Each test counts every query of clients that ask without a pause and never repeat one. The last
test breaks the drain on purpose, and finds losses: so the others could have found them, too.
Rolling upgrades: ``test_rolling_upgrade.py``.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.serving.loads import balancer, over_http
from tests.serving.nodes import NodeProcess, adder, is_alive, until

SWITCHES = int(os.environ.get("HOLDFAST_TEST_SWITCHES", "200"))
NOTICE = "[workers]\nlibraries = []\n[http]\ndrain_notice_s = 1.5\n"
ABRUPT = "[workers]\nlibraries = []\n[http]\ndrain_notice_s = 0.0\n"


def test_no_query_is_lost_while_generations_are_switched(node: NodeProcess, tmp_path: Path):
    """D12, D13."""
    node.put(adder(tmp_path, "v1"))
    node.put(adder(tmp_path, "v2", plus=1), switch=False)
    with over_http(node.port) as load:
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
    with over_http(node.port) as load:
        for number in range(20):
            until(lambda: len(node.workers()) >= 2, "two workers")
            os.kill(node.workers()[number % 2], signal.SIGKILL)
            load.more(20)
    assert load.failures == []


def test_no_query_is_lost_when_the_fork_server_is_killed(node: NodeProcess, tmp_path: Path):
    node.put(adder(tmp_path, "v1"))
    assert node.process is not None
    with over_http(node.port) as load:
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
    with over_http(node.port) as load:
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
    with over_http(node.port) as load:
        node.signal(signal.SIGUSR2)
        until(lambda: "did not start" in (node.data / "log").read_text(), "the failure")
        node.put(adder(tmp_path, "v2"))
        load.more(50)
    assert load.failures == []
    # Some may end on the old one while others are answered by the new one (D13).
    assert (load.generations[0], load.generations[-1]) == ("v1", "v2")


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
    with balancer(tmp_path, three) as port, over_http(port) as load:
        three[0].signal(signal.SIGTERM)
        assert three[0].wait() == 0
        load.more(100)
    assert load.failures == []


@pytest.mark.parametrize("three", [ABRUPT], indirect=True)
def test_a_drain_that_gives_no_notice_loses_queries_and_this_harness_sees_it(
    three: list[NodeProcess], tmp_path: Path
):
    """The drain broken on purpose."""
    with balancer(tmp_path, three) as port, over_http(port) as load:
        for one in three[:2]:
            one.signal(signal.SIGTERM)
            one.wait()
            load.more(50)
    assert load.failures
