"""``holdfast services``: every process by what it does, and whether it is up (X21)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import click

from holdfast.cli.context import Cli

Document = dict[str, Any]
COLUMNS: Final = ("Hostname", "Binary", "Port", "Status", "Updated At")


@click.command()
@click.option("--binary", help="Only processes of this name, as heat-eng.")
@click.option("--down", is_flag=True, help="Only those that are not up.")
@click.pass_obj
def services(obj: Cli, binary: str | None, down: bool) -> None:
    """Processes by what they do: heat-eng, heat-api, ironic-conductor, ironic-api."""
    document: Document = obj.client().get("/services")
    found: list[Document] = [
        one
        for one in document["services"]
        if binary in (None, one["binary"]) and not (down and one["status"] == "up")
    ]
    obj.show({"services": found}, COLUMNS, [_row(one) for one in found])


def _row(service: Document) -> tuple[Any, ...]:
    at = datetime.fromtimestamp(service["updated_at"], UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return service["hostname"], service["binary"], service["port"], service["status"], at
