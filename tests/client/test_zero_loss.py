"""Real nodes behind the client: killed, frozen, restarted under load; no query fails (D5, D9).

Functions are what is asked: those are never hedged, so nothing but the client's retries saves them.
The last test takes the retries away, and finds losses.
"""

from __future__ import annotations

import asyncio
import collections
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.serving.nodes import KEY, NodeProcess, adder, function, make, until

from holdfast.client import AnswerError, AnswerTooLargeError, ApiNodes, AsyncApiNodes, Settings
from holdfast.errors import HoldfastError

CLIENTS = 6
NOTICE = "[workers]\nlibraries = []\n[http]\ndrain_notice_s = 0.5\n"
PROBING = Settings(probe_s=0.3, probe_timeout_s=0.5)


class Load:
    """Threads that share one client; each query is asked of it once."""

    def __init__(self, nodes: list[NodeProcess], settings: Settings = PROBING) -> None:
        self.client = ApiNodes([one.url for one in nodes], "sums", KEY, settings=settings)
        self.answers = 0
        self.failures: list[str] = []
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
        self.client.close()

    def more(self, count: int) -> None:
        """Wait for so many more answers (or failures)."""
        wanted = self.answers + len(self.failures) + count
        until(lambda: self.answers + len(self.failures) >= wanted, f"{wanted} answers")

    def state(self, node: NodeProcess) -> str:
        return next(one["state"] for one in self.client.instances() if one["node"] == node.url)

    def reason(self, node: NodeProcess) -> str:
        return next(one["reason"] for one in self.client.instances() if one["node"] == node.url)

    def _run(self) -> None:
        number = 0
        while not self._over.is_set():
            number += 1
            try:
                answer = self.client.run_function("add", a=number, b=1)
                assert answer["response"] == number + 1
                with self._lock:
                    self.answers += 1
            except (AssertionError, HoldfastError) as error:
                with self._lock:
                    self.failures.append(repr(error))


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[NodeProcess]]:
    """Three nodes with the same service."""
    folder = tmp_path_factory.mktemp("nodes")
    made = [NodeProcess(folder / f"n{n}", NOTICE).start() for n in range(3)]
    for one in made:
        one.put(adder(folder, "v1"))
    yield made
    for one in made:
        one.stop()


@pytest.fixture
def three(nodes: list[NodeProcess]) -> list[NodeProcess]:
    """The three, all of them well again after the last test."""
    for one in nodes:
        if one.process is None or one.process.poll() is not None:
            one.start(one.port)
    return nodes


def test_no_query_is_lost_when_nodes_are_killed(three: list[NodeProcess]):
    with Load(three) as load:
        for turn in range(4):
            one = three[turn % 3]
            one.signal(signal.SIGKILL)
            one.wait()
            load.more(150)
            one.start(one.port)
            until(lambda one=one: load.state(one) == "used", "it is used again")
            load.more(50)
    assert load.failures == []


def test_no_query_is_lost_when_all_but_one_are_killed_at_once(three: list[NodeProcess]):
    with Load(three) as load:
        for one in three[:2]:
            one.signal(signal.SIGKILL)
            one.wait()
        load.more(300)
    assert load.failures == []


def test_no_query_is_lost_when_a_node_freezes(three: list[NodeProcess]):
    """Its connections stay open; the probe finds out, and what waits for it is asked elsewhere."""
    with Load(three) as load:
        three[0].signal(signal.SIGSTOP)
        until(lambda: load.state(three[0]) == "down", "the probe to find out")
        load.more(300)
        three[0].signal(signal.SIGCONT)
        until(lambda: load.state(three[0]) == "used", "it is used again")
        load.more(100)
    assert load.failures == []


def test_no_query_is_lost_in_a_rolling_restart(three: list[NodeProcess], tmp_path: Path):
    """D16 to D20, but for the probe file, which the next test is about."""
    new = adder(tmp_path, "v2")
    with Load(three) as load:
        for one in three:
            one.signal(signal.SIGTERM)
            assert one.wait() == 0
            one.start(one.port)
            one.put(new)
            until(lambda one=one: load.state(one) == "used", "it is used again")
            load.more(150)
    assert load.failures == []


def test_a_new_node_without_the_service_is_not_asked(three: list[NodeProcess], tmp_path: Path):
    """D18 to D20: upgraded onto an empty disk, it answers 404 until it has the package."""
    empty = NodeProcess(tmp_path / "empty", NOTICE)
    try:
        with Load(three) as load:
            three[0].signal(signal.SIGKILL)
            three[0].wait()
            load.more(50)
            empty.start(three[0].port)  # on the port, but not on the disk, of the other
            until(lambda: "not have the service" in load.reason(empty), "its probe")
            load.more(200)
            empty.put(adder(tmp_path, "v1"))
            until(lambda: load.state(empty) == "used", "it is used")
        assert load.failures == []
    finally:
        empty.stop()


def test_a_node_whose_probe_is_forced_down_is_left_alone(three: list[NodeProcess]):
    """D17, with a client in the balancer's place."""
    with Load(three) as load:
        alive = three[1].data / "apinode-not-alive.txt"
        alive.touch()
        until(lambda: load.state(three[1]) == "down", "the probe to find out")
        load.more(50)
        before = answered(three[1])
        load.more(300)
        assert answered(three[1]) == before
        alive.unlink()
        until(lambda: answered(three[1]) > before, "it is asked again")
    assert load.failures == []


def answered(node: NodeProcess) -> int:
    """Queries that a node has answered."""
    text = node.request("GET", "/metrics").data.decode()
    lines = [line for line in text.splitlines() if line.startswith("holdfast_serving_queries")]
    return int(sum(float(line.rsplit(" ", 1)[1]) for line in lines if "_total" in line))


def test_equal_nodes_get_about_equal_shares(three: list[NodeProcess]):
    """In the long run: on a busy machine each is slow for a moment, and avoided for seconds.

    The bounds on a quiet one are in the simulation's test.
    """
    before = [answered(one) for one in three]
    with Load(three) as load:
        load.more(1000)

        def are_fair() -> bool:
            counts = [answered(one) - at for one, at in zip(three, before, strict=True)]
            return all(0.15 <= count / sum(counts) <= 0.6 for count in counts)

        until(are_fair, "fair shares")


async def test_no_query_of_an_event_loop_is_lost_when_a_node_is_killed(three: list[NodeProcess]):
    counts: collections.Counter[str] = collections.Counter()
    urls = [one.url for one in three]
    async with AsyncApiNodes(urls, "sums", KEY, settings=PROBING) as client:

        async def run() -> None:
            while counts["answers"] < 2000:
                answer: Any = await client.run_function("add", a=1)
                counts["answers" if answer["response"] == 2 else "wrong"] += 1
                if counts["answers"] == 500:
                    three[0].signal(signal.SIGKILL)

        await asyncio.gather(*[run() for _ in range(20)])
    assert counts["wrong"] == 0
    assert three[0].wait() == -signal.SIGKILL


FAILING = """
def fail(a):
    raise ValueError(a)
def long(count):
    return "x" * count
def same(x):
    return len(x)
"""


def test_a_service_of_one_node_is_found_by_every_new_client(
    three: list[NodeProcess], tmp_path: Path
):
    """Before any probe could say who has it: one query by each of 40 clients."""
    three[2].put(make(tmp_path, "only", {"f.py": FAILING}, [function("same")]))
    for _ in range(40):
        with ApiNodes([one.url for one in three], "only", KEY) as client:
            assert client.run_function("same", x="ab")["response"] == 2
    with (
        ApiNodes([one.url for one in three], "nowhere", KEY) as client,
        pytest.raises(AnswerError, match="UnknownServiceError") as told,
    ):
        client.run_function("same")
    assert told.value.answer_status == 404


def test_queries_that_cannot_succeed_do_not_drive_the_client_from_healthy_nodes(
    three: list[NodeProcess], tmp_path: Path
):
    """Code that raises; a body, then an answer, larger than anybody takes."""
    names = ["fail", "long", "same"]
    for one in three:
        one.put(make(tmp_path, "bad", {"f.py": FAILING}, [function(name) for name in names]))
    told = Settings(answer_bytes_max=1 << 20)
    with ApiNodes([one.url for one in three], "bad", KEY, settings=told) as client:
        for _ in range(20):
            with pytest.raises(AnswerError, match="500: ValueError: 7"):
                client.run_function("fail", a=7)
        for _ in range(8):
            with pytest.raises(AnswerError, match="413: BodyTooLargeError"):
                client.run_function("same", x="a" * (17 << 20))
            with pytest.raises(AnswerTooLargeError, match="answer_bytes_max"):
                client.run_function("long", count=2 << 20)
        assert {one["state"] for one in client.instances()} == {"used"}
        assert client.run_function("same", x="ab")["response"] == 2


def test_a_client_that_tries_once_loses_queries_and_this_harness_sees_it(three: list[NodeProcess]):
    """The retries taken away on purpose."""
    with Load(three, Settings(attempts_max=1, probe_s=0.0)) as load:
        for one in three[:2]:
            one.signal(signal.SIGKILL)
            one.wait()
            load.more(50)
    assert load.failures
