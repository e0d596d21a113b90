"""``holdfast demo``: fifty machines deploy, a conductor is killed; nothing is lost.

An isolated system in a directory of its own, simulated machines, and the public
APIs: the demonstration knows nothing that any client could not know. The verdict on
double commands is the referee's, from what the machines' BMCs have seen.
"""

from __future__ import annotations

import asyncio
import sys

import click

from holdfast.cli.context import Cli


@click.command()
@click.option("--nodes", default=50, show_default=True, type=click.IntRange(1, 5000))
@click.option("--conductors", default=3, show_default=True, type=click.IntRange(1, 16))
@click.option("--kill/--no-kill", default=True, show_default=True, help="kill -9 a conductor.")
@click.option("--limit", "limit_s", default=110.0, show_default=True, help="Give up after (s).")
@click.option("--keep", is_flag=True, help="Keep the data directory, logs and journal.")
@click.option("--plain", is_flag=True, help="Lines instead of a live picture.")
@click.pass_obj
def demo(
    obj: Cli, nodes: int, conductors: int, kill: bool, limit_s: float, keep: bool, plain: bool
) -> None:
    """Fifty machines deploy while a conductor is killed: watch what happens.

    Ends in a scorecard, and with status 1 if anything was lost.
    """
    from holdfast.cli.demo.play import Play, Plot

    plot = Plot(
        nodes=nodes,
        conductors=conductors,
        kill=kill and conductors > 1,
        limit_s=limit_s,
        keep=keep,
        live=not plain and sys.stdout.isatty() and obj.output != "json",
        as_json=obj.output == "json",
    )
    sys.exit(asyncio.run(Play(plot).run()))
