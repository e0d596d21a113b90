"""dataikuapi, unmodified, against an API node: every method of its two clients."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.compat.clients import BIN
from tests.serving.nodes import KEY, NodeProcess
from tests.serving.zoo import zoo

CALLS = Path(__file__).with_name("dataiku_calls.py")


def test_every_call_of_dataikuapi_is_answered(tmp_path: Path):
    packages = [zoo(tmp_path, generation).path for generation in ("v1", "v2")]
    node = NodeProcess(tmp_path / "node", "").start()
    try:
        done = subprocess.run(
            [BIN / "python", CALLS, node.url, node.admin_key, KEY, *packages],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    finally:
        node.stop()
    assert done.stdout.splitlines()[-1:] == ["all answered"], done.stderr
