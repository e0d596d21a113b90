"""dataikuapi, unmodified, survives the loss of an instance with our session (D11)."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from tests.compat.clients import BIN
from tests.serving.nodes import KEY, QUICK, NodeProcess, adder

SCRIPT = Path(__file__).with_name("dataiku_session.py")
CALLS = "3000"


def test_dataikuapi_with_our_session_loses_nothing_when_a_node_is_killed(tmp_path: Path):
    (site,) = BIN.parent.glob("lib/python3*/site-packages")
    nodes = [NodeProcess(tmp_path / f"n{n}", QUICK).start() for n in range(3)]
    try:
        for one in nodes:
            one.put(adder(tmp_path, "v1"))
        argv = [sys.executable, SCRIPT, site, KEY, CALLS, *[one.url for one in nodes]]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as asking:
            assert asking.stdout is not None
            assert asking.stdout.readline() == "ready\n"
            nodes[0].signal(signal.SIGKILL)
            nodes[0].wait()
            assert asking.poll() is None, "the load was over before the node died"
            refusal, verdict = asking.stdout.read().splitlines()
    finally:
        for one in nodes:
            one.stop()
    assert refusal.startswith("DataikuException QueryError: The function's arguments do not fit")
    assert verdict.startswith("0 failed")
