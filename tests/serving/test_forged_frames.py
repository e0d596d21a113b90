"""What a package gets by writing to its worker's line itself, or by ending its worker: nothing.

The workers here are real ones. What they send is what the package's code sends, since whoever
finds the descriptor can write to it.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.serving.nodes import NodeProcess, function, make, until

from holdfast import errors
from holdfast.client import errors as client_errors
from holdfast.errors import HoldfastError
from holdfast.serving import errors as serving_errors
from holdfast.serving.endpoints.lookup import LookupEndpoint
from holdfast.serving.endpoints.prediction import PredictionEndpoint
from holdfast.serving.endpoints.python import ForecastEndpoint, FunctionEndpoint
from holdfast.serving.endpoints.sql import SqlEndpoint
from holdfast.serving.errors import ERROR_STATUSES, error_body
from holdfast.serving.packages.manifest import (
    ClusteringSpec,
    CustomPredictionSpec,
    ForecastSpec,
    FunctionSpec,
    LookupSpec,
    PredictionSpec,
    Service,
    SqlSpec,
    offers,
)

# A worker finds its line among its descriptors: it is the one stream socket that it has.
LINE = """
import os, socket, stat, threading

def line():
    for number in range(3, 64):
        try:
            if stat.S_ISSOCK(os.fstat(number).st_mode):
                return number
        except OSError:
            pass

def add(a, b=1):
    return a + b
"""
FORGED_READY = """
from holdfast.serving.workers.frames import Ready, pack
if not os.path.exists({calm!r}):
    os.write(line(), pack(Ready({{f"n{{n}}": (False, ["run"]) for n in range(5000)}})))
"""
GONE_SOON = """
if not os.path.exists({calm!r}):
    threading.Timer(0.02, os._exit, (0,)).start()
"""
FORGED_ANSWER = """
from holdfast.serving.workers.frames import Answers, pack

def forge(status):
    os.write(line(), pack(Answers(True, [(1, status, b"{}")])))
    threading.Event().wait()
"""
QUIET = "[workers]\nlibraries = []\n"


def test_what_endpoints_do_is_told_by_the_manifest_as_by_their_code():
    service = Service(
        "all",
        [
            FunctionSpec(id="function", file="f.py", function="f"),
            ForecastSpec(id="forecast", file="f.py", class_name="F"),
            SqlSpec(id="sql", query="select 1", database="d"),
            LookupSpec(id="lookup", data="d.csv", keys=["k"]),
            PredictionSpec(id="prediction", model="m", flavour="onnx", features=["x"]),
            ClusteringSpec(id="clustering", model="m", flavour="onnx", features=["x"]),
            CustomPredictionSpec(id="custom", file="f.py", class_name="F"),
        ],
    )
    classes = [FunctionEndpoint, ForecastEndpoint, SqlEndpoint, LookupEndpoint]
    classes += [PredictionEndpoint] * 3
    told = [(one.vectorised, list(one.actions)) for one in classes]
    assert list(offers(service).values()) == told


def test_every_error_of_ours_has_a_status_that_a_worker_may_answer():
    found = {
        one.status
        for module in (errors, client_errors, serving_errors)
        for one in vars(module).values()
        if isinstance(one, type) and issubclass(one, HoldfastError)
    }
    assert found <= ERROR_STATUSES


@pytest.mark.parametrize("status", [100, 101, 200, 204, 304, 99999, -1, 500.0, [], None])
def test_an_authors_error_with_another_status_is_answered_500(status: object):
    kind = type("Mine", (HoldfastError,), {"status": status, "code": "mine"})
    assert error_body(kind("It is mine."))[0] == 500


@pytest.fixture
def node(tmp_path: Path) -> NodeProcess:
    return NodeProcess(tmp_path / "node", QUIET)


@pytest.mark.parametrize("code", [FORGED_READY, GONE_SOON], ids=["ready", "gone"])
def test_workers_that_forge_that_they_are_ready_or_end_soon_are_left_alone(
    node: NodeProcess, tmp_path: Path, code: str
):
    """Not a storm of new ones; and the front learns no endpoint from them."""
    calm = tmp_path / "calm"
    calm.touch()
    node.start()
    try:
        source = LINE + code.format(calm=str(calm)) + "def die():\n    os._exit(1)\n"
        pool = {"floor": 8, "cruise": 8, "ceil": 8}
        endpoints = [function("add"), function("die")]
        node.put(make(tmp_path, "bad", {"f.py": source}, endpoints, pool=pool))
        assert node.ask("bad", "add/run", {"a": 1}).status == 200
        calm.unlink()
        for _ in range(4):  # each takes three of the good ones
            node.ask("bad", "die/run")
        until(
            lambda: node.admin("GET", "services/bad/generations").body["generations"][0][
                "quarantined"
            ],
            "the quarantine",
            20,
        )
        metrics = node.request("GET", "/metrics").data.decode()
        (deaths,) = [
            float(row.rpartition(" ")[2])
            for row in metrics.splitlines()
            if "_deaths_total{" in row and "bad" in row
        ]
        assert 5 <= deaths <= 60
        assert node.ask("bad", "n1/run").status in (404, 503)
    finally:
        node.stop()


def test_a_forged_status_costs_the_worker_and_the_query_is_answered(
    node: NodeProcess, tmp_path: Path
):
    node.start()
    try:
        endpoints = [function("add"), function("forge")]
        source = {"f.py": LINE + FORGED_ANSWER}
        node.put(make(tmp_path, "bad", source, endpoints, pool={"floor": 1}))
        reply = node.ask("bad", "forge/run", {"status": 204})
        assert (reply.status, reply.body["errorType"]) == (500, "WorkerDiedError")
        until(lambda: node.ask("bad", "add/run", {"a": 1}).status == 200, "a new worker", 20)
    finally:
        node.stop()
