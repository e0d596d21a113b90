"""A node's history as the Bare Metal API shows it: the errors that the event log tells of.

An entry is named by its position in the log, spelled as a UUID: nothing is stored twice.
"""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

from holdfast.baremetal import models
from holdfast.baremetal.service.rights import HISTORY, require
from holdfast.baremetal.service.rows import NodeRow, find_node
from holdfast.errors import NotFoundError
from holdfast.identity.policy import Caller
from holdfast.store.events import Event, EventFilter, Position
from holdfast.store.model import Json
from holdfast.store.pg.database import Database
from holdfast.store.port import EventStore

Entry = dict[str, Json]

ERROR = f"{models.KIND}.error"
_SERIAL_BITS = 64


class History:
    """Lists and shows what went wrong with a node."""

    def __init__(self, db: Database, store: EventStore) -> None:
        self._db = db
        self._store = store

    async def of(
        self, caller: Caller, ident: str, limit: int, marker: UUID | None
    ) -> tuple[UUID, list[Entry]]:
        """The node's UUID and its entries, oldest first, at most ``limit`` after the marker."""
        node = await find_node(self._db, caller, ident)
        require(caller, node, HISTORY)
        where = _errors(node, caller)
        position = _position(marker) if marker else None
        found: list[Event] = []
        while len(found) < limit:
            page = await self._store.events(position, limit - len(found), where)
            found += page.events
            position = page.position
            if not page.more:
                break
        return node.uuid, [_entry(node.uuid, event) for event in found]

    async def one(self, caller: Caller, ident: str, entry: UUID) -> Entry:
        """One entry. Raises ``NotFoundError``."""
        node = await find_node(self._db, caller, ident)
        require(caller, node, HISTORY)
        position = _position(entry)
        before = Position(position.txid, position.id - 1)
        page = await self._store.events(before, 1, _errors(node, caller))
        for event in page.events:
            if event.position == position:
                return _entry(node.uuid, event)
        raise _missing(entry)


def _errors(node: NodeRow, caller: Caller) -> EventFilter:
    """What an owner sees began with its ownership: events name who could see them then."""
    return EventFilter(
        kinds=(ERROR,),
        object=(models.KIND, str(node.uuid)),
        visible_to=None if caller.everywhere else caller.project_id,
    )


def _position(entry: UUID) -> Position:
    """Raises ``NotFoundError`` for a UUID that names no place in the log."""
    txid, serial = divmod(entry.int, 2**_SERIAL_BITS)
    if not (0 < txid < 2**63 and 0 < serial < 2**63):
        raise _missing(entry)
    return Position(txid, serial)


def _missing(entry: object) -> NotFoundError:
    return NotFoundError(f"Node history record {entry} could not be found.")


def _entry(node: UUID, event: Event) -> Entry:
    kind = str(event.data.get("job_kind", "")).removeprefix(f"{models.KIND}.")
    return {
        "uuid": str(UUID(int=event.position.txid << _SERIAL_BITS | event.position.id)),
        "created_at": datetime.fromtimestamp(event.at, UTC).isoformat(timespec="microseconds"),
        "severity": "ERROR",
        "event": event.data.get("error"),
        "event_type": kind or "monitoring",
        "conductor": event.slot,
        "user": event.actor,
        "node_uuid": str(node),
    }
