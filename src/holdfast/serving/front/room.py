"""What all connections together may have of this process: how many, and how much memory."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Final

from holdfast.errors import UnavailableError
from holdfast.serving.settings import HttpSettings

if TYPE_CHECKING:
    from holdfast.serving.front.http import Connection

RESERVED: Final = 64  # connections beyond the bound, for the probe alone
_LARGE_BYTES: Final = 64 << 10
_CANDIDATES: Final = 64
_PAUSE_S: Final = 0.1  # after a look at all connections that found none to spare
FULL: Final = "Too much is being received: try again later."


class Room:
    """``connections``: those there are. ``held_bytes``: bodies, from their first byte until their
    answer, and what was read ahead. Large bodies leave the last quarter of it to small ones.
    Those in the reserve do not count against the bound: they keep out nobody who asks.
    """

    def __init__(self, settings: HttpSettings) -> None:
        self.connections: set[Connection] = set()
        self._reserve: set[Connection] = set()  # those of them that only the probe may be asked on
        self.held_bytes = 0
        self.unsent_bytes = 0  # of answers that clients do not read as quickly as they ask
        self.soft_max = settings.bodies_bytes_max // 4 * 3
        self._bytes_max = settings.bodies_bytes_max
        self._connections_max = settings.connections_max
        self._choked: dict[Connection, int] = {}
        self._spare: list[tuple[Connection, float]] = []
        self._not_before = 0.0

    def enter(self, connection: Connection, now: float) -> bool:
        """Take one more; ``False`` if only the probe may be asked on it.

        Raises ``UnavailableError`` if there is no room for even that.
        """
        asking = len(self.connections) - len(self._reserve)
        may_ask = asking < self._connections_max or self._make_room(now)
        if not may_ask:
            if len(self._reserve) >= RESERVED and not self._make_room_in_reserve(now):
                raise UnavailableError("Too many connections: try again later.")
            self._reserve.add(connection)
        self.connections.add(connection)
        return may_ask

    def leave(self, connection: Connection) -> None:
        """It is gone."""
        self.connections.discard(connection)
        self._reserve.discard(connection)
        self.unchoke(connection)

    def check(self, size: int) -> None:
        """Raises ``UnavailableError`` if no more of a body of this size can be held."""
        if self.held_bytes > self._bytes_max or size > _LARGE_BYTES:
            raise UnavailableError(FULL)

    def choke(self, connection: Connection, unsent_bytes: int) -> None:
        """Its client does not read; if all that do not hold too much, the longest is cut off."""
        self._choked[connection] = unsent_bytes
        self.unsent_bytes += unsent_bytes
        while self.unsent_bytes > self._bytes_max:
            longest = next(iter(self._choked))
            self.unchoke(longest)
            longest.abort_soon()

    def unchoke(self, connection: Connection) -> None:
        """Its client reads again."""
        self.unsent_bytes -= self._choked.pop(connection, 0)

    def _make_room(self, now: float) -> bool:
        """Close the one that can be spared best. All are looked at, once for many such calls."""
        if not self._spare and now >= self._not_before:
            ranks = _ranks(self.connections - self._reserve, now)
            found = heapq.nsmallest(_CANDIDATES, ranks, key=ranks.__getitem__)
            self._spare = [(one, one.since) for one in reversed(found)]
            self._not_before = now + _PAUSE_S if not found else 0.0
        while self._spare:
            one, since = self._spare.pop()
            if one in self.connections and one.since == since and one.spare(now):
                self._close(one)
                return True
        return False

    def _make_room_in_reserve(self, now: float) -> bool:
        """The same there; so few are looked at each time."""
        ranks = _ranks(self._reserve, now)
        if ranks:
            self._close(min(ranks, key=ranks.__getitem__))
        return bool(ranks)

    def _close(self, one: Connection) -> None:
        self.leave(one)
        one.give_way()


def _ranks(connections: set[Connection], now: float) -> dict[Connection, tuple[int, float]]:
    """Of those that can be spared, how well; the best is the least."""
    return {one: rank for one in connections if (rank := one.spare(now)) is not None}
