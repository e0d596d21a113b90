"""Stacks written down whole, to be adopted elsewhere: export, and abandon, which lets go of all."""

from __future__ import annotations

from uuid import UUID, uuid4

from holdfast.stacks.contexts import notes_of
from holdfast.stacks.errors import ActionInProgressError, EntityNotFoundError
from holdfast.stacks.model import Action, Stack, Status
from holdfast.stacks.parts import Parts
from holdfast.stacks.records import stack_told
from holdfast.stacks.service.audit import audit
from holdfast.stacks.service.looks import NOW
from holdfast.stacks.service.reading import StackReader
from holdfast.stacks.service.trees import shown_rows
from holdfast.stacks.tables import ROWS
from holdfast.store.model import Json
from holdfast.store.pg.database import Connection, Database
from holdfast.store.pg.writes import write_rows

# $1: a stack at the top. The rows of it, and of all within it, that are locked and written here.
LET_GO = """
update stack set action = 'DELETE', status = 'COMPLETE', deleted_at = clock_timestamp(),
                 reason = 'Stack abandoned', deadline = null, traversal = traversal + 1
 where id = any($1) and status <> 'IN_PROGRESS' and deleted_at is null
"""
FAMILY = "select id from stack where (id = $1 or root = $1) and deleted_at is null order by id"
FORGET = "delete from stack_resource where stack = any($1)"


class HandingOver:
    """Exports and abandons stacks."""

    def __init__(self, db: Database, parts: Parts, reader: StackReader) -> None:
        self._db = db
        self._parts = parts
        self._reader = reader

    async def document(self, stack: Stack) -> dict[str, Json]:
        """All of a stack, with the ids of what exists of it: what ``adopt_stack_data`` takes."""
        source = await self._parts.store.source(stack.source)
        if source is None:
            raise EntityNotFoundError(f"The template of stack {stack.name} is not there any more.")
        rows = shown_rows(stack, await self._parts.store.rows(stack.id))
        resources: dict[str, Json] = {}
        for row in rows.values():
            body = await self._parts.store.nested(row.id)
            resources[row.name] = {
                "name": row.name,
                "resource_id": row.physical_id,
                "type": row.type,
                "action": row.action,
                "status": row.status,
                "metadata": row.metadata,
                "resource_data": notes_of(row),
                **({} if body is None else await self.document(body)),
            }
        return {
            "name": stack.name,
            "id": str(stack.id),
            "action": stack.action,
            "status": stack.status,
            "template": source.template,
            "resources": resources,
            "project_id": stack.project,
            "stack_user_project_id": stack.project,
            "environment": source.environment,
            "files": source.files,
            "tags": list(stack.tags),
        }

    async def abandon(self, stack: Stack) -> dict[str, Json]:
        """Forget a stack and leave alone what it made. Returns its ``document``.

        Raises ``ActionInProgressError`` while something is under way.
        """
        if stack.owner is not None:
            raise EntityNotFoundError(
                f"The Stack ({stack.name}) is nested in another one: abandon that."
            )
        document = await self.document(stack)

        async def work(conn: Connection) -> None:
            family: list[UUID] = [row["id"] for row in await conn.fetch(FAMILY, stack.id)]
            if await conn.execute(LET_GO, family) != len(family) or not family:
                raise ActionInProgressError(
                    f"Stack {stack.name} already has an action ({stack.action}) in progress."
                )
            await conn.execute(FORGET, family)
            now = await conn.fetchval(NOW)
            line = stack_told(
                uuid4(), stack, Action.DELETE, Status.COMPLETE, now, reason="Stack abandoned"
            )
            await write_rows(conn, ROWS, [line])
            await audit(conn, "stack.abandon", stack)

        await self._db.run(work)
        return document
