"""``holdfast config``: is it right, and what is in force."""

from __future__ import annotations

import os
import sys
from typing import Any, cast

import click
import msgspec

from holdfast.cli.context import Cli
from holdfast.errors import ConfigError


@click.group()
def config() -> None:
    """Look at the configuration."""


@config.command()
@click.pass_obj
def check(obj: Cli) -> None:
    """Every fault of the configuration at once.

    If there is none: what it is made of, and which settings have other systems' names.
    """
    from holdfast.ops import config as configuration

    try:
        loaded = obj.load()
    except ConfigError as error:
        if obj.output == "table" or "faults" not in error.details:
            raise
        faults = cast("list[str]", error.details["faults"])
        obj.show({"faults": faults}, ("fault",), [(fault,) for fault in faults])
        sys.exit(1)
    where = str(loaded.file) if loaded.file else None
    folder = str(configuration.data_dir(loaded.settings, os.environ))
    document: dict[str, Any] = {
        "file": where,
        "data_dir": folder,
        "set": len(loaded.entries),
        "faults": [],
        "warnings": list(loaded.warnings),
    }
    rows = [(where or "none", folder, len(loaded.entries), "none", len(loaded.warnings) or "none")]
    obj.show(document, ("file", "data directory", "settings made", "faults", "warnings"), rows)
    if obj.output == "table":
        for warning in loaded.warnings:
            click.secho(f"warning: {warning}", fg="yellow")


@config.command()
@click.pass_obj
def show(obj: Cli) -> None:
    """Every setting: its value, and where it comes from."""
    from holdfast.ops.config import hidden, known_paths

    loaded = obj.load()
    document: dict[str, Any] = {}
    rows: list[tuple[Any, ...]] = []
    for path in known_paths():
        value: Any = loaded.settings
        for part in path:
            value = getattr(value, part)
        name = ".".join(path)
        entry = loaded.entries.get(path)
        source = entry.source if entry else "default"
        shown = "(hidden)" if hidden(path) and value else value
        document[name] = {"value": shown, "source": source}
        rows.append((name, msgspec.json.encode(shown).decode(), source))
    obj.show(document, ("setting", "value", "from"), rows)
