"""Output: JSON for machines, aligned columns for people and pipes."""

from __future__ import annotations

import json

import pytest

from holdfast.cli.context import Cli, table


def test_a_table_is_aligned_and_cuts_nothing_off():
    text = table(("slot", "shards", "note"), [("c-1", 512, None), ("c-2", 3.5, "two\nlines")])
    assert text.splitlines() == [
        "SLOT  SHARDS  NOTE",
        "c-1   512     -",
        "c-2   3.5     two lines",
    ]
    assert "x" * 300 in table(("a",), [("x" * 300,)])


def test_an_empty_table_shows_its_columns():
    assert table(("a", "b"), []) == "A  B"


def test_json_is_the_document_itself(capsys: pytest.CaptureFixture[str]):
    cli = Cli(config_file=None, output="json", cloud=None)
    cli.show({"members": [1]}, ("never",), [])
    assert json.loads(capsys.readouterr().out) == {"members": [1]}
