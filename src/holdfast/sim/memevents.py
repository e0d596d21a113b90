"""The event half of ``sim.memstore``: ``store.port.EventStore`` in memory.

Every method of the store is one transaction and commits at once, so the number of
an event is its transaction's too, and nothing is ever still running.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from holdfast.sim.memtables import Tables
from holdfast.store.events import Event, EventFilter, EventPage, NewEvent, Order, Position

LOOKED_AT_MAX = 5_000


class MemEvents:
    """The event log."""

    def __init__(self, tables: Tables) -> None:
        self._t = tables

    async def events(
        self,
        after: Position | None,
        limit: int,
        where: EventFilter | None = None,
        *,
        order: Order = "oldest",
    ) -> EventPage:
        where = where or EventFilter()
        where.check()
        filtered = bool(where.kinds) or where.visible_to is not None
        looked_at_max = LOOKED_AT_MAX if filtered else limit
        of_object = EventFilter(object=where.object)
        log = self._t.log if order == "oldest" else reversed(self._t.log)
        looked_at = 0
        looked_to = after
        found: list[Event] = []
        for event in log:
            if after is not None and event.position == after:
                continue
            if after is not None and (event.position < after) is (order == "oldest"):
                continue
            if not of_object.admits(event):
                continue
            looked_at, looked_to = looked_at + 1, event.position
            if where.admits(event):
                found.append(self._with_slot(event))
            if len(found) == limit or looked_at == looked_at_max:
                return EventPage(tuple(found), looked_to, more=True)
        return EventPage(tuple(found), Position(self._t.next_event, 0), more=False)

    def _with_slot(self, event: Event) -> Event:
        row = self._t.members.get(event.member) if event.member else None
        return event if row is None else replace(event, slot=row.spec.slot)

    async def record(self, events: Sequence[NewEvent]) -> None:
        self._t.tell(*events)

    async def purge_events(self, keep_s: float, limit: int) -> int:
        until = self._t.clock() - keep_s
        old = [event for event in self._t.log[:limit] if event.at < until]
        del self._t.log[: len(old)]
        return len(old)
