"""The command line: what it refuses, and the referee's exit status."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from holdfast.sim.fleet.__main__ import main

LINE = {"t": 1.0, "wall": 1.0, "machine": "bmc-1", "action": "power", "done": True}


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "journal.jsonl"


def write(journal: Path, *owners: tuple[str, int]) -> None:
    lines = [msgspec.json.encode({**LINE, "member": m, "epoch": e}) for m, e in owners]
    journal.write_bytes(b"\n".join(lines) + b"\n")


def test_the_referee_succeeds_on_a_clean_journal(journal):
    write(journal, ("a", 1), ("b", 2))
    result = CliRunner().invoke(main, ["referee", str(journal)])
    assert (result.exit_code, "clean" in result.output) == (0, True)


def test_the_referee_fails_on_a_broken_promise_and_tells_it_as_json(journal):
    write(journal, ("b", 2), ("a", 1))
    result = CliRunner().invoke(main, ["referee", "--json", str(journal)])
    assert result.exit_code == 1
    assert msgspec.json.decode(result.output)["counts"] == {"stale": 1}


def test_a_fleet_that_cannot_be_says_why():
    result = CliRunner().invoke(main, ["--count", "70000"])
    assert result.exit_code == 1
    assert "count must be 0 .. 50000" in result.output
