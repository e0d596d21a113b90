"""Stacks and resources for tests, and how they are put into the database."""

from __future__ import annotations

from uuid import UUID, uuid4

from holdfast.stacks.model import Action, Delegation, Resource, Stack, Status, resource_id
from holdfast.stacks.pgstore import PUT, stack_values
from holdfast.stacks.tables import ROWS, values_of
from holdfast.store.model import Json, Write
from holdfast.store.pg.database import Connection, Database
from holdfast.store.pg.writes import write_rows

ALICE = Delegation(
    user_id="u1", user_name="alice", project_id="p1", project_name="one", roles=("member",)
)


def a_stack(name: str = "app", **changes: Json) -> Stack:
    """One at the top, being created."""
    stack = changes.pop("id", uuid4())
    values: dict[str, Json] = {
        "id": stack,
        "name": name,
        "project": "p1",
        "source": uuid4(),
        "action": Action.CREATE,
        "status": Status.IN_PROGRESS,
        "reason": "",
        "traversal": 1,
        "root": stack,
        "delegation": ALICE,
        "created_at": 1_700_000_000.0,
    }
    return Stack(**{**values, **changes})


def a_resource(stack: UUID, name: str, made: int = 1, **changes: Json) -> Resource:
    values: dict[str, Json] = {
        "id": resource_id(stack, made, name),
        "stack": stack,
        "name": name,
        "type": "OS::Heat::None",
        "traversal": made,
        "created_at": 1_700_000_000.0 + made,
    }
    return Resource(**{**values, **changes})


async def put_stack(db: Database, stack: Stack) -> None:
    """As it is written with a request, or with a resource whose body it is."""

    async def work(conn: Connection) -> None:
        delegation = None
        if stack.owner is None:
            delegation = uuid4()
            await conn.execute(
                "insert into delegation (id, user_id, user_name, project_id, project_name, roles) "
                "values ($1, $2, $3, $4, $5, $6)",
                delegation,
                stack.delegation.user_id,
                stack.delegation.user_name,
                stack.delegation.project_id,
                stack.delegation.project_name,
                list(stack.delegation.roles),
            )
        await conn.execute(PUT, *stack_values(stack), delegation)

    await db.run(work)


async def put_rows(db: Database, *rows: Resource) -> None:
    writes = [
        Write(verb="insert", kind="stack_resource", id=row.id, values=values_of(row))
        for row in rows
    ]

    async def work(conn: Connection) -> None:
        await write_rows(conn, ROWS, writes)

    await db.run(work)
