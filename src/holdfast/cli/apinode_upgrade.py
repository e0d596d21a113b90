"""``holdfast apinode upgrade``: new software or a new package on one node after the other."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import click

from holdfast.cli.context import Cli
from holdfast.errors import ConfigError


@click.command("upgrade")
@click.option("--nodes", required=True, help="URLs of nodes, with commas between them.")
@click.option("--rolling", is_flag=True, help="There are several: one after the other.")
@click.option(
    "--run",
    "commands",
    multiple=True,
    help="Command that stops, upgrades or starts a node; {host}, {port}, {url} and {zone} are "
    "filled in. May be given several times.",
)
@click.option("--shell", is_flag=True, help="A shell reads the commands.")
@click.option("--in-place", is_flag=True, help="Each node replaces itself, as USR2 tells it to.")
@click.option(
    "--package",
    "package",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Package to bring to each node, and to serve there.",
)
@click.option(
    "--notice",
    "notice_s",
    type=click.FloatRange(min=0),
    help="Seconds that balancers need to notice.  [default: the node's drain_notice_s]",
)
@click.option(
    "--watch",
    "watch_s",
    type=click.FloatRange(min=0),
    default=5.0,
    show_default=True,
    help="Seconds to watch a node's answers before the next is taken out.",
)
@click.option(
    "--errors-max",
    type=click.FloatRange(0, 1),
    default=0.01,
    show_default=True,
    help="Share of those answers that may be errors more than before.",
)
@click.option("--timeout", "timeout_s", type=click.FloatRange(min=1), default=300.0)
@click.option("--force", is_flag=True, help="Even if there is one node only.")
@click.option(
    "--state",
    type=click.Path(dir_okay=False, path_type=Path),
    default="./apinode-upgrade.json",
    show_default=True,
    help="Where to note how far it is; a run that was broken off is ended by the next.",
)
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    default="./apinode",
    help="Where admin.key is, unless HOLDFAST_APINODE_KEY says the key.",
)
@click.pass_obj
def upgrade(
    obj: Cli,
    nodes: str,
    rolling: bool,
    commands: tuple[str, ...],
    in_place: bool,
    package: Path | None,
    state: Path,
    data: Path,
    **told: Any,
) -> None:
    """Upgrade nodes without losing a query (D16-D20).

    Each in turn, zone by zone: out of the pool, its queries ended, the commands run, ready again,
    the package uploaded, tested and in use, its test queries asked, back in the pool, its answers
    watched. It stops at the first that fails, and the package goes back to what it was.
    """
    from holdfast.cli.package import admin_key
    from holdfast.serving.operating.api import node_url
    from holdfast.serving.operating.progress import Progress, ProgressFile
    from holdfast.serving.operating.rolling import Options, Rolling, begin, wanted_of

    urls = [node_url(url) for url in nodes.split(",") if url.strip()]
    if len(set(urls)) != len(urls) or not urls:
        raise ConfigError("--nodes names each node once.")
    if len(urls) > 1 and not rolling:
        raise ConfigError("Several nodes are upgraded one after the other: say --rolling.")
    if in_place and commands:
        raise ConfigError("Either --run or --in-place says how a node is restarted, not both.")
    if not (commands or in_place or package):
        raise ConfigError("Say what to do: --run, --in-place, --package.")
    options = Options(**told)
    wanted = wanted_of(urls, commands, package, in_place=in_place)

    def say(url: str, text: str) -> None:
        click.echo(f"{time.strftime('%H:%M:%S')} {url}: {text}", err=True)

    async def run(file: ProgressFile) -> Progress:
        key = admin_key(data)
        progress = await begin(wanted, file, key)
        await Rolling(progress, file, package, key, options, say).run()
        return progress

    file = ProgressFile(state)
    try:
        progress = asyncio.run(run(file))
    finally:
        file.close()
    rows = [[one.url, one.zone, one.step.name.lower()] for one in progress.nodes]
    document = [dict(zip(("node", "zone", "state"), row, strict=True)) for row in rows]
    obj.show({"nodes": document}, ["node", "zone", "state"], rows)
