"""How a request becomes work: its rows, its audit and its first job, in one transaction.

The job is enqueued before rows are locked, as everywhere (``store.pg.graph``). So a stack
is read without a lock, and written only if it is still as it was; else all is done again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias
from uuid import UUID, uuid4

from msgspec.structs import replace

from holdfast.errors import ConflictError
from holdfast.identity.policy import Caller
from holdfast.stacks.errors import ActionInProgressError, StackExistsError, StackLimitError
from holdfast.stacks.model import QUEUE, Action, Delegation, Resource, Source, Stack, Status
from holdfast.stacks.pgstore import PUT, PgStacks, root_job, stack_values
from holdfast.stacks.records import inserted, stack_told
from holdfast.stacks.service.audit import audit
from holdfast.stacks.settings import StacksSettings
from holdfast.stacks.tables import ROWS
from holdfast.store.model import Json, QueuedJob
from holdfast.store.pg.database import Connection
from holdfast.store.pg.store import PgStore
from holdfast.store.pg.writes import write_rows

Change: TypeAlias = Callable[[Stack, float], Stack]
"""(the stack as it is, now) -> as it shall be, in its next traversal; raises to refuse."""

ATTEMPTS_MAX = 8
NOW = "select extract(epoch from clock_timestamp())::float8"
# One creation of a project's at a time, so that its limit holds.
ONE_BY_ONE = "select pg_advisory_xact_lock(hashtextextended('stacks of ' || $1, 0))"
COUNT = "select count(*) from stack where project = $1 and deleted_at is null and owner is null"
TAKEN = """
select id from stack where project = $1 and name = $2 and deleted_at is null and owner is null
"""
DELEGATE = """
insert into delegation (id, user_id, user_name, project_id, project_name, roles)
values ($1, $2, $3, $4, $5, $6)
"""
REVOKE = """
update delegation set revoked_at = clock_timestamp()
 where id = (select delegation from stack where id = $1) and revoked_at is null
"""
ADVANCE = """
update stack
   set source = $3, action = $4, status = $5, reason = $6, traversal = $7, previous = $8,
       rollback = $9, timeout_s = $10, deadline = $11, tags = $12, updated_at = $13,
       delegation = coalesce($14, delegation)
 where id = $1 and traversal = $2 and action = $15 and status = $16 and deleted_at is null
"""


class _OvertakenError(Exception):
    """Somebody else changed the stack since it was read."""


class Writer:
    """``engine`` is what engines read; here it is told what to stop."""

    def __init__(self, store: PgStore, engine: PgStacks, settings: StacksSettings) -> None:
        self._store = store
        self._db = store.db
        self._engine = engine
        self._settings = settings

    async def create(self, stack: Stack, source: Source, adopted: Sequence[Resource] = ()) -> Stack:
        """Write a new stack and begin it. ``adopted``: what exists of it already.

        Raises ``StackExistsError`` or ``StackLimitError``.
        """
        limit = self._settings.stacks_per_project_max

        async def work(conn: Connection) -> Stack:
            await conn.fetchrow(ONE_BY_ONE, stack.project)
            if await conn.fetchrow(TAKEN, stack.project, stack.name) is not None:
                raise name_taken(stack.name)
            if await conn.fetchval(COUNT, stack.project) >= limit:
                raise StackLimitError(
                    f"You have reached the maximum stacks per project, {limit} ([stacks] "
                    "stacks_per_project_max). Please delete some stacks."
                )
            begun = _dated(stack, await conn.fetchval(NOW))
            await self._store.enqueue_in(conn, [self._job(begun)])
            delegation = await self._delegate(conn, stack.delegation)
            await self._engine.sources.write(conn, stack.id, source)
            await conn.execute(PUT, *stack_values(begun), delegation)
            await write_rows(
                conn, ROWS, [inserted(replace(row, created_at=begun.created_at)) for row in adopted]
            )
            await self._tell(conn, begun, begun.created_at)
            await audit(conn, f"stack.{stack.action.lower()}", begun)
            return begun

        try:
            made = await self._db.run(work)
        except ConflictError as fault:
            if fault.details.get("constraint") == "stack_name_once":
                raise name_taken(stack.name) from fault
            raise
        self._store.hint_queues([QUEUE])
        return made

    async def advance(
        self,
        read: Callable[[], Awaitable[Stack]],
        change: Change,
        *,
        source: Source | None = None,
        caller: Caller | None = None,
        begun: bool = False,
        what: str = "",
        data: dict[str, Json] | None = None,
    ) -> Stack:
        """Ask something new of a stack: its next traversal. What was under way is superseded.

        ``change`` may return the stack it was given: then nothing is done. ``caller``: on
        whose behalf its work is done from now on. ``begun``: also stop what has begun.
        """
        for _ in range(ATTEMPTS_MAX):
            seen = await read()
            try:
                now = await self._db.fetchval(NOW)
                wanted = change(seen, now)
                if wanted is seen:
                    return seen
                await self._db.run(
                    lambda conn, seen=seen, wanted=wanted: self._advance(
                        conn, seen, wanted, source, caller, what, data
                    )
                )
            except _OvertakenError:
                continue
            except ConflictError as fault:
                if fault.details.get("constraint") != "job_pkey":
                    raise
                continue  # somebody else is writing the same traversal
            self._store.hint_queues([QUEUE])
            await self._engine.stop(seen.id, wanted.traversal - 1, begun=begun)
            return wanted
        raise ActionInProgressError(
            "Others change this stack at the same time, again and again: try it later."
        )

    async def cancel(self, stack: Stack) -> None:
        """Let what is under way end as soon as it can; the engine says how it ended."""

        async def work(conn: Connection) -> None:
            await audit(conn, "stack.cancel_without_rollback", stack)

        await self._db.run(work)
        await self._engine.stop(stack.id, stack.traversal, begun=False)

    async def _advance(
        self,
        conn: Connection,
        seen: Stack,
        wanted: Stack,
        source: Source | None,
        caller: Caller | None,
        what: str,
        data: dict[str, Json] | None,
    ) -> None:
        await self._store.enqueue_in(conn, [self._job(wanted)])
        now = await conn.fetchval(NOW)
        delegation = None
        if caller is not None and seen.owner is None:
            await conn.execute(REVOKE, seen.id)
            delegation = await self._delegate(conn, delegation_of(caller, seen.project))
        if source is not None:
            await self._engine.sources.write(conn, seen.id, source)
        written = await conn.execute(
            ADVANCE,
            seen.id,
            seen.traversal,
            wanted.source,
            wanted.action,
            wanted.status,
            wanted.reason,
            wanted.traversal,
            wanted.previous,
            wanted.rollback,
            wanted.timeout_s,
            wanted.deadline,
            list(wanted.tags),
            wanted.updated_at,
            delegation,
            seen.action,
            seen.status,
        )
        if not written:
            raise _OvertakenError
        await self._tell(conn, wanted, now)
        await audit(conn, f"stack.{what or wanted.action.lower()}", wanted, data)

    async def _delegate(self, conn: Connection, delegation: Delegation) -> UUID:
        key = uuid4()
        await conn.execute(
            DELEGATE,
            key,
            delegation.user_id,
            delegation.user_name,
            delegation.project_id,
            delegation.project_name,
            list(delegation.roles),
        )
        return key

    def _job(self, stack: Stack) -> QueuedJob:
        who = stack.delegation
        return root_job(stack, requested_by=f"{who.user_name}@{who.project_name}")

    async def _tell(self, conn: Connection, stack: Stack, now: float) -> None:
        """The first line of this traversal's history."""
        line = stack_told(
            root_job(stack).id, stack, stack.action, stack.status, now, reason=stack.reason
        )
        await write_rows(conn, ROWS, [line])


def started(stack: Stack, action: Action, now: float, timeout_s: float | None = None) -> Stack:
    """The stack as an action on it begins: its next traversal."""
    limit_s = stack.timeout_s if timeout_s is None else timeout_s
    return replace(
        stack,
        action=action,
        status=Status.IN_PROGRESS,
        reason=f"Stack {action} started",
        traversal=stack.traversal + 1,
        timeout_s=limit_s,
        deadline=now + limit_s,
    )


def delegation_of(caller: Caller, project: str) -> Delegation:
    """What a caller delegates to a stack: the roles it has now, in the stack's project."""
    return Delegation(
        user_id=caller.user_id,
        user_name=caller.user_name,
        project_id=project,
        project_name=caller.project_name or project,
        roles=tuple(sorted(role.value for role in caller.roles)),
    )


def name_taken(name: str) -> StackExistsError:
    """Another stack of the project has the name."""
    return StackExistsError(f"The Stack ({name}) already exists.")


def _dated(stack: Stack, now: float) -> Stack:
    return replace(stack, created_at=now, deadline=now + stack.timeout_s)
