"""Nodes that know each other: the list that clients learn from, and the last one that stays."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.serving.disks import full_disk
from tests.serving.loads import free_port
from tests.serving.nodes import KEY, QUICK, NodeProcess, adder, until

from holdfast.client import ApiNodes, NodeList
from holdfast.errors import InvalidInputError
from holdfast.serving.errors import DiskError
from holdfast.serving.peers import Answers, Itself, Peers, checked
from holdfast.serving.peers import NodeList as Document
from holdfast.serving.settings import PlaceSettings


class Told(Peers):
    """Peers whose others answer from a table."""

    def __init__(self, data: Path, peers: tuple[str, ...] = ()) -> None:
        self.now = 0.0
        self.table: Answers = {}
        super().__init__(data, PlaceSettings(peers=peers), lambda: self.now)
        self.here("http://me:1")

    def say(self, url: str, *nodes: str, alive: bool = True, name: str = "") -> None:
        self.table[url] = Document(nodes, Itself(name or url, alive))

    async def _ask(self, urls: Iterable[str]) -> Answers:
        return {url: self.table[url] for url in urls if url in self.table}


async def test_what_others_name_is_learned_and_passed_on_only_while_it_is_reached(tmp_path: Path):
    """D10, D11."""
    peers = Told(tmp_path, ("http://a:1",))
    peers.say("http://a:1", "http://b:1", "http://gone:1")
    peers.say("http://b:1", "http://a:1")
    await peers.look()
    assert peers.urls() == ("http://a:1", "http://b:1", "http://me:1")
    del peers.table["http://b:1"]
    peers.now = 29.0
    await peers.look()
    assert "http://b:1" in peers.urls()
    peers.now = 31.0
    await peers.look()
    assert peers.urls() == ("http://a:1", "http://me:1")  # though a names it still


async def test_a_node_finds_itself_in_a_list_that_all_nodes_share(tmp_path: Path):
    peers = Told(tmp_path, ("http://a:1", "http://my-name:1"))
    peers.say("http://my-name:1", name=peers.id)
    peers.say("http://a:1")
    await peers.look()
    assert peers.urls() == ("http://a:1", "http://my-name:1")
    assert await peers.alive() == ["http://a:1"]


async def test_a_node_reached_by_tls_names_only_such(tmp_path: Path):
    peers = Told(tmp_path, ("https://a:1",))
    peers.say("https://a:1", "http://evil:1", "https://b:1", "ftp://c", "nonsense")
    for url in ("http://evil:1", "https://b:1"):
        peers.say(url)
    await peers.look()
    assert peers.urls() == ("http://me:1", "https://a:1", "https://b:1")


async def test_members_of_the_control_plane_are_others_for_as_long_as_it_says_so(tmp_path: Path):
    """D10, D11: also when it is away, and the node starts anew meanwhile."""
    peers = Told(tmp_path, ("http://told:1",))
    peers.say("http://told:1", "http://b:1")
    peers.say("http://a:1")
    peers.say("http://b:1")
    await peers.follow(["http://me:1", "http://b:1/", "http://a:1"])
    everybody = ("http://a:1", "http://b:1", "http://me:1", "http://told:1")
    assert peers.urls() == everybody
    assert await peers.alive() == ["http://a:1", "http://b:1", "http://told:1"]
    assert Told(tmp_path).urls() == everybody[:3]
    await peers.look()
    del peers.table["http://b:1"]
    await peers.follow(["http://me:1", "http://a:1"])
    assert peers.urls() == ("http://a:1", "http://me:1", "http://told:1")
    await peers.follow([])
    assert Told(tmp_path).urls() == ("http://me:1",)


async def test_a_disk_that_is_full_is_told_and_changes_nothing(tmp_path: Path):
    peers = Told(tmp_path)
    await peers.add("http://a:1")
    with full_disk():
        with pytest.raises(DiskError):
            await peers.add("http://b:1")
        with pytest.raises(DiskError):
            await peers.follow(["http://c:1"])
    assert peers.urls() == ("http://a:1", "http://c:1", "http://me:1")
    assert Told(tmp_path).urls() == ("http://a:1", "http://me:1")


async def test_the_file_of_nodes_may_be_written_by_others(tmp_path: Path):
    peers = Told(tmp_path)
    (tmp_path / "nodes.txt").write_text("http://a:1/\n\nnonsense\n")
    assert peers.urls() == ("http://a:1", "http://me:1")
    await peers.add("http://b:1/")
    await peers.remove("http://a:1")
    assert (tmp_path / "nodes.txt").read_text() == "http://b:1\n"


@pytest.mark.parametrize("url", ["", "a:1", "ftp://a", "http://u:p@a:1", "http://a:1?x=1"])
def test_what_is_no_url_of_a_node_is_refused(url: str):
    with pytest.raises(InvalidInputError):
        checked(url)


@pytest.fixture
def two(tmp_path: Path) -> Iterator[list[NodeProcess]]:
    """Two nodes with one list, their own URLs in it."""
    ports = free_port(), free_port()
    urls = json.dumps([f"http://127.0.0.1:{port}" for port in ports])
    settings = f"{QUICK}[node]\npeers = {urls}\n"
    nodes = [NodeProcess(tmp_path / str(port), settings, port).start() for port in ports]
    yield nodes
    for one in nodes:
        one.stop()


def test_clients_learn_of_all_from_one(two: list[NodeProcess], tmp_path: Path):
    """D10, D11: the client was told of the first only, which dies."""
    package = adder(tmp_path, "v1")
    for one in two:
        one.put(package)
    assert two[0].request("GET", "/nodes").body["nodes"] == sorted(one.url for one in two)
    with ApiNodes(NodeList([two[0].url]), "sums", KEY) as client:
        assert client.run_function("add", a=1)["response"] == 2
        until(lambda: len(client.instances()) == 2, "the client to know both")
        two[0].signal(signal.SIGKILL)
        two[0].wait()
        assert client.run_function("add", a=1)["response"] == 2


def test_the_last_node_alive_does_not_leave_unless_forced(two: list[NodeProcess]):
    first, second = two
    assert first.admin("POST", "node/out").body["alive"] is False
    assert first.admin("POST", "node/out").status == 200  # again is as once
    for path in ("node/drain", "node/out"):
        refused = second.admin("POST", path)
        assert refused.status == 409
        assert f"Known are {', '.join(sorted((first.url, second.url)))}" in refused.body["message"]
    assert second.request("GET", "/isAlive/").status == 200
    assert first.admin("POST", "node/back").body["alive"] is True
    assert second.admin("POST", "node/drain").status == 202
    assert second.wait() == 0
    assert first.admin("POST", "node/drain").status == 409
    assert first.admin("POST", "node/drain?force=1").status == 202
    assert first.wait() == 0


def test_two_that_leave_at_the_same_moment_do_not_both_go(two: list[NodeProcess]):
    with ThreadPoolExecutor(2) as threads:
        for _ in range(15):
            found = list(threads.map(lambda one: one.admin("POST", "node/out").status, two))
            assert found != [200, 200]
            assert 200 in [one.request("GET", "/isAlive/").status for one in two]
            for one in two:
                one.admin("POST", "node/back")


@pytest.mark.parametrize("out_for_s", [0.0, 3.0])
def test_a_node_that_is_out_already_needs_no_more_notice(tmp_path: Path, out_for_s: float):
    """Balancers have had theirs while it was out; what date the file has is nothing to them."""
    slow = "[workers]\nlibraries = []\n[http]\ndrain_notice_s = 3.0\n"
    node = NodeProcess(tmp_path / "node", slow).start()
    try:
        out = node.data / "apinode-not-alive.txt"
        out.touch()
        os.utime(out, (1, 1))
        assert node.request("GET", "/isAlive/").status == 503
        begin = time.monotonic()
        until(lambda: time.monotonic() >= begin + out_for_s, "balancers to notice")
        told = time.monotonic()
        node.signal(signal.SIGTERM)
        assert node.wait() == 0
        waited_s = time.monotonic() - told
        assert (waited_s > 2.9) is (out_for_s == 0.0)
    finally:
        node.stop()
