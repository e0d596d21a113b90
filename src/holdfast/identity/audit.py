"""The audit of identity: who changed which user, project, grant or credential.

Written in the transaction of the change (security.md, "audit"). What is recorded
names what was changed, never a password, secret or token.
"""

from __future__ import annotations

from holdfast.store.events import NewEvent, told
from holdfast.store.model import Json
from holdfast.store.pg.database import Connection, Database
from holdfast.store.pg.events import PgEvents, record

LOGIN = "audit.login"


async def audit(
    conn: Connection,
    what: str,
    obj: tuple[str, str],
    *,
    name: str | None = None,
    data: dict[str, Json] | None = None,
) -> None:
    """Record a change that is made in this transaction, such as ``user.create``."""
    await record(conn, told(f"audit.{what}", obj, name=name, result="ok", data=data))


async def login_failed(
    db: Database, *, method: str, asked: str, user_id: str | None, address: str
) -> None:
    """Record a login that was refused. ``asked``: the name or id that was given."""
    data: dict[str, Json] = {"method": method, "asked": asked[:255], "address": address}
    event: NewEvent = told(
        LOGIN, ("user", user_id) if user_id else None, name=asked, result="failed", data=data
    )
    await PgEvents(db).record([event])
