"""The node's log, whatever workers write to it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.serving.nodes import NodeProcess, function, make, until

CODE = """
import os, sys, warnings

def add(a, b=1):
    return a + b

def fail(a):
    raise ValueError("no " + str(a))

def tell(what):
    print(what)
    print(what, file=sys.stderr)
    return os.getpid()

def warn(a):
    with warnings.catch_warnings():
        warnings.warn("odd")
    warnings.warn("odd, too")
    return a

def flood(n):
    line = b"x" * 99 + b"\\n"
    for _ in range(n):
        print("y" * 99)
    for _ in range(n):
        try:
            os.write(2, line * 100)
        except BlockingIOError:
            pass
    return n

def truncate():
    refused = 0
    for fd in (1, 2):
        try:
            os.ftruncate(fd, 0)
        except OSError:
            refused += 1
    return refused
"""
NAMES = [word.split("(")[0] for word in CODE.split("\ndef ")[1:]]


@pytest.fixture
def node(tmp_path: Path) -> Iterator[NodeProcess]:
    made = NodeProcess(tmp_path / "node").start()
    endpoints = [function(name) for name in NAMES]
    for service in ("loud", "quiet"):
        files = {"f.py": CODE}
        made.put(make(tmp_path, service, files, endpoints, generation="v1", pool={"floor": 1}))
    yield made
    made.stop()


def said(node: NodeProcess, service: str = "loud") -> list[dict[str, Any]]:
    """What the log has of a service; every line of it is JSON."""
    lines = [json.loads(line) for line in (node.data / "log").read_text().splitlines()]
    return [line for line in lines if line.get("service") == service]


def test_what_a_worker_writes_is_a_line_that_says_whose_it_is(node: NodeProcess):
    pid = node.ask("loud", "tell/run", {"what": "hello\x1b[2J"}).body["response"]
    until(lambda: len(said(node)) >= 2, "the lines", 10)
    for line in said(node):
        found = line["service"], line["generation"], line["pid"], line["line"]
        assert found == ("loud", "v1", pid, "hello\\x1b[2J")


def test_a_thousand_exceptions_of_one_place_are_one_line(node: NodeProcess):
    for _ in range(200):
        assert node.ask("loud", "fail/run", {"a": 1}).status == 500
    node.ask("loud", "tell/run", {"what": "end"})
    until(lambda: any(line["line"] == "end" for line in said(node)), "the last line", 10)
    traces = [line["line"] for line in said(node) if "ValueError: no 1" in line["line"]]
    assert len(traces) == len({line["pid"] for line in said(node)}) == 1
    assert traces[0].startswith("Traceback")
    assert 'raise ValueError("no " + str(a))' in traces[0]


def test_a_warning_of_one_place_is_one_line(node: NodeProcess):
    for _ in range(50):
        assert node.ask("loud", "warn/run", {"a": 1}).status == 200
    node.ask("loud", "tell/run", {"what": "end"})
    until(lambda: any(line["line"] == "end" for line in said(node)), "the last line", 10)
    assert sum("odd" in line["line"] for line in said(node)) == 2


def test_a_flood_is_dropped_counted_and_slows_nobody(node: NodeProcess):
    """Some hundred MB: the flooder is not held up, nor its neighbour, nor does the node grow."""
    assert node.process is not None
    node.ask("quiet", "add/run", {"a": 1})
    for _ in range(3):
        began = time.monotonic()
        assert node.ask("loud", "flood/run", {"n": 10_000}).status == 200
        assert time.monotonic() - began < 8
        assert node.ask("quiet", "tell/run", {"what": "here"}).status == 200
    until(lambda: any("dropped" in line["line"] for line in said(node)), "the count", 15)
    assert len(said(node)) < 600
    assert (node.data / "log").stat().st_size < 200_000
    assert [line["line"] for line in said(node, "quiet")] == ["here"] * 6
    status = Path(f"/proc/{node.process.pid}/status").read_text()
    assert int(status.split("VmRSS:")[1].split()[0]) < 300_000


def test_a_package_cannot_empty_the_log(node: NodeProcess):
    node.ask("loud", "tell/run", {"what": "kept"})
    until(lambda: len(said(node)) >= 2, "the lines", 10)
    assert node.ask("loud", "truncate/run", {}).body["response"] == 2
    assert [line["line"] for line in said(node)][:2] == ["kept", "kept"]
