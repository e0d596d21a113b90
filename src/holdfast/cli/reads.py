"""Commands that look at a running system, over the cluster API."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import click
import msgspec

from holdfast.cli.client import ClientError
from holdfast.cli.context import Cli
from holdfast.errors import NotFoundError

if TYPE_CHECKING:
    from holdfast.cli.client import Client
    from holdfast.ops.gateway_links import GatewayLinks

BROKEN_SHOWN_MAX = 5
MEMBER_ROLES = ("conductor", "engine", "api", "apinode")  # the gateway keeps no lease
DEFAULT_GROUP = "default"  # how the group without a name is shown
Document = dict[str, Any]
MEMBER_COLUMNS = (
    "slot",
    "role",
    "state",
    "host",
    "zone",
    "group",
    "epoch",
    "lease",
    "version",
    "address",
)


@click.command()
@click.pass_obj
def status(obj: Cli) -> None:
    """Everything: members, shares, work under way, and what is wrong."""
    client = obj.client()
    document: Document = client.get("/status")
    links = _gateway_links(obj)
    document["gateway"] = None if links is None else msgspec.to_builtins(links)
    obj.show(document, MEMBER_COLUMNS, [_member_row(m) for m in document["members"]])
    if obj.output != "table":
        return
    for ring in document["rings"]:
        click.echo(f"\n{_ring_line(ring)}")
    counts = ", ".join(f"{n} {state}" for state, n in document["jobs"].items())
    click.echo(f"\njobs: {counts}")
    click.echo(f"\n{_gateway_line(links)}")
    warnings: list[str] = [*document["warnings"], *_broken(client, links)]
    for warning in warnings:
        click.secho(f"warning: {warning}", fg="yellow")
    if not warnings:
        click.secho("nothing is wrong", fg="green")


def _gateway_links(obj: Cli) -> GatewayLinks | None:
    """The gateway has no lease, so the database does not know it: it is asked itself."""
    import asyncio

    from holdfast.ops.gateway_links import look

    return asyncio.run(look(obj.load().settings.rack, obj.datadir()))


def _gateway_line(links: GatewayLinks | None) -> str:
    if links is None:
        return "gateway: not asked, this host has no gateway.secret (or [rack] port = 0)"
    if links.fault is not None:
        return f"gateway {links.url}: does not answer"
    well = links.bmcs - len(links.broken) - links.silent
    said = [f"{well} of {links.bmcs} BMCs answer"]
    if links.broken:
        said.append(f"{len(links.broken)} do not")
    if links.silent:
        said.append(f"{links.silent} were not asked yet")
    said.append(f"{links.commands} commands under way, {links.waiting} wait")
    return f"gateway {links.url}: {'; '.join(said)}" + (" (draining)" if links.draining else "")


def _broken(client: Client, links: GatewayLinks | None) -> list[str]:
    """What is wrong with the gateway or its links, in sentences."""
    if links is None:
        return []
    if links.fault is not None:
        return [f"no command reaches any BMC: {links.fault}"]
    found: list[str] = []
    for one in links.broken[:BROKEN_SHOWN_MAX]:
        name = client.node_name(one.bmc)
        ended = f", last: {one.last}" if one.last else ""
        found.append(f"no link to the BMC of {name or one.bmc} (breaker {one.breaker}{ended})")
    if more := len(links.broken) - len(found):
        found.append(f"{more} more BMCs without a link: `holdfast status -o json` has all")
    return found


@click.command()
@click.option("--role", type=click.Choice(MEMBER_ROLES), help="Only members of this role.")
@click.option("--gone", is_flag=True, help="Past ones too, with the reason.")
@click.pass_obj
def members(obj: Cli, role: str | None, gone: bool) -> None:
    """Processes that hold a lease."""
    document: Document = obj.client().get("/members", role=role, gone=gone or None)
    extra = ("why gone",) if gone else ()
    rows = [(*_member_row(m), *((m["gone_reason"],) if gone else ())) for m in document["members"]]
    obj.show(document, (*MEMBER_COLUMNS, *extra), rows)


def _member_row(member: Document) -> tuple[Any, ...]:
    state = member["state"]
    if state == "up" and member["drain_requested"]:
        state = "up, asked to drain"
    left_s = member["lease_until"] - time.time()
    lease = "over" if member["state"] == "gone" else f"{left_s:.1f} s" if left_s > 0 else "expired"
    group = member["group"] or (DEFAULT_GROUP if member["role"] == "conductor" else None)
    return (
        member["slot"],
        member["role"],
        state,
        member["host"],
        member["zone"],
        group,
        member["epoch"],
        lease,
        member["version"],
        member["address"],
    )


def _group(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """A conductor group by the name it is shown under."""
    del ctx, param
    return "" if value == DEFAULT_GROUP else value


@click.command()
@click.option("--group", callback=_group, help="Only this conductor group.")
@click.pass_obj
def ring(obj: Cli, group: str | None) -> None:
    """Each conductor's share: what it holds, and what the ring wishes it held."""
    document: Document = obj.client().get("/ring", group=group)
    rows = [
        (
            one["group"] or DEFAULT_GROUP,
            member["slot"],
            member["state"],
            member["shards"],
            member["wished_shards"],
            member["objects"],
        )
        for one in document["rings"]
        for member in one["members"]
    ]
    obj.show(document, ("group", "member", "state", "shards", "wished", "objects"), rows)
    if obj.output == "table":
        for one in document["rings"]:
            click.echo(f"\n{_ring_line(one)}")


def _ring_line(ring: Document) -> str:
    free = ring["unowned_shards"]
    return (
        f"group {ring['group'] or DEFAULT_GROUP}: {ring['objects']} objects in {ring['shards']} "
        f"shards, fullest over mean {ring['spread']:.3f}"
        + (f", {free} shards without a living owner" if free else "")
    )


@click.command()
@click.option(
    "--group", default=DEFAULT_GROUP, show_default=True, callback=_group, help="Conductor group."
)
@click.option("--shards", is_flag=True, help="Each shard on a line of its own.")
@click.pass_obj
def owners(obj: Cli, group: str, shards: bool) -> None:
    """Which conductor owns what, by which claims."""
    client = obj.client()
    document: Document = client.get("/claims", group=group)
    found: Document = client.get("/members", gone=True)
    names = {(m["id"], m["epoch"]): m["slot"] for m in found["members"]}
    alive = {(m["id"], m["epoch"]) for m in found["members"] if m["state"] != "gone"}
    claims: list[Document] = document["claims"]

    def owner(claim: Document) -> str | None:
        key = (claim["owner"], claim["incarnation"])
        if claim["owner"] is None:
            return None
        return names.get(key, claim["owner"]) + ("" if key in alive else " (gone)")

    if shards:
        rows = [(c["shard"], owner(c), c["epoch"], c["objects"], _ago(c["since"])) for c in claims]
        obj.show(document, ("shard", "owner", "epoch", "objects", "since"), rows)
        return
    held = Counter(owner(claim) for claim in claims)
    objects: Counter[str | None] = Counter()
    for claim in claims:
        objects[owner(claim)] += claim["objects"]
    rows = [(name, held[name], objects[name]) for name in sorted(held, key=str)]
    obj.show(document, ("owner", "shards", "objects"), rows)


@click.command()
@click.argument("node")
@click.pass_obj
def why(obj: Cli, node: str) -> None:
    """Why NODE (a name or UUID) is as it is: owner, claim, job, what it waits for."""
    if not node:
        raise NotFoundError("there is no such node: its name is empty")
    document: Document = obj.client().get(f"/why/{segment(node)}")
    if obj.output != "table":
        obj.show(document, ("node",), [(node,)])
        return
    for sentence in (*document["sentences"], *_times(document, time.time())):
        click.echo(sentence)


def _times(document: Document, now: float) -> list[str]:
    """What the sentences leave to the clock: since when, until when, how often."""
    lines: list[str] = []
    claim, job = document["claim"], document["job"]
    if document["owner"] is not None:
        lines.append(
            f"It has been owned so for {now - claim['since']:.0f} s; commands to its BMC carry "
            f"token {document['token']}."
        )
    if job is None:
        return lines
    asked = f" by {job['requested_by']}" if job["requested_by"] else ""
    tries = f"; this step was begun {job['attempt']} times" if job["attempt"] > 1 else ""
    lines.append(f"The job was asked for{asked} {now - job['created_at']:.0f} s ago{tries}.")
    if job["state"] == "waiting" and job["wake_at"] is not None:
        lines.append(f"It looks again in {max(0.0, job['wake_at'] - now):.0f} s at the latest.")
    if job["deadline"] is not None:
        lines.append(f"If it has not ended in {job['deadline'] - now:.0f} s it fails.")
    if job["error"] is not None:
        lines.append(f"Its last error: {job['error']['message'].removesuffix('.')}.")
    return lines


@click.command()
@click.argument("member")
@click.option("--force", is_flag=True, help="Even the last one of its role.")
@click.pass_obj
def drain(obj: Cli, member: str, force: bool) -> None:
    """Ask MEMBER (a slot or id) to hand over its work and leave; not the last of its role."""
    client = obj.client()
    found: Document = client.get("/members")
    chosen = [m for m in found["members"] if member in (m["slot"], m["id"])]
    if not chosen:
        known = ", ".join(m["slot"] for m in found["members"]) or "none"
        raise ClientError(f"no living member {member!r}; there are: {known}")
    if len(chosen) > 1:
        ids = ", ".join(f"{m['id']} on {m['host']}" for m in chosen)
        raise ClientError(f"several members are called {member!r}; name one by id: {ids}")
    document: Document = client.post(
        f"/members/{chosen[0]['id']}/drain" + ("?force=true" if force else "")
    )
    obj.show(document, ("slot", "drain"), [(chosen[0]["slot"], "requested")])
    if obj.output == "table":
        click.echo(
            "it hands over its work and leaves (`holdfast members` shows when), and stays down "
            f"until `holdfast up` on {chosen[0]['host']} is sent HUP or started again"
        )


def segment(text: str) -> str:
    """A name as one segment of a path."""
    from urllib.parse import quote

    return quote(text, safe="")


def _ago(at: float) -> str:
    return f"{max(0.0, time.time() - at):.0f} s ago"
