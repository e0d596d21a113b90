"""D14: a node replaces itself on its port, and not one query is lost, whatever the new one is like.

The package is slow, fails or hangs by how many open files its workers may have: that is in the
settings, which only a process that starts anew has read.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.serving.loads import over_http
from tests.serving.nodes import NodeProcess, adder, function, is_alive, make, until

SETTINGS = """
[workers]
libraries = []
limits = {{ open_files = {open_files} }}
[http]
drain_notice_s = 0.3
successor_max_s = 15.0
"""
FINE, SLOW, FAILS, HANGS = 200, 201, 202, 203
CODE = f"""
import resource, time
told = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
if told == {SLOW}:
    time.sleep(2)
if told == {HANGS}:
    time.sleep(120)
assert told != {FAILS}, "a library of the new version is missing"
def add(a, b=1):
    return a + b
"""


def settings(open_files: int) -> str:
    return SETTINGS.format(open_files=open_files)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[NodeProcess]:
    """A node that serves; what its successor will be like is for the test to say."""
    made = NodeProcess(tmp_path / "node", settings(FINE)).start()
    made.put(package(tmp_path, "v1"))
    yield made
    made.stop()


def package(folder: Path, generation: str):
    return make(folder, "sums", {"f.py": CODE}, [function("add")], generation=generation)


def tell(node: NodeProcess, text: str) -> None:
    (node.data / "apinode.toml").write_text(text)


def state(node: NodeProcess) -> dict[str, Any]:
    return node.admin("GET", "node").body["successor"]


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("open_files", [FINE, SLOW])
def test_no_query_is_lost_while_a_node_replaces_itself(
    node: NodeProcess, tmp_path: Path, open_files: int, kept: bool
):
    """Clients know one address only. The successor accepts nothing before it has loaded."""
    tell(node, settings(open_files))
    with over_http(node.port, kept=kept) as load:
        before = node.admin("GET", "node").body["pid"]
        node.signal(signal.SIGUSR2)
        assert node.wait() == 0
        after = node.admin("GET", "node").body["pid"]
        assert node.request("GET", "/isAlive/").status == 200
        load.more(100)
        node.put(adder(tmp_path, "v2"))  # the successor takes changes
        load.more(100)
    os.kill(after, signal.SIGTERM)
    until(lambda: not is_alive(after), "the successor to end")
    assert before != after
    assert load.failures == []
    # Some may end on the old one while others are answered by the new one (D13).
    assert (load.generations[0], load.generations[-1]) == ("v1", "v2")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("nonsense", "It ended while it was starting"),
        (settings(FAILS), "sums: sums/v[12]: .*a library of the new version is missing"),
        (settings(HANGS), "not ready within 15 s"),
    ],
    ids=["settings", "package", "hangs"],
)
def test_a_successor_that_would_not_serve_never_takes_over(
    node: NodeProcess, tmp_path: Path, text: str, why: str
):
    """What served goes on, tells why, and took changes all the while."""
    tell(node, text)
    with over_http(node.port, kept=False) as load:
        node.signal(signal.SIGUSR2)
        node.put(package(tmp_path, "v2"))
        until(lambda: state(node)["state"] == "failed", "the failure")
        load.more(50)
    assert load.failures == []
    assert (load.generations[0], load.generations[-1]) == ("v1", "v2")
    assert re.search(why, state(node)["reason"])
    assert others(node) == []


def test_what_changes_while_the_successor_loads_is_served_by_it(node: NodeProcess, tmp_path: Path):
    tell(node, settings(SLOW))
    assert node.admin("POST", "node/replace").body["successor"]["state"] == "loading"
    node.put(adder(tmp_path, "v2"))
    node.put(adder(tmp_path, "w1", id="more"))
    key = node.admin("POST", "keys", {"label": "new"}).body["key"]
    assert node.wait() == 0
    assert node.ask("sums", "add/run", {"a": 1}).body["apiContext"]["serviceGeneration"] == "v2"
    assert node.ask("more", "add/run", {"a": 1}).status == 200
    status = node.request("GET", "/admin/api/node", key=key)
    assert status.status == 200
    os.kill(status.body["pid"], signal.SIGTERM)
    until(lambda: not is_alive(status.body["pid"]), "the successor to end")


def test_a_node_that_is_told_to_end_takes_its_successor_with_it(node: NodeProcess):
    tell(node, settings(HANGS))
    node.signal(signal.SIGUSR2)
    until(lambda: state(node)["state"] == "loading", "the successor")
    until(lambda: len(others(node)) == 1, "its process")
    (successor,) = others(node)
    node.signal(signal.SIGTERM)
    assert node.wait() == 0
    until(lambda: not is_alive(successor), "the successor to end", 10)


def others(node: NodeProcess) -> list[int]:
    """Processes with the same command line, but for the node itself."""
    assert node.process is not None
    found: list[int] = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal() and int(folder.name) != node.process.pid:
            try:
                words = (folder / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"apinode" in words and str(node.data).encode() in words:
                found.append(int(folder.name))
    return found
