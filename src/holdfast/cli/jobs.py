"""``holdfast jobs``: work under way, and work that was done."""

from __future__ import annotations

import time
from typing import Any
from uuid import UUID

import click

from holdfast.cli.context import Cli, table
from holdfast.errors import NotFoundError

Document = dict[str, Any]
COLUMNS = ("job", "kind", "object", "state", "step", "progress", "owners", "age", "message")


@click.group(invoke_without_command=True)
@click.option("--node", help="Only jobs of this node (name or UUID).")
@click.option("--queue", help="Only unbound jobs of this queue.")
@click.option("--active", is_flag=True, help="Only jobs that have not ended.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 1000))
@click.pass_context
def jobs(ctx: click.Context, node: str | None, queue: str | None, active: bool, limit: int) -> None:
    """Jobs, newest first."""
    if ctx.invoked_subcommand is not None:
        return
    obj: Cli = ctx.obj
    query = {"node": node, "queue": queue, "active": active or None, "limit": limit}
    document: Document = obj.client().get("/jobs", **query)
    obj.show(document, COLUMNS, [_row(job) for job in document["jobs"]])


def _row(job: Document) -> tuple[Any, ...]:
    progress = job["progress"]
    error = job["error"]
    return (
        job["id"],
        job["kind"],
        _about(job),
        job["state"],
        job["step"],
        f"{progress['done']}/{progress['total']}" if progress["total"] else None,
        job["owners"],
        f"{time.time() - job['created_at']:.0f} s",
        error["message"] if error else _message(job),
    )


def _about(job: Document) -> str:
    """What it is about: a node (by its name too, if that is known), a resource, or a queue."""
    about = job["object"]
    if about is None:
        return job.get("about") or f"queue {job['queue']}"
    return f"{about['id']} ({about['name']})" if about.get("name") else about["id"]


def _message(job: Document) -> str:
    """How far it is; and of one that a limit keeps back, how many go before it."""
    said: str = job["progress"]["message"]
    return said if job.get("ahead") is None else f"{said}, {job['ahead']} ahead of it"


def _job_id(text: str) -> UUID:
    """Jobs are named by their ids; what is none names no job."""
    try:
        return UUID(text)
    except ValueError:
        raise NotFoundError(
            f"there is no such job: {text!r} is no job's id; `holdfast jobs` lists them"
        ) from None


@jobs.command()
@click.argument("job")
@click.pass_obj
def show(obj: Cli, job: str) -> None:
    """One job, with the journal of its completed steps."""
    client = obj.client()
    document: Document = client.get(f"/jobs/{_job_id(job)}")
    one = document["job"]
    about = one["object"]
    if about is not None and about["kind"] == "node":
        one = {**one, "object": {**about, "name": client.node_name(about["id"])}}
        document = {"job": one}
    if obj.output != "table":
        obj.show(document, COLUMNS, [_row(one)])
        return
    for column, cell in zip(COLUMNS, _row(one), strict=True):
        click.echo(f"{column:<10}{cell if cell is not None else '-'}")
    if one.get("waits_for"):
        click.echo(f"{'waits for':<10}{', '.join(one['waits_for'])}")
    began = one["created_at"]
    rows = [
        (s["ordinal"], s["step"], s["attempt"], s["epoch"], f"+{s['finished_at'] - began:.2f} s")
        for s in one.get("journal", ())
    ]
    click.echo("\n" + table(("#", "completed step", "attempt", "epoch", "at"), rows))


@jobs.command()
@click.argument("job")
@click.pass_obj
def cancel(obj: Cli, job: str) -> None:
    """Ask for the job's cancellation."""
    document: Document = obj.client().post(f"/jobs/{_job_id(job)}/cancel")
    obj.show(document, COLUMNS, [_row(document["job"])])
