"""The two stores under one roof: each with a hand on its clock and a way to add objects.

Nothing here waits. For PostgreSQL time passes by moving every stored time into the past.
"""

from __future__ import annotations

from typing import Protocol
from uuid import UUID, uuid4

from holdfast.errors import NotFoundError
from holdfast.sim.memstore import MemStore
from holdfast.store.events import Watch
from holdfast.store.model import (
    Claim,
    Fence,
    Job,
    JobState,
    Json,
    Member,
    MemberSpec,
    NewJob,
    ObjectRef,
    OwnedJob,
    Submission,
)
from holdfast.store.pg.database import Database
from holdfast.store.pg.store import PgStore
from holdfast.store.pg.tables import TableSpec
from holdfast.store.pg.writes import RowTable
from holdfast.store.port import Store

LEASE_S = 10.0
COLUMNS = [
    "uuid", "name", "grp", "shard", "entered_epoch", "driver", "driver_secrets", "extra",
    "instance_uuid", "traits", "power_state", "target_power_state", "provision_state",
    "target_provision_state", "provision_updated_at", "last_error", "maintenance", "updated_at",
    "project", "owner", "lessee",
]  # fmt: skip
DEFAULTS: dict[str, Json] = {
    "driver": "redfish",
    "extra": {},
    "traits": [],
    "provision_state": "enroll",
    "maintenance": False,
}
WATCH = Watch(
    fields=("provision_state", "power_state", "maintenance"),
    error="last_error",
    name="name",
    projects=("project", "owner", "lessee"),
)
KINDS = {"node": TableSpec("node", "uuid", COLUMNS, watch=WATCH)}
NOTE = {"id": "uuid", "text": "text", "tags": "uuid[]", "extra": "jsonb", "at": "timestamptz"}
ROWS = {"note": RowTable("note", NOTE)}
MAKE_NOTE = """
create table if not exists note
    (id uuid primary key, text text, tags uuid[], extra jsonb, at timestamptz)
"""

PASS_TIME = (
    "update member set lease_until = lease_until - $1 * interval '1 s'",
    "update database_life set noticed_at = noticed_at - $1 * interval '1 s'",
    "update job set wake_at = wake_at - $1 * interval '1 s',"
    " deadline = deadline - $1 * interval '1 s', created_at = created_at - $1 * interval '1 s',"
    " due_at = due_at - $1 * interval '1 s', finished_at = finished_at - $1 * interval '1 s',"
    " updated_at = updated_at - $1 * interval '1 s'",
    "update event set at = at - $1 * interval '1 s'",
)


SETTLED = """
select pg_snapshot_xmin(pg_current_snapshot()) = pg_snapshot_xmax(pg_current_snapshot())
"""


class Bench(Protocol):
    """A store on the bench."""

    @property
    def store(self) -> Store: ...

    async def pass_time(self, seconds: float) -> None: ...

    async def restart(self) -> None:
        """The database comes back from an outage."""
        ...

    async def add_node(self, group: str = "", **fields: Json) -> ObjectRef: ...

    async def notes(self) -> dict[UUID, dict[str, Json]]:
        """A product's rows (kind ``note``), by id."""
        ...

    async def settle(self) -> None:
        """Wait until nothing is running that a reader of the event log would wait for."""
        ...


class PgBench:
    """PostgreSQL."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self.store = PgStore(db, KINDS, ROWS)

    async def pass_time(self, seconds: float) -> None:
        for statement in PASS_TIME:
            await self.db.execute(statement, seconds)

    async def restart(self) -> None:
        # What was noticed last time differs from what is true now.
        await self.db.execute("update database_life set started_at = started_at - interval '1 h'")

    async def add_node(self, group: str = "", **fields: Json) -> ObjectRef:
        row = {**DEFAULTS, "uuid": uuid4(), **fields}
        async with self.db.transaction() as conn:
            row["grp"] = group
            row["shard"] = await self.store.place_object(conn, group, row["uuid"])
            places = ", ".join(f"${n}" for n in range(1, len(row) + 1))
            await conn.execute(
                f"insert into node ({', '.join(row)}) values ({places})", *row.values()
            )
        return ObjectRef("node", row["uuid"])

    async def notes(self) -> dict[UUID, dict[str, Json]]:
        return {row["id"]: dict(row) for row in await self.db.fetch("select * from note")}

    async def settle(self) -> None:
        # PostgreSQL's own transactions count too, such as those of autovacuum.
        while not await self.db.fetchval(SETTLED):
            continue


class MemBench:
    """The simulator's store."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0
        self.memory = MemStore(
            lambda: self.now, {"node": COLUMNS}, {"node": WATCH}, {"note": tuple(NOTE)}
        )
        self.store: Store = self.memory

    async def pass_time(self, seconds: float) -> None:
        self.now += seconds

    async def restart(self) -> None:
        self.now += 0.001
        self.memory.restart()

    async def add_node(self, group: str = "", **fields: Json) -> ObjectRef:
        document = {**DEFAULTS, "uuid": uuid4(), "grp": group, **fields}
        return self.memory.add_object("node", document)

    async def notes(self) -> dict[UUID, dict[str, Json]]:
        return self.memory.tables.products["note"]

    async def settle(self) -> None:
        return


class Scene:
    """What most tests begin with: members, shards, an owned node, a job."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.store = bench.store

    async def member(self, slot: str = "conductor-1", *, again: UUID | None = None) -> Member:
        spec = MemberSpec(id=again or uuid4(), role="conductor", slot=slot, host="host-1")
        return await self.store.register(spec, LEASE_S)

    async def owner(self, slot: str = "conductor-1", shards: int = 4) -> Member:
        """A member that owns every shard of the default group."""
        await self.store.ensure_shards("", shards)
        member = await self.member(slot)
        taken = await self.store.take("", range(shards), member.id, member.epoch)
        assert len(taken) == shards
        return member

    async def submit(self, node: ObjectRef, kind: str = "node.deploy", **job: Json) -> Job:
        return await self.store.submit(
            Submission(job=NewJob(**{"id": uuid4(), "kind": kind, "object": node, **job}))
        )

    async def acquire(self, owner: Member, *busy: UUID) -> list[OwnedJob]:
        return await self.store.acquire(owner.id, owner.epoch, busy, 100)

    async def running(self, owner: Member, **job: Json) -> OwnedJob:
        """A job of a new node, acquired by its owner."""
        node = await self.bench.add_node()
        made = await self.submit(node, **job)
        [owned] = [one for one in await self.acquire(owner) if one.job.id == made.id]
        return owned

    async def begun(self, owner: Member, step: str = "first") -> OwnedJob:
        """A job with its first step in hand."""
        owned = await self.running(owner)
        job = await self.store.begin_step(owned.fence, owned.job.id, step)
        return OwnedJob(job=job, fence=owned.fence, now=owned.now)

    async def pass_on(self, owner: Member, slot: str = "conductor-2") -> Member:
        """The owner is found dead, and another takes all it had."""
        other = await self.member(slot)
        await self.store.end_lease(owner.id, owner.epoch, "killed")
        claims = await self.store.claims("")
        taken = await self.store.take("", [c.shard for c in claims], other.id, other.epoch)
        assert len(taken) == len(claims)
        return other

    async def state(self, job: UUID) -> JobState | None:
        found = await self.store.job(job)
        return found.state if found is not None else None

    async def field(self, node: ObjectRef, name: str) -> Json:
        document = await self.store.get_object(node)
        if document is None:
            raise NotFoundError(f"{node.id} is gone")
        return document[name]


def fence_of(claim: Claim) -> Fence:
    assert claim.owner is not None
    return Fence(claim.group, claim.shard, claim.owner, claim.epoch)
