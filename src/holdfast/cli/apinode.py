"""``holdfast apinode``: run a query node, look at it, drain it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from holdfast.cli.context import Cli
from holdfast.errors import UnavailableError

DATA_DEFAULT = "./apinode"


@click.group()
def apinode() -> None:
    """Query nodes: each stands alone, with its packages on its own disk."""


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

    from holdfast.serving.front.keys import KEY_FILE
    from holdfast.serving.node import Node
    from holdfast.serving.process import run
    from holdfast.serving.settings import read_settings

    settings = read_settings(data)
    http = settings.http
    if host is not None:
        http = msgspec.structs.replace(http, host=host)
    if port is not None:
        http = msgspec.structs.replace(http, port=port)

    def ready(node: Node) -> None:
        click.echo(f"serving on http://{node.settings.host}:{node.port}, admin key in ", nl=False)
        click.echo(data / KEY_FILE)
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
@_data
@click.pass_obj
def drain(obj: Cli, node: str, data: Path) -> None:
    """Ask a node to leave: its probe says no, it answers on for a while, then it stops."""
    _show(obj, call_node(node, data, "POST", "node/drain"))


def _show(obj: Cli, document: dict[str, Any]) -> None:
    obj.show(document, ["what", "is"], [[name, value] for name, value in document.items()])


def call_node(node: str, data: Path, method: str, path: str) -> dict[str, Any]:
    """One call of a node's admin API, with the key of HOLDFAST_APINODE_KEY or of its directory."""
    import asyncio

    from holdfast.cli.package import NodeApi, admin_key

    async def call() -> dict[str, Any]:
        async with NodeApi(node, admin_key(data)) as api:
            return await api.call(method, path)

    answer = asyncio.run(call())
    if not answer:
        raise UnavailableError(f"{node} gave an empty answer.")
    return answer
