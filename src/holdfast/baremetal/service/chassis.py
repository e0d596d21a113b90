"""Chassis: what groups nodes that are bolted together."""

from __future__ import annotations

from uuid import UUID

from holdfast.baremetal import models
from holdfast.baremetal.resources import CHASSIS
from holdfast.baremetal.service.records import Records
from holdfast.baremetal.service.writing import Broken, Values
from holdfast.errors import InvalidInputError
from holdfast.identity.policy import Caller
from holdfast.store.model import Json
from holdfast.store.pg.database import Database

_BROKEN: Broken = {
    "node_chassis_fkey": (
        InvalidInputError,
        "Chassis {ident} has nodes and can not be deleted: move them out of it first",
    )
}


class Chassis:
    """Creates, updates and deletes chassis. They are the administrators'."""

    def __init__(self, db: Database, document_bytes_max: int) -> None:
        self._records = Records(db, CHASSIS, models.CHASSIS, _BROKEN, document_bytes_max)

    async def create(self, document: Values) -> UUID:
        """Create a chassis from the fields a client gave; returns its UUID."""
        return await self._records.create(self._records.given(document))

    async def update(self, caller: Caller, ident: str, operations: Json) -> UUID:
        """Apply a JSON patch; returns the chassis's UUID."""
        return await self._records.update(caller, ident, operations)

    async def delete(self, caller: Caller, ident: str) -> None:
        """Delete a chassis. Raises ``InvalidInputError`` while it has nodes."""
        await self._records.delete(caller, ident)
