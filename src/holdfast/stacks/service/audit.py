"""Who asked for what: written to the event log in the transaction of the change.

Names of parameters may be told, their values never.
"""

from __future__ import annotations

from holdfast.stacks.model import Stack
from holdfast.store.events import told
from holdfast.store.model import Json
from holdfast.store.pg.database import Connection
from holdfast.store.pg.events import record

KIND = "stack"


async def audit(
    conn: Connection, what: str, stack: Stack, data: dict[str, Json] | None = None
) -> None:
    """Record what was asked of a stack, such as ``stack.update``; its project may see it."""
    event = told(
        f"audit.{what}",
        (KIND, stack.id),
        name=stack.name,
        projects=(stack.project,),
        result="ok",
        data=data,
    )
    await record(conn, event)
