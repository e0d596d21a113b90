"""``holdfast doctor``: what is wrong, or at risk, and what to do about it."""

from __future__ import annotations

import asyncio
import os
import sys

import click

from holdfast.cli.context import Cli
from holdfast.cli.output import text_of

COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


@click.command()
@click.option(
    "--fix",
    type=click.Choice(["epochs", "gateway"]),
    help="epochs: let the database's sequence jump above what the gateway has seen. "
    "gateway: give all BMCs to the gateway named here, once no other one runs.",
)
@click.pass_obj
def doctor(obj: Cli, fix: str | None) -> None:
    """Examine this host, its database and the deployment; status 1 if anything fails."""
    from holdfast.ops.doctor import Level, examine, fix_epochs, fix_gateway
    from holdfast.ops.keys import operator
    from holdfast.store.events import acting

    loaded, datadir = obj.load(), obj.datadir()
    if fix == "epochs":
        with acting(operator()):
            done = asyncio.run(fix_epochs(loaded.settings, datadir))
        document = {"last": done.last, "claims": done.claims, "routes": done.routes}
        row = (done.last, done.claims, done.routes)
        obj.show(document, ("sequence at", "claims renewed", "routes renewed"), [row])
        return
    if fix == "gateway":
        with acting(operator()):
            moved = asyncio.run(fix_gateway(loaded.settings, datadir))
        obj.show({"moved": moved}, ("BMCs moved",), [(moved,)])
        return
    findings = asyncio.run(examine(loaded, datadir, os.environ))
    if obj.output == "table":
        width = max(len(finding.check) for finding in findings)
        for one in findings:
            mark = click.style(f"{one.level.value:<4}", fg=COLOURS[one.level.value])
            click.echo(f"{mark}  {one.check:<{width}}  {text_of(one.found)}")
            if one.advice:
                click.echo(f"      {'':<{width}}  -> {one.advice}")
    else:
        document = {
            "findings": [
                {"check": f.check, "level": f.level.value, "found": f.found, "advice": f.advice}
                for f in findings
            ]
        }
        wrong = [(f.check,) for f in findings if f.level is not Level.OK]
        obj.show(document, ("check",), wrong)
    if any(finding.level is Level.FAIL for finding in findings):
        sys.exit(1)
