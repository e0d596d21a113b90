"""``--watch`` shows the picture again, and outlives what it watches."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from holdfast.cli import watching
from holdfast.cli.main import WATCHED, cli
from holdfast.errors import UnavailableError


def look_at(faults: set[int], monkeypatch: pytest.MonkeyPatch) -> tuple[click.Command, list[float]]:
    """A command that fails at the looks named, and the pauses between its looks."""
    pauses: list[float] = []
    looks = 0

    @click.command()
    def look() -> None:
        nonlocal looks
        looks += 1
        if looks in faults:
            raise UnavailableError("nobody there")
        click.echo(f"look {looks}")

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(watching.time, "sleep", pause)
    return watching.watchable(look), pauses


def test_it_looks_again_until_it_is_stopped_even_if_nobody_answers(
    monkeypatch: pytest.MonkeyPatch,
):
    command, pauses = look_at({2}, monkeypatch)
    result = CliRunner().invoke(command, ["--watch", "--every", "0.5"])
    assert result.exit_code == 0
    assert pauses == [0.5, 0.5, 0.5]
    assert result.stdout.split() == ["look", "1", "look", "3"]
    assert "nobody there" in result.stderr


def test_without_it_a_command_looks_once(monkeypatch: pytest.MonkeyPatch):
    command, pauses = look_at(set(), monkeypatch)
    assert CliRunner().invoke(command, []).output == "look 1\n"
    assert pauses == []


def test_reading_commands_have_it():
    for name in WATCHED:
        assert "--watch" in CliRunner().invoke(cli, [name, "--help"]).output
