"""``holdfast run``: one role as this process, for a service manager or the supervisor."""

from __future__ import annotations

import os
import sys

import click

from holdfast.cli.context import Cli


@click.command()
@click.argument("role", type=click.Choice(["api", "apinode", "conductor", "engine", "rack"]))
@click.option("--slot", help="A name that is the same after every restart.  [default: ROLE-1]")
@click.pass_obj
def run(obj: Cli, role: str, slot: str | None) -> None:
    """Run ROLE until it has drained (TERM); a second TERM stops it at once."""
    from holdfast.ops import logs
    from holdfast.ops.config import data_dir
    from holdfast.ops.datadir import DataDir
    from holdfast.ops.roles import run_role
    from holdfast.ops.roles.process import RoleProcess

    settings = obj.load_aloud().settings
    name = slot or f"{role}-1"
    logs.configure(settings.logs, role=role, slot=name)
    datadir = DataDir(data_dir(settings, os.environ)).prepare()
    sys.exit(run_role(RoleProcess(role, name, settings, datadir)))
