"""``holdfast keys``: the master keys, what they seal, and their rotation."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

import click

from holdfast.cli.context import Cli
from holdfast.errors import ConfigError

if TYPE_CHECKING:
    from holdfast.ops.keys import Rotated
    from holdfast.store.keyring import Keyring, MasterKeys


@click.group()
def keys() -> None:
    """The master keys that seal all secrets in the database."""


@keys.command("list")
@click.pass_obj
def list_(obj: Cli) -> None:
    """What each key is for, and who has it.

    By its id, with how much it seals.
    """
    keyring = _keyring(obj)
    counts, reports = asyncio.run(_look(obj))
    there = keyring.keys()
    states = _states(there)
    rows: list[tuple[Any, ...]] = []
    document: list[dict[str, Any]] = []
    for key in [*states, *(key for key in counts if key not in states)]:
        known = [report["slot"] for report in reports if key in report["known"]]
        state = states.get(key, "missing here")
        rows.append((key, state, counts.get(key, 0), f"{len(known)} of {len(reports)}"))
        document.append(
            {"id": key, "state": state, "secrets": counts.get(key, 0), "known_by": known}
        )
    obj.show(
        {"keys": document, "processes": reports}, ("key", "state", "secrets", "known by"), rows
    )


@keys.command()
@click.option(
    "--wait",
    "wait_s",
    default=60.0,
    show_default=True,
    type=click.FloatRange(min=0),
    help="Seconds to wait until every process of every host follows.",
)
@click.pass_obj
def rotate(obj: Cli, wait_s: float) -> None:
    """Make a new master key; the system runs on.

    Every secret is re-wrapped with it.

    May be stopped at any point and run again. Where processes run on other hosts, it says
    when the keyring is to be copied there.
    """
    done = asyncio.run(_rotate(obj, wait_s))
    document = {
        "current": done.current,
        "retired": done.retired,
        "secrets_moved": done.moved,
        "secrets_unreadable": done.unreadable,
    }
    row = (done.current, ", ".join(done.retired), done.moved, done.unreadable)
    obj.show(document, ("key", "retired", "secrets moved", "unreadable"), [row])


def _keyring(obj: Cli) -> Keyring:
    from holdfast.store.keyring import MASTER_KEY_VARIABLE, Keyring

    path = obj.datadir().master_key
    if not path.exists() and not os.environ.get(MASTER_KEY_VARIABLE):
        raise ConfigError(
            f"there is no master key at {path}: name the data directory (HOLDFAST_DATA_DIR), or "
            "start the system once, which makes it"
        )
    return Keyring(path, os.environ)


def _states(there: MasterKeys) -> dict[str, str]:
    """What each key of the keyring is for, by id."""
    from holdfast.store.keyring import id_of

    states = {id_of(there.current): "seals"}
    if there.staged is not None:
        states[id_of(there.staged)] = "staged: opens, will seal"
    return states | {id_of(key): "opens" for key in there.retired}


async def _look(obj: Cli) -> tuple[dict[str, int], list[dict[str, Any]]]:
    from holdfast.ops.database import database_url
    from holdfast.ops.keys import SEALED
    from holdfast.store.pg.database import Database
    from holdfast.store.pg.keys import PgKeys

    url = await database_url(obj.load().settings, obj.datadir())
    async with await Database.open(url, max=1) as db:
        keys = PgKeys(db, SEALED)
        reports = await keys.reports()
        return await keys.counts(), [
            {"slot": r.slot, "host": r.host, "current": r.current, "known": list(r.known)}
            for r in reports
        ]


async def _rotate(obj: Cli, wait_s: float) -> Rotated:
    from holdfast.ops.database import database_url
    from holdfast.ops.keys import SEALED, Rotation, operator
    from holdfast.store.events import acting
    from holdfast.store.pg.database import Database
    from holdfast.store.pg.keys import PgKeys

    keyring = _keyring(obj)
    url = await database_url(obj.load().settings, obj.datadir())
    async with await Database.open(url, max=2) as db:
        rotation = Rotation(
            keyring,
            PgKeys(db, SEALED),
            lambda text: click.echo(text, err=True),
            wait_s=wait_s,
        )
        with acting(operator()):
            return await rotation.run()
