"""The scorecard: exit non-zero if anything was lost."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from holdfast.cli.demo.score import Score, card, verdict_of

GOOD = Score(
    nodes=50,
    active=50,
    resumed=22,
    failed=0,
    takeover_s=0.114,
    took_s=26.6,
    killed="conductor-1",
    double_commands=0,
    commands=517,
)


def test_nothing_lost_is_no_fault():
    assert GOOD.faults() == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"active": 49}, "1 of 50 machines are not active"),
        ({"failed": 2}, "2 machines failed"),
        ({"double_commands": 1}, "1 commands were given twice"),
        ({"commands": 0}, "no command at all"),
        ({"takeover_s": None}, "nobody took over what conductor-1 owned"),
    ],
)
def test_whatever_is_lost_is_named(change: dict[str, object], words: str):
    [fault] = msgspec.structs.replace(GOOD, **change).faults()
    assert words in fault


def test_the_card_shows_the_figures():
    console = Console(record=True, width=80, file=None, quiet=False)
    with console.capture() as captured:
        console.print(card(GOOD))
    text = captured.get()
    assert "50 of 50" in text
    assert "114 ms" in text
    assert "0 of 517" in text


def test_the_verdict_is_the_referees(tmp_path: Path):
    """Two owners of one machine, the lower epoch last: what a broken fence would look like."""
    line = {
        "t": 1.0,
        "wall": 1.0,
        "machine": "bmc-1",
        "action": "power",
        "value": "On",
        "done": True,
        "status": 204,
    }
    journal = tmp_path / "journal.jsonl"
    journal.write_text(
        "".join(
            json.dumps({**line, "member": member, "epoch": epoch}) + "\n"
            for member, epoch in (("a", 5), ("b", 6), ("a", 5))
        )
    )
    assert verdict_of(journal).double_commands == 1
