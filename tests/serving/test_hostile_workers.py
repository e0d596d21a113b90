"""Packages that take more than a query explains: threads, disk, workers."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.serving.nodes import NodeProcess, function, is_alive, make, until

CODE = """
import os, threading, time

kept = []

def add(a, b=1):
    return a + b

def loop():
    while True:
        pass

def stuck():
    time.sleep(3600)

def spin(k):
    import signal
    signal.signal(signal.SIGXCPU, signal.SIG_IGN)
    for _ in range(k):
        threading.Thread(target=loop, daemon=True).start()
    return os.getpid()

def threads(k):
    threading.stack_size(65536)
    for _ in range(k):
        threading.Thread(target=stuck, daemon=True).start()
    return os.getpid()

def many(n):
    for number in range(n):
        with open(f"f{number}", "wb") as file:
            file.write(bytes(16 << 20))
    return os.getpid()

def hidden(n):
    for number in range(n):
        kept.append(open(f"f{number}", "wb", 0))
        os.unlink(f"f{number}")
        kept[-1].write(bytes(16 << 20))
    return os.getpid()

def buried(depth):
    for _ in range(depth):
        os.mkdir("d" * 200)
        os.chdir("d" * 200)
    return os.getpid()

def passed(n):
    import socket
    kept.append(socket.socketpair())
    for number in range(n):
        with open(f"f{number}", "wb", 0) as file:
            os.unlink(f"f{number}")
            file.write(bytes(16 << 20))
            socket.send_fds(kept[-1][0], [b"x"], [file.fileno()])
    return os.getpid()

def mapped(n):
    import mmap
    for number in range(n):
        with open(f"f{number}", "w+b", 0) as file:
            os.unlink(f"f{number}")
            file.write(bytes(16 << 20))
            kept.append(mmap.mmap(file.fileno(), 4096))
    return os.getpid()

def entries(n):
    for number in range(n):
        open(f"f{number}", "wb").close()
    return os.getpid()
"""
NAMES = [word.split("(")[0] for word in CODE.split("\ndef ")[1:]]
SETTINGS = """
[workers]
libraries = []
[workers.limits]
file_bytes = 33554432
scratch_bytes = 67108864
"""


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    folder = tmp_path_factory.mktemp("hostile")
    made = NodeProcess(folder / "node", SETTINGS).start()
    yield made
    made.stop()


@pytest.mark.parametrize(
    ("name", "query"),
    [
        ("spin", {"k": 2}),
        ("threads", {"k": 300}),
        ("many", {"n": 6}),
        ("hidden", {"n": 6}),
        ("buried", {"depth": 50}),
        ("passed", {"n": 6}),
        ("mapped", {"n": 6}),
        ("entries", {"n": 11_000}),
    ],
)
def test_a_worker_that_takes_too_much_when_nobody_looks_is_killed(
    node: NodeProcess, tmp_path: Path, name: str, query: object
):
    """Threads that go on after their query, and disk that no single file takes up."""
    endpoints = [function(one) for one in NAMES]
    node.put(make(tmp_path, f"bad-{name}", {"f.py": CODE}, endpoints, pool={"floor": 2}))
    reply = node.ask(f"bad-{name}", f"{name}/run", query)
    assert reply.status == 200, reply
    pid = reply.body["response"]
    until(lambda: not is_alive(pid), "the worker to be killed", 20)
    until(lambda: disk_bytes(node.data / "scratch") < 1 << 20, "its folder to be removed", 5)
    until(lambda: node.ask(f"bad-{name}", "add/run", {"a": 1}).status == 200, "a new worker", 10)


def test_a_package_gets_as_many_workers_and_waiting_queries_as_the_node_allows(tmp_path: Path):
    told = "[workers]\nlibraries = []\ngeneration_max = 3\nnode_max = 4\n"
    node = NodeProcess(tmp_path / "node", told).start()
    try:
        pool = {"floor": 100, "cruise": 200, "ceil": 256, "queue": 10_000}
        for name in ("first", "second"):
            node.put(make(tmp_path, name, {"f.py": CODE}, [function("add")], pool=pool))
        until(lambda: len(node.workers()) >= 4, "three workers, and one", 10)
        assert node.ask("second", "add/run", {"a": 1}).status == 200
        assert len(node.workers()) == 4
    finally:
        node.stop()


CHILDREN = """
import os, socket, subprocess, sys, threading, time

CHILD = "import time\\nwhile True: time.sleep(1)"

def children():
    refused = []
    for leave in (os.setsid, os.setpgrp):
        try:
            subprocess.run([sys.executable, "-c", "pass"], preexec_fn=leave, check=True)
        except subprocess.SubprocessError:
            refused.append(leave.__name__)
    made = subprocess.Popen([sys.executable, "-c", CHILD], pass_fds=[3])  # keeps the line open
    return [refused, os.getpid(), made.pid]

def end():
    os._exit(1)
"""


@pytest.mark.parametrize("how", ["dies", "disabled", "stopped"])
def test_what_a_worker_has_started_ends_with_it(tmp_path: Path, how: str):
    """Even if it holds the worker's line open, or would have its own session."""
    told = "[workers]\nlibraries = []\n[workers.limits]\nprocesses = true\n"
    node = NodeProcess(tmp_path / "node", told).start()
    try:
        endpoints = [function("children"), function("end")]
        node.put(make(tmp_path, "bad", {"f.py": CHILDREN}, endpoints))
        refused, worker, child = node.ask("bad", "children/run", {}).body["response"]
        assert refused == ["setsid", "setpgrp"]
        assert is_alive(child)
        if how == "dies":
            assert node.ask("bad", "end/run", {}).status >= 500
        elif how == "disabled":
            assert node.admin("POST", "services/bad/actions/disable").status == 200
        if how != "stopped":
            until(lambda: not is_alive(child), "its child to end", 15)
    finally:
        node.stop()
    until(lambda: not is_alive(worker) and not is_alive(child), "both to end", 5)


def disk_bytes(folder: Path) -> int:
    """In regular files; folders that go away meanwhile are left out."""
    found = 0
    for where, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                found += os.lstat(os.path.join(where, name)).st_size  # noqa: PTH118
    return found


def test_a_generation_whose_workers_are_stopped_again_and_again_is_left_alone(tmp_path: Path):
    """They answer between their stops; the status says why they are stopped."""
    node = NodeProcess(tmp_path / "node", SETTINGS).start()
    try:
        endpoints = [function(name) for name in NAMES]
        node.put(make(tmp_path, "bad", {"f.py": CODE}, endpoints, pool={"floor": 1, "ceil": 1}))
        told: list[int] = []

        def looked() -> bool:
            if not told or not is_alive(told[-1]):
                reply = node.ask("bad", "threads/run", {"k": 300})
                told.extend([reply.body["response"]] if reply.status == 200 else [])
            return generation()["quarantined"]

        def generation() -> dict[str, Any]:
            return node.admin("GET", "services/bad/generations").body["generations"][0]

        until(looked, "the quarantine", 60)
        assert len(told) == 5
        why = "A worker was stopped: it has 30"
        assert why in generation()["lastFailure"]
        (shown,) = node.admin("GET", "services").body["services"]
        assert why in shown["failure"]
        refused = node.ask("bad", "add/run", {"a": 1})
        assert (refused.status, why in refused.body["message"]) == (503, True)
    finally:
        node.stop()
