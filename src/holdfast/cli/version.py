"""``holdfast version``."""

from __future__ import annotations

import click

from holdfast import __version__
from holdfast.cli.context import Cli


@click.command()
@click.pass_obj
def version(obj: Cli) -> None:
    """The version of this Holdfast."""
    obj.show({"version": __version__}, ("version",), [(__version__,)])
