"""``holdfast events``: what happened and who did it; with ``--follow`` as it happens."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from typing import Any

import click

from holdfast.cli.client import Client
from holdfast.cli.context import Cli
from holdfast.cli.output import text_of
from holdfast.errors import UnavailableError

Document = dict[str, Any]
COLUMNS = ("time", "event", "object", "what", "by")
AGAIN_S = 1.0
PAGE_MAX = 1_000
_SAID = frozenset({"error", "job", "job_kind", "step"})  # in words, or for programs


@click.command()
@click.option("-f", "--follow", is_flag=True, help="Go on with what happens, until Ctrl-C.")
@click.option(
    "--kind", "kinds", multiple=True, help="Only this kind; ends in * for several (node.*)."
)
@click.option("--node", help="Only of this node (name or UUID; a deleted one by UUID).")
@click.option("--object", "what", help="Only of this object, as kind/id (user/4f5c…).")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(0, 100_000))
@click.pass_obj
def events(
    obj: Cli, follow: bool, kinds: tuple[str, ...], node: str | None, what: str | None, limit: int
) -> None:
    """What happened, and who did it; the newest last.

    Kinds: node.provision_state, node.power_state, node.error, job.submitted, job.ended,
    member.registered, member.gone, claims.moved, audit.user.create and so on.
    """
    query = {"kind": ",".join(kinds) or None, "node": node, "object": what}
    client = obj.client()
    found = _latest(client, query, limit)
    document: Document = {"events": found["events"]}
    if not follow:
        obj.show(document, COLUMNS, [_row(event) for event in found["events"]])
        return
    for event in found["events"]:
        click.echo(_line(obj.output, event))
    with suppress(KeyboardInterrupt):
        for event in _following(client, query, found["position"]):
            click.echo(_line(obj.output, event))


def _latest(client: Client, query: dict[str, Any], limit: int) -> Document:
    """The newest ``limit`` events, oldest first, and the position after all of them."""
    events: list[Document] = []
    position: str | None = None
    more = limit > 0
    while more and len(events) < limit:
        asked = min(PAGE_MAX, limit - len(events))
        page: Document = client.get("/events", before=position, limit=asked, **query)
        events += page["events"]
        position, more = page["position"], page["more"]
    last = events[0]["position"] if events else None
    return {"events": events[::-1], "position": last}


def _following(client: Client, query: dict[str, Any], position: str | None) -> Iterator[Document]:
    """What happens from there on, over restarts of whoever answers."""
    while True:
        try:
            for frame in client.follow("/events/stream", position, **query):
                position = frame.id
                if frame.event is not None:
                    yield frame.event
        except UnavailableError as error:
            click.secho(f"holdfast: {error.message}; trying again", err=True, fg="yellow")
        time.sleep(AGAIN_S)


def _row(event: Document) -> tuple[str, ...]:
    at = datetime.fromtimestamp(event["at"]).astimezone().strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    return (at, event["kind"], _object(event), sentence(event), _by(event))


def _line(output: str, event: Document) -> str:
    """One event as it happens: there is no table yet whose columns could be aligned."""
    if output in ("json", "yaml"):  # a line of JSON is YAML, too
        return json.dumps(event)
    row = _row(event)
    if output == "name":
        return row[0]
    by = f"  ({row[4]})" if row[4] else ""
    return f"{row[0]}  {row[1]:<20} {row[2]}  {text_of(row[3])}{by}"


def _object(event: Document) -> str:
    thing = event["object"]
    if thing is None:
        return ""
    return f"{thing['kind']} {thing['name'] or thing['id']}"


def sentence(event: Document) -> str:
    """What happened, without to whom and by whom."""
    data: Document = event["data"]
    parts: list[str] = []
    if "to" in data:
        parts.append(f"{text_of(data.get('from'))} → {text_of(data['to'])}")
    if event["kind"].startswith("job."):
        parts.append(data.get("job_kind", ""))
    if event["result"] is not None:
        parts.append(event["result"])
    if data.get("error"):
        parts.append(str(data["error"]))
    said = _SAID | {"from", "to"} if "to" in data else _SAID
    parts += [f"{key}={_short(value)}" for key, value in data.items() if key not in said]
    return " ".join(part for part in parts if part)


def _short(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _by(event: Document) -> str:
    """Who asked for it, and which process did it."""
    parts: list[str] = []
    if event["actor"] is not None:
        parts.append(event["actor"]["name"] or event["actor"]["user_id"])
    if event["member"] is not None:
        member = event["member"]
        parts.append(f"{member['slot'] or member['id']} under epoch {member['epoch']}")
    return ", ".join(parts)
