"""``holdfast up``: the whole system on this host."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from holdfast.cli.context import Cli

if TYPE_CHECKING:
    from holdfast.ops.system import Started


@click.command()
@click.option("--conductors", type=click.IntRange(0, 256), help="How many conductors.")
@click.option("--engines", type=click.IntRange(0, 256), help="How many engines (stacks).")
@click.option("--apis", type=click.IntRange(0, 256), help="How many API processes.")
@click.option("--apinodes", type=click.IntRange(0, 256), help="How many API nodes (serving).")
@click.option("--port", type=click.IntRange(0, 65535), help="Port of the APIs (0: any free one).")
@click.pass_obj
def up(
    obj: Cli,
    conductors: int | None,
    engines: int | None,
    apis: int | None,
    apinodes: int | None,
    port: int | None,
) -> None:
    """Run the whole system on this host, on an embedded PostgreSQL unless one is configured.

    Ctrl-C or TERM drains and stops; a second one stops hard. HUP starts what has drained.
    """
    for name, value in (
        ("HOLDFAST_CONDUCTOR__PROCESSES", conductors),
        ("HOLDFAST_ENGINE__PROCESSES", engines),
        ("HOLDFAST_API__PROCESSES", apis),
        ("HOLDFAST_APINODE__PROCESSES", apinodes),
        ("HOLDFAST_API__PORT", port),
    ):
        if value is not None:
            os.environ[name] = str(value)
    from holdfast.ops import logs
    from holdfast.ops.config import data_dir
    from holdfast.ops.datadir import DataDir
    from holdfast.ops.system import System

    loaded = obj.load_aloud()
    datadir = DataDir(data_dir(loaded.settings, os.environ)).prepare()
    if loaded.settings.apinode.processes:
        _refuse_unsafe(datadir.root)
    with datadir.log("supervisor").open("a", buffering=1) as log:
        logs.configure(loaded.settings.logs, log, role="supervisor")
        system = System(loaded, datadir, _announce, _welcome)
        sys.exit(asyncio.run(system.run()))


def _refuse_unsafe(root: Path) -> None:
    """Raises ``ConfigError`` now, not in each API node again and again."""
    from holdfast.serving.settings import read_settings
    from holdfast.serving.workers.users import choose_user

    choose_user(read_settings(root).workers.limits.user, [root])


def _announce(text: str) -> None:
    click.echo(f"{time.strftime('%H:%M:%S')}  {text}")


def _welcome(started: Started) -> None:
    click.echo(f"\nHoldfast is up at {started.url}  (metrics: {started.metrics_url})")
    if started.password is not None:
        click.echo(f"  user {started.username}, password {started.password}  (shown only now)")
    if started.clouds is not None:
        click.echo(f"  export OS_CLIENT_CONFIG_FILE={started.clouds}")
        click.echo("  openstack --os-cloud holdfast baremetal node list")
    else:
        click.echo("  clouds.yaml is not here: it is where the first admin was made")
    click.echo("Ctrl-C drains and stops.\n")
