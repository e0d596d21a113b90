"""Commands that look at a running system, over the cluster API."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import click

from holdfast.cli.client import ClientError
from holdfast.cli.context import Cli
from holdfast.errors import NotFoundError

Document = dict[str, Any]
MEMBER_COLUMNS = ("slot", "role", "state", "host", "zone", "group", "epoch", "lease", "version")


@click.command()
@click.pass_obj
def status(obj: Cli) -> None:
    """Everything: members, shares, work under way, and what is wrong."""
    document: Document = obj.client().get("/status")
    obj.show(document, MEMBER_COLUMNS, [_member_row(m) for m in document["members"]])
    if obj.output != "table":
        return
    for ring in document["rings"]:
        click.echo(f"\n{_ring_line(ring)}")
    counts = ", ".join(f"{n} {state}" for state, n in document["jobs"].items())
    click.echo(f"\njobs: {counts}")
    for warning in document["warnings"]:
        click.secho(f"warning: {warning}", fg="yellow")
    if not document["warnings"]:
        click.secho("nothing is wrong", fg="green")


@click.command()
@click.option("--role", help="Only members of this role.")
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
    group = member["group"] or ("default" if member["role"] == "conductor" else None)
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
    )


@click.command()
@click.option("--group", help="Only this conductor group ('' is the default one).")
@click.pass_obj
def ring(obj: Cli, group: str | None) -> None:
    """Each conductor's share: what it holds, and what the ring wishes it held."""
    document: Document = obj.client().get("/ring", group=group)
    rows = [
        (
            one["group"] or "default",
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
        f"group {ring['group'] or 'default'}: {ring['objects']} objects in {ring['shards']} "
        f"shards, fullest over mean {ring['spread']:.3f}"
        + (f", {free} shards without a living owner" if free else "")
    )


@click.command()
@click.option("--group", default="", help="Conductor group.")
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
@click.pass_obj
def drain(obj: Cli, member: str) -> None:
    """Ask MEMBER (a slot or id) to hand over its work and leave."""
    client = obj.client()
    found: Document = client.get("/members")
    chosen = [m for m in found["members"] if member in (m["slot"], m["id"])]
    if not chosen:
        known = ", ".join(m["slot"] for m in found["members"]) or "none"
        raise ClientError(f"no living member {member!r}; there are: {known}")
    if len(chosen) > 1:
        ids = ", ".join(f"{m['id']} on {m['host']}" for m in chosen)
        raise ClientError(f"several members are called {member!r}; name one by id: {ids}")
    document: Document = client.post(f"/members/{chosen[0]['id']}/drain")
    obj.show(document, ("slot", "drain"), [(chosen[0]["slot"], "requested")])


def segment(text: str) -> str:
    """A name as one segment of a path."""
    from urllib.parse import quote

    return quote(text, safe="")


def _ago(at: float) -> str:
    return f"{max(0.0, time.time() - at):.0f} s ago"
