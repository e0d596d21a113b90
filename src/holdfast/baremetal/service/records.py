"""What is no more than a row of its own: created, patched and deleted, each in one transaction."""

# ruff: noqa: S608 - tables and columns are ours, values are parameters
from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Table, delete, func, insert, select, update

from holdfast.baremetal.resources import Resource
from holdfast.baremetal.service import patch
from holdfast.baremetal.service.audit import audit, shown
from holdfast.baremetal.service.rows import ident_condition
from holdfast.baremetal.service.writing import (
    Broken,
    Values,
    check_sizes,
    checked,
    named,
    patched,
    require_writable,
)
from holdfast.errors import ConflictError, NotFoundError
from holdfast.identity.policy import Caller
from holdfast.store.model import Json
from holdfast.store.pg.database import Connection, Database

Allow = Callable[[Values, Values], None]
"""(the row as it is, what is to change) -> may change the latter, or raise."""


def anything(_row: Values, _changes: Values) -> None:
    """Allows every change."""


class Records:
    """One table. ``broken``: what its constraints are called in a client's words.

    ``document_bytes_max``: what each of its JSON documents may have.
    """

    def __init__(
        self,
        db: Database,
        resource: Resource,
        table: Table,
        broken: Broken,
        document_bytes_max: int,
    ) -> None:
        self._db = db
        self._document_bytes_max = document_bytes_max
        self._resource = resource
        self._table = table
        self._broken = {f"{table.name}_pkey": (ConflictError, self._there()), **broken}

    def _there(self) -> str:
        return f"A {self._resource.name.lower()} with UUID {{uuid}} already exists."

    def given(self, document: Values) -> Values:
        """What a client gave for a new one, each value in its field's type."""
        require_writable(self._resource, document, create=True)
        given = checked(self._resource, document)
        check_sizes(self._resource.fields, given, self._document_bytes_max)
        return given

    async def create(self, values: Values) -> UUID:
        """Create one; returns its UUID."""
        uuid: UUID = values.get("uuid") or uuid4()
        row = {**values, "uuid": uuid}

        async def work(conn: Connection) -> None:
            await conn.execute(insert(self._table).values(**row))
            await self._audit(conn, "create", row, shown(values))

        try:
            await self._db.run(work)
        except ConflictError as fault:
            raise named(fault, self._broken, row) from fault
        return uuid

    async def update(
        self, caller: Caller, ident: str, operations: Json, allow: Allow = anything
    ) -> UUID:
        """Apply a JSON patch; returns the UUID."""
        parsed = patch.parse(operations)
        touched = patch.fields_of(parsed)
        require_writable(self._resource, touched, create=False)
        wanted: Values = {}

        async def work(conn: Connection) -> UUID:
            row = await self._locked(conn, caller, ident)
            wanted.clear()
            wanted.update(patched(self._resource, parsed, {n: row[n] for n in touched}))
            check_sizes(self._resource.fields, wanted, self._document_bytes_max)
            allow(row, wanted)
            await conn.execute(
                update(self._table)
                .where(self._table.c.uuid == row["uuid"])
                .values(updated_at=func.clock_timestamp(), **wanted)
            )
            await self._audit(conn, "update", row, {"changed": shown(wanted)})
            return row["uuid"]

        try:
            return await self._db.run(work)
        except ConflictError as fault:
            raise named(fault, self._broken, {"name": None, **wanted}) from fault

    async def delete(self, caller: Caller, ident: str, allow: Allow = anything) -> None:
        """Delete one."""

        async def work(conn: Connection) -> None:
            row = await self._locked(conn, caller, ident)
            allow(row, {})
            await conn.execute(delete(self._table).where(self._table.c.uuid == row["uuid"]))
            await self._audit(conn, "delete", row, {})

        try:
            await self._db.run(work)
        except ConflictError as fault:
            raise named(fault, self._broken, {"ident": ident}) from fault

    async def _audit(self, conn: Connection, how: str, row: Values, data: Values) -> None:
        what, name, owner = f"{self._table.name}.{how}", row.get("name"), row.get("owner")
        await audit(conn, what, row["uuid"], name=name, projects=(owner,), data=data)

    async def _locked(self, conn: Connection, caller: Caller, ident: str) -> dict[str, Any]:
        """The row, locked. Raises ``NotFoundError``, also for what the caller may not see."""
        resource = self._resource
        condition, value = ident_condition(ident, resource.alias, named=resource.named)
        uuid = await conn.fetchval(
            f"select {resource.alias}.uuid from {resource.source} where {condition} "
            f"and {resource.visible_to(caller, '$2')} for no key update of {resource.alias}",
            value,
            caller.project_id,
        )
        row = None
        if uuid is not None:
            row = await conn.fetchrow(select(self._table).where(self._table.c.uuid == uuid))
        if row is None:
            raise NotFoundError(f"{resource.name} {ident} could not be found.")
        return {key: str(v) if isinstance(v, UUID) else v for key, v in row.items()}
