"""The demonstration, with fewer machines: its exit status is its verdict."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.e2e


def test_a_conductor_is_killed_and_nothing_is_lost():
    done = subprocess.run(
        (sys.executable, "-m", "holdfast.cli.main", "-o", "json", "demo", "--nodes", "16"),
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    score = json.loads(done.stdout)
    assert (score["active"], score["failed"], score["double_commands"]) == (16, 0, 0)
    assert score["killed"].startswith("conductor-")
    assert score["takeover_s"] is not None
