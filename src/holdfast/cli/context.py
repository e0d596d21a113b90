"""What every command is given: configuration, output format, and the cluster API."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from holdfast.cli.client import Client
    from holdfast.ops.config import Loaded
    from holdfast.ops.datadir import DataDir

NOTHING: Final = "-"


class Cli:
    """Options of the whole command, and what is made from them when needed."""

    def __init__(self, *, config_file: str | None, output: str, cloud: str | None) -> None:
        self.config_file = Path(config_file) if config_file else None
        self.output = output
        self.cloud = cloud

    def load(self) -> Loaded:
        """The configuration; raises ``ConfigError`` with all its faults."""
        from holdfast.ops import config

        return config.load(self.config_file)

    def datadir(self) -> DataDir:
        from holdfast.ops.config import data_dir
        from holdfast.ops.datadir import DataDir

        return DataDir(data_dir(self.load().settings, os.environ))

    def client(self) -> Client:
        """The cluster API, as the admin of clouds.yaml."""
        from holdfast.cli.client import Client, find_cloud

        return Client(find_cloud(self.cloud, os.environ, self.datadir().clouds))

    def show(self, document: Any, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """The document as JSON, or its rows as a table."""
        if self.output == "json":
            click.echo(json.dumps(document, indent=2))
        else:
            click.echo(table(columns, rows))


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Aligned columns, nothing cut off, fit for a pipe."""
    cells = [[text(cell) for cell in row] for row in rows]
    widths = [
        max(len(column), *(len(row[i]) for row in cells)) if cells else len(column)
        for i, column in enumerate(columns)
    ]

    def line(row: Sequence[str]) -> str:
        padded = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        return "  ".join(padded).rstrip()

    return "\n".join([line([c.upper() for c in columns]), *(line(row) for row in cells)])


def text(cell: Any) -> str:
    """A value for people: nothing is a dash, numbers are short, lines are not broken."""
    if cell is None or cell == "":
        return NOTHING
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, float):
        return f"{cell:.3f}".rstrip("0").rstrip(".")
    return " ".join(str(cell).split())
