"""Figures that the docs give as advice are the planner's (X7, X9, X16), and so are the settings."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from holdfast.ops.aliases import ALIASES
from holdfast.ops.config import Settings
from holdfast.ops.planner.stacks import PER_CORE, TABLE, pool_needed

PAGE = (Path(__file__).parents[3] / "docs/how-many-engines-do-i-need.md").read_text()


def rows(header: str) -> list[list[str]]:
    """The cells of the table that begins with this heading."""
    [lines] = re.findall(rf"^\| {header} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines.splitlines()]


def test_x9_the_table_of_the_page_is_the_planners():
    shown = [tuple(int(cell.rstrip("+")) for cell in row) for row in rows("cores")]
    assert shown == [(*row, pool_needed(row[1])) for row in TABLE]


def test_x7_the_range_of_the_page_is_the_planners():
    assert f"{PER_CORE[0]}-{PER_CORE[1]} engines per core" in PAGE


def test_t2_the_most_engines_of_the_default_pool_are_those_of_the_page():
    most = Settings().database.pool_max // pool_needed(1)
    assert most == 5
    assert "five engines are the most" in PAGE


def test_x17_x20_the_settings_of_the_page_exist_with_their_defaults_and_names():
    for name, theirs, default, _ in rows("here"):
        path = name.strip("`")
        value: Any = Settings()
        for part in path.split("."):
            value = getattr(value, part)
        assert default == (str(value).lower() if isinstance(value, bool) else f"{value:g}"), name
        for alias in re.findall(r"`(?:\[\w+\] )?(\w+)`", theirs):
            known = [full for full, ours in ALIASES.items() if ours == path]
            assert any(full.rpartition(".")[2] == alias for full in known), (name, alias)
