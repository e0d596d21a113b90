"""``stacks.port.StackStore`` on PostgreSQL: what engines read, and the little they write alone.

Locks come in the order of the core's: a resource's tail and jobs first (``enqueue_in``),
then rows of ours by id.
"""

# ruff: noqa: S608 - statements are put together from constants and our own columns
from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Protocol, cast
from uuid import UUID

import msgspec

from holdfast.errors import NotFoundError
from holdfast.stacks.model import (
    QUEUE,
    Resource,
    Source,
    Stack,
    View,
    resources_of,
    round_id,
)
from holdfast.stacks.tables import (
    DELEGATE,
    FROM_STACKS,
    RESOURCE,
    RESOURCES,
    STACK,
    STACKS,
    Record,
    resource_of,
    stack_of,
)
from holdfast.store.model import Hold, Json, QueuedJob
from holdfast.store.pg.database import Connection, Row
from holdfast.store.pg.store import PgStore

ROUND = "stack.round"
OPERATIONS = ("stack.resource", "stack.sequence")  # what may be cut short; rounds see to the rest
APPLY = "apply"
_ROUNDS_MAX = 1_000  # traversals of one stack whose jobs one ``stop`` looks for

ONE = f"select {STACKS} from {FROM_STACKS} where s.id = $1"
BODY = f"select {STACKS} from {FROM_STACKS} where s.owner = $1 and s.deleted_at is null"
SOURCE = "select id, template, files, environment from stack_source where id = $1"
ROWS_OF = f"""
select {RESOURCES} from stack_resource r where r.stack = $1 order by r.created_at, r.name, r.id
"""

# $1: the stack. $2: the row. $3: names. The stack comes once, as the row without a ``r_id``.
# Statistics know nothing of a stack that has just come, and a plan that walks through all its
# resources seems as good as any: this form leaves none but the lookup of each row by its index.
VIEW = f"""
select {STACKS},
       exists (select from stack_resource f where f.stack = s.id
                and f.status = 'FAILED' and f.traversal = s.traversal) as failed,
       {", ".join(f"null::{kind} as r_{name}" for name, kind in RESOURCE.columns.items())}
  from {FROM_STACKS} where s.id = $1
 union all
select {", ".join(f"null::{kind}" for kind in (*STACK.columns.values(), *DELEGATE.values()))},
       null::boolean, {RESOURCES}
  from stack_resource r
 where r.id = any(array(
     select $2::uuid
      union all
     select n.id
       from unnest($3::text[]) as w (name),
            lateral (select id from stack_resource where stack = $1 and name = w.name offset 0) n))
   and r.stack is not distinct from $1
"""

PEER = f"""
select {RESOURCES}
  from stack mine
  join stack s on s.project = mine.project and s.deleted_at is null
  join stack_resource r on r.stack = s.id
 where mine.id = $1 and r.physical_id = $2
 order by s.id = $1 desc, s.root = mine.root desc, r.created_at limit 1
"""

WRITE_SOURCE = """
insert into stack_source (id, stack, template, files, environment, description)
values ($1, $2, $3, $4, $5, $6) on conflict (id) do nothing
"""
_KEPT = ("id", "created_at", "stopped")
# A traversal that is there already stays as it is.
PUT = f"""
insert into stack as s ({", ".join(STACK.columns)}, delegation)
values ({", ".join(f"${n}::{kind}" for n, kind in enumerate(STACK.columns.values(), 1))},
        ${len(STACK.columns) + 1})
on conflict (id) do update
   set {", ".join(f"{name} = excluded.{name}" for name in STACK.columns if name not in _KEPT)}
 where s.traversal < excluded.traversal
"""
# $1: a stack, $2: a traversal of it. Of the stacks within it, those traversals that belong to
# one that is stopped.
STOP = """
with recursive body as materialized (
    select n.id, n.traversal, n.around, r.stack as outside
      from stack n join stack_resource r on r.id = n.owner
     where n.root = (select root from stack where id = $1) and n.deleted_at is null
), tree (id, upto) as (
    select id, least(traversal, $2) from stack where id = $1
     union all
    select body.id, body.traversal
      from tree join body on body.outside = tree.id and body.around <= tree.upto
), locked as materialized (
    select s.id, s.stopped, t.upto from stack s join tree t using (id)
     where s.id = any(array(select id from tree))
     order by s.id
       for no key update of s
), changed as (
    update stack s set stopped = l.upto
      from locked l
     where s.id = l.id and s.id = any(array(select id from locked)) and s.stopped < l.upto
    returning s.id, l.stopped as before, s.stopped as now
)
select id, before, now from changed
"""
# A head that has ended is under way for as long as its family is.
UNDER_WAY = "select id from job where id = any($1) and not passed"

TRIM_EVENTS = """
delete from stack_event
 where stack = $1 and (txid, seq) <= (
     select txid, seq from stack_event where stack = $1
      order by txid desc, seq desc offset $2 limit 1)
"""
COUNT_RESOURCES = """
select count(*) from (
    select distinct r.stack, r.name
      from stack s join stack_resource r on r.stack = s.id
     where s.deleted_at is null and (s.id = $1 or s.root = $1 and s.owner is not null)) one
"""
SIGNALS = "select payload from stack_signal where resource = $1 order by seq"


class Sealing(Protocol):
    """What ``store.secrets.Vault`` and a keyring offer."""

    def encrypt(self, plaintext: bytes, context: bytes) -> bytes: ...

    def decrypt(self, blob: bytes, context: bytes) -> bytes: ...


class Sources:
    """Reads and writes sources, their environments sealed."""

    def __init__(self, vault: Sealing) -> None:
        self._vault = vault

    async def write(self, conn: Connection, stack: UUID, source: Source) -> None:
        """In the caller's transaction; one that is there stays."""
        hidden: dict[str, Json] = {
            "environment": source.environment,
            "facade": source.facade,
            "secret": source.secret,
        }
        if source.secret:
            hidden |= {"template": source.template, "files": source.files}
        sealed = self._vault.encrypt(msgspec.json.encode(hidden), _context(source.id))
        await conn.execute(
            WRITE_SOURCE,
            source.id,
            stack,
            {} if source.secret else source.template,
            {} if source.secret else source.files,
            sealed,
            description_of(source.template),
        )

    def opened(self, row: Row) -> Source:
        """A row of ``SOURCE``."""
        clear = self._vault.decrypt(row["environment"], _context(row["id"]))
        shown = {"template": row["template"], "files": row["files"]}
        return Source(id=row["id"], **{**shown, **msgspec.json.decode(clear, type=dict[str, Json])})


class PgStacks:
    """``store`` is the core's, on the same database."""

    def __init__(self, store: PgStore, vault: Sealing) -> None:
        self._store = store
        self._vault = vault
        self._db = store.db
        self.sources = Sources(vault)

    async def stack(self, stack: UUID) -> Stack | None:
        row = await self._db.fetchrow(ONE, stack)
        return None if row is None else stack_of(row)

    async def source(self, source: UUID) -> Source | None:
        row = await self._db.fetchrow(SOURCE, source)
        return None if row is None else self.sources.opened(row)

    async def rows(self, stack: UUID) -> list[Resource]:
        return [self.opened(row) for row in await self._db.fetch(ROWS_OF, stack)]

    async def view(self, stack: UUID, row: UUID, names: Collection[str]) -> View | None:
        records = await self._db.fetch(VIEW, stack, row, list(names))
        top = next((record for record in records if record["r_id"] is None), None)
        if top is None:
            return None
        found = stack_of(top)
        versions = [
            self.opened(_version(record)) for record in records if record["r_id"] is not None
        ]
        wanted = set(names)
        return View(
            stack=found,
            row=next((version for version in versions if version.id == row), None),
            others=latest((one for one in versions if one.name in wanted), found.traversal),
            failed=top["failed"],
        )

    async def nested(self, resource: UUID) -> Stack | None:
        row = await self._db.fetchrow(BODY, resource)
        return None if row is None else stack_of(row)

    async def converge(self, hold: Hold, job: UUID, stack: Stack, source: Source | None) -> Stack:
        async def work(conn: Connection) -> tuple[Stack, int | None]:
            await self._store.enqueue_in(conn, [root_job(stack)])
            await self._store.hold_in(conn, hold, job)
            before = await conn.fetchrow("select traversal from stack where id = $1", stack.id)
            if source is not None:
                await self.sources.write(conn, stack.id, source)
            await conn.execute(PUT, *stack_values(stack), None)
            row = await conn.fetchrow(ONE, stack.id)
            if row is None:
                raise NotFoundError(f"stack {stack.root}, around {stack.id}, is not there")
            return stack_of(row), None if before is None else before["traversal"]

        written, before = await self._db.run(work)
        self._store.hint_queues([QUEUE])
        if before is not None and before < stack.traversal:
            await self.stop(stack.id, stack.traversal - 1, begun=False)
            return await self.stack(stack.id) or written
        return written

    async def stop(self, stack: UUID, traversal: int, *, begun: bool) -> int:
        rows = await self._db.fetch(STOP, stack, traversal)
        rounds = [
            round_id(row["id"], number, APPLY)
            for row in rows
            for number in range(max(row["before"] + 1, row["now"] - _ROUNDS_MAX), row["now"] + 1)
        ]
        touched = 0
        for row in await self._db.fetch(UNDER_WAY, rounds) if rounds else ():
            touched += await self._store.cancel_under(row["id"], OPERATIONS, begun=begun)
        return touched

    async def trim_events(self, stack: UUID, keep: int) -> int:
        return await self._db.execute(TRIM_EVENTS, stack, keep)

    async def count_resources(self, root: UUID) -> int:
        return await self._db.fetchval(COUNT_RESOURCES, root)

    async def peer(self, stack: UUID, physical_id: str) -> Resource | None:
        row = await self._db.fetchrow(PEER, stack, physical_id)
        return None if row is None else self.opened(row)

    def columns(self, row: UUID, documents: dict[str, Json], *, secret: bool) -> dict[str, Json]:
        if not secret:
            return {**documents, "sealed": None}
        sealed = self._vault.encrypt(msgspec.json.encode(documents), _of_row(row))
        return {**{name: {} for name in documents}, "sealed": f"\\x{sealed.hex()}"}

    def opened(self, record: Record) -> Resource:
        """A row of ``RESOURCES``, with what is sealed of it in clear."""
        row = resource_of(record)
        sealed = record["sealed"]
        if not isinstance(sealed, bytes):
            return row
        clear = self._vault.decrypt(sealed, _of_row(row.id))
        return msgspec.structs.replace(row, **msgspec.json.decode(clear, type=dict[str, Json]))

    async def signals(self, resource: UUID) -> Sequence[dict[str, object]]:
        return [row["payload"] for row in await self._db.fetch(SIGNALS, resource)]


def latest(versions: Iterable[Resource], traversal: int) -> dict[str, Resource]:
    """Of each name the version that this traversal uses, else the newest."""
    found: dict[str, Resource] = {}
    for one in sorted(versions, key=lambda one: (one.traversal == traversal, one.created_at)):
        found[one.name] = one
    return found


def root_job(stack: Stack, *, requested_by: str = "") -> QueuedJob:
    """The first job of the stack's present traversal, and the root of all its others."""
    return QueuedJob(
        id=round_id(stack.id, stack.traversal, APPLY),
        kind=ROUND,
        queue=QUEUE,
        args={"stack": str(stack.id), "traversal": stack.traversal, "phase": APPLY},
        exclusive=(resources_of(stack.id),),
        requested_by=requested_by,
    )


def stack_values(stack: Stack) -> list[object]:
    """As the columns of the stack's table."""
    values = msgspec.structs.asdict(stack)
    return [list(values[name]) if name == "tags" else values[name] for name in STACK.columns]


def description_of(template: Json) -> str:
    """What a template says of itself."""
    document = cast("dict[str, Json]", template) if isinstance(template, dict) else {}
    said = document.get("description", document.get("Description"))
    return said if isinstance(said, str) else ""


def _context(source: UUID) -> bytes:
    return b"stack_source:" + source.bytes


def _of_row(row: UUID) -> bytes:
    return b"stack_resource:" + row.bytes


def _version(record: Row) -> dict[str, object]:
    return {name: record[f"r_{name}"] for name in RESOURCE.columns}


if TYPE_CHECKING:
    from holdfast.stacks.port import StackStore

    _: type[StackStore] = PgStacks  # the port, exactly
