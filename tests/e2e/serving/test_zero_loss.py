"""Not one query is lost: switches under load, workers killed, a node drained behind HAProxy.

Each test counts every query of clients that ask without a pause and never repeat one. The last
test breaks the drain on purpose, and finds losses: so the others could have found them, too.
Rolling upgrades: ``test_rolling_upgrade.py``; nodes that replace themselves: ``test_in_place.py``.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.serving.loads import balancer, example_balancer, over_http
from tests.serving.nodes import NodeProcess, adder, until

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


def test_no_query_is_lost_behind_the_balancer_of_the_documentation(
    three: list[NodeProcess], tmp_path: Path
):
    """D17, by docs/examples/haproxy-apinodes.cfg."""
    with example_balancer(tmp_path, three) as port, over_http(port) as load:
        three[1].signal(signal.SIGTERM)
        assert three[1].wait() == 0
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
