"""What every command is given: configuration, output format, and the cluster API."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from holdfast.cli.output import rendered, table

if TYPE_CHECKING:
    from holdfast.cli.client import Client
    from holdfast.ops.config import Loaded
    from holdfast.ops.datadir import DataDir

__all__ = ["Cli", "table"]


class Cli:
    """Options of the whole command, and what is made from them when needed."""

    def __init__(self, *, config_file: str | None, output: str, cloud: str | None) -> None:
        self.config_file = Path(config_file) if config_file else None
        self.output = output
        self.cloud = cloud
        self._loaded: Loaded | None = None

    def load(self) -> Loaded:
        """The configuration; raises ``ConfigError`` with all its faults."""
        from holdfast.ops import config

        if self._loaded is None:
            self._loaded = config.load(self.config_file)
        return self._loaded

    def load_aloud(self) -> Loaded:
        """The same, its warnings on stderr: for commands that do what the configuration says.

        Those that only look at a running system say nothing: it would be the same each time.
        """
        loaded = self.load()
        if self.output in ("table", "name"):
            for warning in loaded.warnings:
                click.secho(f"holdfast: {warning}", err=True, fg="yellow")
        return loaded

    def datadir(self) -> DataDir:
        from holdfast.ops.config import data_dir
        from holdfast.ops.datadir import DataDir

        return DataDir(data_dir(self.load().settings, os.environ))

    def client(self) -> Client:
        """The cluster API, as the admin of clouds.yaml."""
        from holdfast.cli.client import Client, find_cloud

        return Client(find_cloud(self.cloud, os.environ, self.datadir().clouds))

    def show(self, document: Any, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """The document, its rows as a table, or the first of each row (``cli.output``)."""
        click.echo(rendered(self.output, document, columns, rows))
        if not rows and self.output == "table":
            click.echo("(none)", err=True)
