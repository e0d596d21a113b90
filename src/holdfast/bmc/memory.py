"""What the gateway remembers over restarts, in SQLite: its identity and a mark per BMC.

WAL with ``synchronous=FULL``: a commit has reached the disk when it returns. All
marks that arrive while a commit is under way share the next one, so a takeover of
a thousand machines costs a few fsyncs. SQLite runs on one thread of its own, and
the file stays locked while it is open: two gateways on one state would each
believe they alone serialise a BMC.

The gateway's id has a file of its own beside the folder, so that it survives the loss
of the state: BMCs belong to a gateway by it. The incarnation and the key do not, and
that is their purpose.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID, uuid4

from holdfast.bmc.commands import GatewayIdentity
from holdfast.bmc.errors import GateStateError
from holdfast.bmc.gate import Mark
from holdfast.bmc.sealing import new_private_key, public_key_of, unseal
from holdfast.store.model import Json

STATE_FILE = "gateway.sqlite"
ID_SUFFIX = ".id"
LOCK_WAIT_S = 5.0  # a predecessor that is just ending

SCHEMA = """
create table if not exists self (
    only_row    integer primary key check (only_row = 1),
    incarnation blob not null,
    private_key blob not null
) strict;
create table if not exists mark (
    bmc   blob primary key,
    term  integer not null,
    token integer not null
) strict, without rowid;
"""
RECORD = """
insert into mark (bmc, term, token) values (?, ?, ?)
on conflict (bmc) do update
   set term = max(term, excluded.term), token = max(token, excluded.token)
"""


class SqliteMemory:
    """``gateway.GateMemory`` in a folder of its own (mode 0700). Close it at the end."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="gateway-state")
        self._connection: sqlite3.Connection | None = None
        self._private_key = b""
        self._waiting: list[tuple[tuple[bytes, int, int], asyncio.Future[None]]] = []
        self._writer: asyncio.Task[None] | None = None

    async def load(self) -> tuple[GatewayIdentity, dict[UUID, Mark]]:
        """Open the state, or begin a new one with a new incarnation and key.

        Raises ``GateStateError`` when it is damaged, or in use by another process.
        """
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._open)

    async def record(self, bmc: UUID, term: int, token: int) -> None:
        """Remember a mark durably; raises ``OSError`` when the disk refuses."""
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(((bmc.bytes, term, token), answer))
        if self._writer is None:
            self._writer = asyncio.create_task(self._write_all())
        await answer

    def unseal(self, sealed: bytes, context: bytes) -> dict[str, Json]:
        """Open what was sealed to this gateway (``sealing.unseal``)."""
        return unseal(sealed, self._private_key, context)

    async def close(self) -> None:
        """Write what is still waiting, and let go of the file."""
        if self._writer is not None:
            await self._writer
        await asyncio.get_running_loop().run_in_executor(self._thread, self._shut)
        self._thread.shutdown()

    async def _write_all(self) -> None:
        """Commit what waits, in batches, until nothing does."""
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                failure: OSError | None = None
                try:
                    rows = [row for row, _ in batch]
                    await loop.run_in_executor(self._thread, self._commit, rows)
                except (OSError, RuntimeError) as error:  # RuntimeError: closed meanwhile
                    failure = OSError(f"the gateway's state is not written: {error}")
                for _, answer in batch:
                    if answer.done():
                        continue
                    if failure is None:
                        answer.set_result(None)
                    else:
                        answer.set_exception(failure)
        finally:
            self._writer = None

    # -- on the thread --------------------------------------------------------------------

    def _open(self) -> tuple[GatewayIdentity, dict[UUID, Mark]]:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._folder / STATE_FILE
        try:
            identity_id = self._gateway_id()
            # Created by us first, so that its mode is right from the start.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            connection = sqlite3.connect(path, timeout=LOCK_WAIT_S, isolation_level=None)
            self._connection = connection
            connection.execute("pragma locking_mode = exclusive")
            connection.execute("pragma journal_mode = wal")
            connection.execute("pragma synchronous = full")
            connection.execute("begin immediate")
            for statement in SCHEMA.split(";"):
                connection.execute(statement)
            connection.execute(
                "insert or ignore into self values (1, ?, ?)", (uuid4().bytes, new_private_key())
            )
            connection.execute("commit")
            row = connection.execute("select incarnation, private_key from self").fetchone()
            marks = {
                UUID(bytes=bmc): Mark(term, token)
                for bmc, term, token in connection.execute("select bmc, term, token from mark")
            }
        except (sqlite3.Error, OSError, ValueError) as error:
            self._shut()
            raise GateStateError(
                f"The gateway's state {path} cannot be used ({error}). If another gateway runs "
                "on it, stop that one; if it is damaged, move it away: the gateway then begins "
                "a new incarnation and every BMC's route is granted anew."
            ) from error
        self._private_key = row[1]
        identity = GatewayIdentity(
            id=identity_id,
            incarnation=UUID(bytes=row[0]),
            public_key=public_key_of(self._private_key),
        )
        return identity, marks

    def _gateway_id(self) -> UUID:
        path = self._folder.with_name(self._folder.name + ID_SUFFIX)
        try:
            return UUID(path.read_text("ascii").strip())
        except FileNotFoundError:
            fresh = uuid4()
            unfinished = path.with_suffix(".new")
            unfinished.write_text(f"{fresh}\n", "ascii")
            unfinished.replace(path)
            return fresh

    def _commit(self, rows: list[tuple[bytes, int, int]]) -> None:
        connection = self._connection
        if connection is None:
            raise OSError("the gateway's state is closed")
        try:
            connection.execute("begin immediate")
            connection.executemany(RECORD, rows)
            connection.execute("commit")
        except sqlite3.Error as error:
            if connection.in_transaction:
                connection.execute("rollback")
            raise OSError(str(error)) from error

    def _shut(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
