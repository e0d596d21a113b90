"""Sealed columns as a rotation of the master key sees them, and who has read which key.

A secret is re-wrapped by comparing and setting the sealed bytes, so one that was written
anew meanwhile is left alone; the next pass looks at it again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol
from uuid import UUID

import msgspec

from holdfast.errors import NotFoundError
from holdfast.store.events import told
from holdfast.store.model import Json
from holdfast.store.pg.database import Connection, Database, Row
from holdfast.store.pg.events import PgEvents
from holdfast.store.secrets import SecretError, Vault

BATCH: Final = 200

COUNT = """
select encode(substring({column} from 5 for 8), 'hex') as id, count(*) as secrets
  from {table} where {column} is not null group by 1
"""
STALE = """
select {key}::text as key, {column} as sealed from {table}
 where {column} is not null and substring({column} from 5 for 8) <> $1 and {key}::text > $2
 order by {key}::text limit $3
"""
SWAP = """
update {table} t set {column} = b.fresh
  from unnest($1::text[], $2::bytea[], $3::bytea[]) as b (key, stale, fresh)
 where t.{key}::text = b.key and t.{column} = b.stale
"""

REPORT = """
insert into key_report (member, epoch, current_key, known_keys, reported_at)
select id, epoch, $3, $4, clock_timestamp() from member where id = $1 and epoch = $2
on conflict (member) do update
   set epoch = excluded.epoch, current_key = excluded.current_key,
       known_keys = excluded.known_keys, reported_at = excluded.reported_at
"""
# A report of an earlier incarnation says nothing of the present one. API nodes seal nothing.
REPORTS = """
select m.slot, m.host, r.current_key, coalesce(r.known_keys, '{}') as known_keys
  from member m left join key_report r on r.member = m.id and r.epoch = m.epoch
 where m.state <> 'gone' and m.role <> 'apinode'
 order by m.host, m.slot
"""

INSERT = "insert into deployment_secret (name, sealed) values ($1, $2) on conflict do nothing"
SELECT = "select sealed from deployment_secret where name = $1"


class SealedColumn(msgspec.Struct, frozen=True):
    """A ``bytea`` column of secrets sealed by a ``Vault``, in a table with a single key column."""

    table: str
    key: str
    column: str


DEPLOYMENT_SECRETS: Final = SealedColumn("deployment_secret", "name", "sealed")


class KeyReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a living process knows. ``current`` None: it has not said so yet."""

    slot: str
    host: str
    current: str | None
    known: tuple[str, ...]


class Pass(msgspec.Struct, frozen=True, kw_only=True):
    """What one pass over all secrets did. ``unreadable``: no key here opens them."""

    moved: int
    unreadable: int


class PgKeys:
    """Secrets of all ``columns`` by master key, and the reports of the processes."""

    def __init__(self, db: Database, columns: Sequence[SealedColumn]) -> None:
        self._db = db
        self._columns = tuple(columns)

    async def counts(self) -> dict[str, int]:
        """How many secrets each master key (by id) seals."""
        found: dict[str, int] = {}
        for column in self._columns:
            for row in await self._db.fetch(_filled(COUNT, column)):
                found[row["id"]] = found.get(row["id"], 0) + row["secrets"]
        return found

    async def rewrap(self, vault: Vault) -> Pass:
        """Re-wrap, in batches, every secret that is not sealed by the vault's present key.

        May be cut off anywhere and begun again.
        """
        moved = unreadable = 0
        for column in self._columns:
            after = ""
            while rows := await self._db.fetch(_filled(STALE, column), vault.id, after, BATCH):
                after = rows[-1]["key"]
                fresh, lost = _rewrapped(rows, vault)
                unreadable += lost
                moved += await self._swap(column, fresh)
        return Pass(moved=moved, unreadable=unreadable)

    async def _swap(self, column: SealedColumn, fresh: Sequence[tuple[str, bytes, bytes]]) -> int:
        async def work(conn: Connection) -> int:
            keys, stale, new = zip(*fresh, strict=True)
            return await conn.execute(_filled(SWAP, column), list(keys), list(stale), list(new))

        return await self._db.run(work) if fresh else 0

    async def audit(self, what: str, data: dict[str, Json]) -> None:
        """Write down what is done to the keys (their ids, never themselves)."""
        await PgEvents(self._db).record([told(f"audit.master_key.{what}", data=data)])

    async def report(self, member: UUID, epoch: int, ids: Sequence[str]) -> bool:
        """A process says which keys it has, the one it seals with first."""
        return await self._db.execute(REPORT, member, epoch, ids[0], list(ids)) > 0

    async def reports(self) -> list[KeyReport]:
        """What every living member knows."""
        return [
            KeyReport(
                slot=row["slot"],
                host=row["host"],
                current=row["current_key"],
                known=tuple(row["known_keys"]),
            )
            for row in await self._db.fetch(REPORTS)
        ]


class Sealer(Protocol):
    """What a vault offers here (``store.secrets.Vault``, ``store.keyring.LiveVault``)."""

    def encrypt(self, plaintext: bytes, context: bytes) -> bytes: ...

    def decrypt(self, blob: bytes, context: bytes) -> bytes: ...


async def deployment_secret(db: Database, vault: Sealer, name: str, fresh: bytes) -> bytes:
    """A secret that all processes share: kept in the database, ``fresh`` if none was yet.

    It outlives rotations of the master key, which only re-wrap it.
    """
    context = b"deployment:" + name.encode()
    sealed = await db.fetchval(SELECT, name)
    if sealed is None:
        await db.execute(INSERT, name, vault.encrypt(fresh, context))
        sealed = await db.fetchval(SELECT, name)
    if sealed is None:
        raise NotFoundError(f"the deployment's secret {name!r} was removed while it was being made")
    return vault.decrypt(sealed, context)


def _rewrapped(rows: Sequence[Row], vault: Vault) -> tuple[list[tuple[str, bytes, bytes]], int]:
    """(key, stale, fresh) of those that can be opened, and how many cannot."""
    fresh: list[tuple[str, bytes, bytes]] = []
    for row in rows:
        try:
            fresh.append((row["key"], row["sealed"], vault.rewrap(row["sealed"])))
        except SecretError:
            continue
    return fresh, len(rows) - len(fresh)


def _filled(statement: str, column: SealedColumn) -> str:
    return statement.format(table=column.table, key=column.key, column=column.column)
