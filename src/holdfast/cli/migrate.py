"""``holdfast migrate``: the database's tables, brought to this release."""

from __future__ import annotations

import asyncio
from typing import Literal, cast

import click

from holdfast.cli.context import Cli
from holdfast.errors import ConfigError


@click.command()
@click.option(
    "--phase",
    type=click.Choice(["all", "pre", "post"]),
    default="all",
    show_default=True,
    help="pre: only what the last release can run beside; post: the rest, once it is gone.",
)
@click.option("--check", is_flag=True, help="Only say what is missing.")
@click.pass_obj
def migrate(obj: Cli, phase: str, check: bool) -> None:
    """Bring the database at [database] url up to date (`holdfast up` does so by itself)."""
    from holdfast.store.pg import migrate as migrations

    url = obj.load_aloud().settings.database.url
    if not url:
        raise ConfigError(
            "no [database] url is set: the embedded database is brought up to date by "
            "`holdfast up`, and there is nothing to do here"
        )
    if check:
        names = asyncio.run(migrations.pending(url))
        obj.show({"pending": names}, ("pending",), [(name,) for name in names])
        return
    which = cast("Literal['all', 'pre', 'post']", phase)
    names = asyncio.run(migrations.migrate(url, which))
    obj.show({"applied": names}, ("applied",), [(name,) for name in names])
