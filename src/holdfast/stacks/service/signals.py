"""What the outside says to resources: signals, and that one of them is not well."""

from __future__ import annotations

from typing import cast
from uuid import UUID, uuid4, uuid5

from holdfast.errors import InvalidInputError
from holdfast.stacks.contexts import Contexts
from holdfast.stacks.errors import (
    ActionInProgressError,
    ActionNotSupportedError,
    EntityNotFoundError,
)
from holdfast.stacks.jobs.hooks import hook_key, told_cleared, waiting_reason
from holdfast.stacks.jobs.kinds import heeding
from holdfast.stacks.model import QUEUE, Action, Op, Resource, Stack, Status, operation_id, round_id
from holdfast.stacks.nesting import Moment
from holdfast.stacks.parts import Parts
from holdfast.stacks.pgstore import APPLY
from holdfast.stacks.records import told
from holdfast.stacks.resource import Forward, ResourceType
from holdfast.stacks.service.audit import audit
from holdfast.stacks.service.looks import NOW, Looks
from holdfast.stacks.tables import ROWS
from holdfast.stacks.types.signalling import opens
from holdfast.store.model import Json
from holdfast.store.pg.database import Connection
from holdfast.store.pg.store import PgStore
from holdfast.store.pg.writes import write_rows

REASON = "Marked unhealthy by request"
KEEP = "insert into stack_signal (id, resource, payload) values ($1, $2, $3)"
# Operations of the present traversal that sleep: one of them may wait for this signal.
WAITING = """
select j.id from job_edge e join job j on j.id = e.pred
 where e.succ = $1 and j.state in ('waiting', 'running') limit 1000
"""
MARK = """
update stack_resource set action = 'CHECK', status = $2, reason = $3, updated_at = to_timestamp($4)
 where id = $1 and status <> 'IN_PROGRESS'
"""
BY_PHYSICAL_ID = """
select r.stack, r.name from stack_resource r join stack s on s.id = r.stack
 where r.physical_id = $1 and s.root = $2 and s.deleted_at is null limit 1
"""


class Signals:
    """Takes what is said to resources, and wakes who waits for it."""

    def __init__(self, store: PgStore, parts: Parts, looks: Looks) -> None:
        self._store = store
        self._db = store.db
        self._parts = parts
        self._looks = looks

    async def opens(self, stack: Stack, name: str, token: str) -> bool:
        """Whether this is the token that a resource hands out for signals to it alone."""
        return opens(await self._looks.row(stack, name), token)

    async def signal(self, stack: Stack, name: str, payload: Json) -> None:
        """Keep what is signalled to a resource. Raises ``ActionNotSupportedError``."""
        row = await self._looks.row(stack, name)
        if isinstance(payload, dict) and "unset_hook" in payload:
            await self._clear_hook(stack, row, str(cast("dict[str, Json]", payload)["unset_hook"]))
            return
        for _ in range(3):  # a policy's signal is for its group
            kept = await self._taken(stack, row, payload)
            if not isinstance(kept, Forward):
                await self._keep(stack, row, kept)
                return
            stack, row = await self._forwarded(stack, kept)
            payload = kept.payload

    def _type_of(self, stack: Stack, row: Resource) -> ResourceType:
        return Contexts(self._parts, Moment(now=0.0), stack).type_of_row(row)

    async def _taken(self, stack: Stack, row: Resource, payload: Json) -> Json | Forward:
        contexts = Contexts(self._parts, Moment(now=await self._db.fetchval(NOW)), stack)
        kind = contexts.type_of_row(row)
        if not kind.takes_signals or stack.action is Action.DELETE or not row.exists:
            why = f"is of type {row.type}" if not kind.takes_signals else f"is {row.action}"
            raise ActionNotSupportedError(
                f"Signal resource: Resource action is not supported: {row.name} {why}, "
                "and takes no signals."
            )
        ctx = await contexts.of(row, None, row.properties, row.metadata, {})
        return await kind.signal(ctx, payload)

    async def _clear_hook(self, stack: Stack, row: Resource, hook: str) -> None:
        """Let a resource go on that waits at a hook; ``InvalidInputError`` if it does not."""
        op = Op.DELETE if row.action is Action.DELETE else Op.APPLY
        if row.status is not Status.IN_PROGRESS or row.reason != waiting_reason(row.action, hook):
            raise InvalidInputError(
                f'The "{hook}" hook is not defined on {row.name}, or it does not wait there now: '
                "see `openstack stack hook poll`"
            )
        what = row.id if op is Op.DELETE else row.name
        own = operation_id(stack.id, stack.traversal, op, what)
        phases = ("apply", "clean")
        lines = [round_id(stack.id, stack.traversal, f"{phase}/sequence") for phase in phases]
        for job in (own, *lines):
            await self._parts.jobs.signal(job, hook_key(row.name, hook), {})

        async def work(conn: Connection) -> None:
            now = await conn.fetchval(NOW)
            await write_rows(conn, ROWS, [told_cleared(own, row, hook, now)])
            await audit(conn, "stack.clear_hook", stack, {"resource": row.name, "hook": hook})

        await self._db.run(work)

    async def _forwarded(self, stack: Stack, to: Forward) -> tuple[Stack, Resource]:
        found = await self._db.fetchrow(BY_PHYSICAL_ID, to.physical_id, stack.root)
        other = None if found is None else await self._parts.store.stack(found["stack"])
        if found is None or other is None:
            raise EntityNotFoundError(f"The Resource ({to.physical_id}) could not be found.")
        return other, await self._looks.row(other, found["name"])

    async def _keep(self, stack: Stack, row: Resource, kept: Json) -> None:
        """Keep it, if there is anything to keep, and see to it that it is acted on."""
        if kept is None:
            return
        document = cast("dict[str, Json]", kept) if isinstance(kept, dict) else {"data": kept}
        signal, acts = uuid4(), self._type_of(stack, row).acts_on_signals

        async def work(conn: Connection) -> None:
            if acts:
                await self._store.enqueue_in(conn, [heeding(stack, row, signal)])
            await conn.execute(KEEP, signal, row.id, document)
            await audit(conn, "stack.signal", stack, {"resource": row.name})

        await self._db.run(work)
        if acts:
            self._store.hint_queues([QUEUE])
        await self._wake(stack, row)

    async def _wake(self, stack: Stack, row: Resource) -> None:
        own = operation_id(stack.id, stack.traversal, Op.APPLY, row.name)
        head = round_id(stack.id, stack.traversal, APPLY)
        waiting: list[UUID] = [one["id"] for one in await self._db.fetch(WAITING, head)]
        for job in dict.fromkeys([own, *waiting]):
            await self._parts.jobs.signal(job, "signal", {"resource": row.name})

    async def mark(self, stack: Stack, name: str, *, unhealthy: bool, reason: str) -> None:
        """Say that a resource is not well (the next update replaces it), or is again."""
        row = await self._looks.row(stack, name)
        status = Status.FAILED if unhealthy else Status.COMPLETE
        if not unhealthy and row.action is not Action.CHECK:
            return
        said = reason or (REASON if unhealthy else "state changed")

        async def work(conn: Connection) -> None:
            now = await conn.fetchval(NOW)
            if not await conn.execute(MARK, row.id, status, said, now):
                raise ActionInProgressError(
                    f"Resource {row.name} already has an action ({row.action}) in progress."
                )
            line = told(uuid5(row.id, str(uuid4())), row, Action.CHECK, status, now, reason=said)
            await write_rows(conn, ROWS, [line])
            data: dict[str, Json] = {"resource": row.name, "unhealthy": unhealthy}
            await audit(conn, "stack.mark_unhealthy", stack, data)

        await self._db.run(work)
