"""``holdfast apinode``: run a query node, look at it, drain it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from holdfast.cli.apinode_upgrade import upgrade
from holdfast.cli.context import Cli
from holdfast.errors import UnavailableError

DATA_DEFAULT = "./apinode"


@click.group()
def apinode() -> None:
    """Query nodes: each stands alone, with its packages on its own disk."""


apinode.add_command(upgrade)


_data = click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    default=DATA_DEFAULT,
    show_default=True,
    envvar="HOLDFAST_APINODE_DATA",
    help="Its data directory (apinode.toml there configures it).",
)


@apinode.command("run")
@_data
@click.option("--host", help="Address to listen on.  [default: 127.0.0.1]")
@click.option("--port", type=int, help="Port to listen on; 0 is any.  [default: 12000]")
def run_node(data: Path, host: str | None, port: int | None) -> None:
    """Run a node until it has drained (TERM); a second TERM stops it at once.

    USR2 starts the same command anew (upgraded, perhaps) on the same port, and lets this one go.
    """
    import msgspec

    from holdfast.ops.logs import configure
    from holdfast.ops.settings import LogSettings
    from holdfast.serving.front.keys import KEY_FILE
    from holdfast.serving.node import Node
    from holdfast.serving.process import run
    from holdfast.serving.settings import read_settings

    configure(LogSettings())
    settings = read_settings(data)
    http = settings.http
    if host is not None:
        http = msgspec.structs.replace(http, host=host)
    if port is not None:
        http = msgspec.structs.replace(http, port=port)

    def ready(node: Node) -> None:
        click.echo(f"serving on http://{node.settings.host}:{node.port}, admin key in ", nl=False)
        click.echo(data / KEY_FILE)
        for warning in node.warnings:
            click.secho(f"holdfast: {warning}", err=True, fg="yellow")
        for name, runtime in node.registry.services.items():
            if runtime.failure:
                click.secho(f"holdfast: {name}: {runtime.failure}", err=True, fg="yellow")

    # A successor takes the port over, whatever it is, so it need not be told.
    argv = ["apinode", "run", "--data", str(data.resolve())]
    argv += ["--host", host] if host is not None else []
    run(data.resolve(), msgspec.structs.replace(settings, http=http), argv, ready)


@apinode.command("status")
@click.option("--node", default="http://127.0.0.1:12000", show_default=True, help="Its URL.")
@_data
@click.pass_obj
def status(obj: Cli, node: str, data: Path) -> None:
    """Show a node that runs."""
    _show(obj, call_node(node, data, "GET", "node"))


@apinode.command("drain")
@click.option("--node", default="http://127.0.0.1:12000", show_default=True, help="Its URL.")
@click.option("--force", is_flag=True, help="Even if no other node is alive.")
@_data
@click.pass_obj
def drain(obj: Cli, node: str, force: bool, data: Path) -> None:
    """Ask a node to leave: its probe says no, it answers on for a while, then it stops.

    The last node alive does not go: it looks at the others it knows ([node] peers).
    """
    document = call_node(node, data, "POST", f"node/drain?force={int(force)}")
    _say(obj, document, f"{_named(node)} answers until balancers have noticed, and stops then")


@apinode.command("out")
@click.option("--node", default="http://127.0.0.1:12000", show_default=True, help="Its URL.")
@click.option("--force", is_flag=True, help="Even if no other node is alive.")
@_data
@click.pass_obj
def out(obj: Cli, node: str, force: bool, data: Path) -> None:
    """Take a node out of the pool: its probe says no, and it answers whoever comes (D17)."""
    document = call_node(node, data, "POST", f"node/out?force={int(force)}")
    _say(obj, document, f"{_named(node)} is out of the pool, and answers whoever comes")


@apinode.command("back")
@click.option("--node", default="http://127.0.0.1:12000", show_default=True, help="Its URL.")
@_data
@click.pass_obj
def back(obj: Cli, node: str, data: Path) -> None:
    """Bring a node back into the pool (D20)."""
    document = call_node(node, data, "POST", "node/back")
    reason = document["reason"]
    said = f"not back: {reason}" if reason else "back in the pool"
    _say(obj, document, f"{_named(node)} is {said}")


@apinode.command("peers")
@click.option("--node", default="http://127.0.0.1:12000", show_default=True, help="Its URL.")
@click.option("--add", help="URL of a node it shall know; the others learn of it.")
@click.option("--remove", help="URL of a node it shall forget.")
@_data
@click.pass_obj
def peers(obj: Cli, node: str, add: str | None, remove: str | None, data: Path) -> None:
    """The nodes that a node knows and names to clients (D10, D11)."""
    from urllib.parse import quote

    found = call_node(node, data, "GET", "node")
    if add:
        found = call_node(node, data, "POST", f"node/peers?url={quote(add, safe='')}")
    if remove:
        found = call_node(node, data, "DELETE", f"node/peers?url={quote(remove, safe='')}")
    nodes: list[str] = found["nodes"]
    obj.show({"nodes": nodes}, ["node"], [[url] for url in nodes])


def _show(obj: Cli, document: dict[str, Any]) -> None:
    obj.show(document, ["what", "is"], [[name, value] for name, value in document.items()])


def _named(node: str) -> str:
    """A node as it was named, with the scheme that was meant."""
    from holdfast.serving.operating.api import node_url

    return node_url(node)


def _say(obj: Cli, document: dict[str, Any], line: str) -> None:
    if obj.output == "table":
        click.echo(line)
    else:
        _show(obj, document)


def call_node(node: str, data: Path, method: str, path: str) -> dict[str, Any]:
    """One call of a node's admin API, with the key of HOLDFAST_APINODE_KEY or of its directory."""
    import asyncio

    from holdfast.cli.package import admin_key
    from holdfast.serving.operating.api import NodeApi

    async def call() -> dict[str, Any]:
        async with NodeApi(node, admin_key(data)) as api:
            return await api.call(method, path)

    answer = asyncio.run(call())
    if not answer:
        raise UnavailableError(f"{node} gave an empty answer.")
    return answer
