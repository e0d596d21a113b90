"""What a command shows: ``-o table|json|yaml|name``, before the command or after it.

``table`` is for people, ``json`` and ``yaml`` are the whole document, ``name`` is the first
column alone, a line each, for a shell's loop.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any, Final, cast

import click

FORMATS: Final = ("table", "json", "yaml", "name")
NOTHING: Final = "-"


def rendered(
    output: str, document: Any, columns: Sequence[str], rows: Sequence[Sequence[Any]]
) -> str:
    """The text to print, without its final newline."""
    if output == "json":
        return json.dumps(document, indent=2)
    if output == "yaml":
        import yaml

        # By way of JSON, so that both say the same and no Python type slips in.
        plain = json.loads(json.dumps(document))
        text: str = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)
        return text.rstrip("\n")
    if output == "name":
        return "\n".join(text_of(row[0]) for row in rows if row)
    return table(columns, rows)


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Aligned columns, nothing cut off, fit for a pipe."""
    cells = [[text_of(cell) for cell in row] for row in rows]
    widths = [
        max(len(column), *(len(row[i]) for row in cells)) if cells else len(column)
        for i, column in enumerate(columns)
    ]

    def line(row: Sequence[str]) -> str:
        padded = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        return "  ".join(padded).rstrip()

    return "\n".join([line([c.upper() for c in columns]), *(line(row) for row in cells)])


def text_of(cell: Any) -> str:
    """A value for people: nothing is a dash, numbers are short, lines are not broken."""
    if cell is None or cell == "":
        return NOTHING
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, list | tuple | set | frozenset):
        return ", ".join(map(text_of, cast("Collection[Any]", cell))) or NOTHING
    if isinstance(cell, dict):
        members = cast("dict[Any, Any]", cell).items()
        return ", ".join(f"{name}: {text_of(value)}" for name, value in members) or NOTHING
    if isinstance(cell, float):
        return f"{cell:.3f}".rstrip("0").rstrip(".")
    return " ".join(str(cell).split())


def with_output(command: click.Command) -> click.Command:
    """Let ``-o`` stand after the command, too; and after each command of a group."""
    if not any(param.name == "output" for param in command.params):
        command.params.append(
            click.Option(
                ["-o", "--output", "output"],
                type=click.Choice(FORMATS),
                expose_value=False,
                callback=_choose,
                help="How to show it.  [default: table]",
            )
        )
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            with_output(inner)
    return command


def _choose(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    del param
    from holdfast.cli.context import Cli

    obj = ctx.find_object(Cli)
    if value is not None and obj is not None:
        obj.output = value
