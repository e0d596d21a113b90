"""``-o``: before the command or after it, four forms of one document."""

from __future__ import annotations

import json

import click
import pytest
import yaml
from click.testing import CliRunner

from holdfast import __version__
from holdfast.cli.main import COMMANDS, RUNNING, LazyGroup, cli
from holdfast.cli.output import FORMATS, rendered


def run(*argv: str) -> str:
    result = CliRunner().invoke(cli, list(argv))
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize("argv", [("-o", "json", "version"), ("version", "-o", "json")])
def test_the_output_format_may_stand_before_or_after_the_command(argv: tuple[str, ...]):
    assert json.loads(run(*argv)) == {"version": __version__}


def test_yaml_says_what_json_says():
    document = {"members": [{"slot": "c-1", "epoch": 7, "group": None}], "text": "ä: 1"}
    assert yaml.safe_load(rendered("yaml", document, (), ())) == document
    assert yaml.safe_load(run("version", "-o", "yaml")) == {"version": __version__}


def test_a_table_joins_what_there_are_several_of():
    rows = [("endpoints", ["score", "customers"]), ("none", []), ("map", {"a": 1})]
    told = rendered("table", {}, ("what", "is"), rows).splitlines()[1:]
    assert told == ["endpoints  score, customers", "none       -", "map        a: 1"]


def test_names_are_the_first_column_a_line_each():
    rows = [("c-1", 3), ("c-2", 4)]
    assert rendered("name", {}, ("slot", "n"), rows) == "c-1\nc-2"
    assert rendered("name", {}, (), ()) == ""


def test_every_command_that_shows_something_takes_every_format():
    group = cli
    assert isinstance(group, LazyGroup)
    context = click.Context(group)
    for name in set(COMMANDS) - RUNNING:
        command = group.get_command(context, name)
        assert command is not None
        inner = command.commands.values() if isinstance(command, click.Group) else ()
        for one in (command, *inner):
            [option] = [p for p in one.params if p.name == "output"]
            assert isinstance(option.type, click.Choice)
            assert tuple(option.type.choices) == FORMATS
