"""The queue of a pool: first in, first out for each endpoint, endpoints in turn, all bounded."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Final

BATCH_QUERIES_MAX: Final = 128
BATCH_BYTES_MAX: Final = 4 << 20
BATCH_BUDGET_S: Final = 0.002  # how long a batch of one-by-one queries may keep a worker
_NEWEST_WEIGHT: Final = 0.2


class Query:
    """A query on its way. ``reply`` is called once: (query, status, body)."""

    __slots__ = (
        "action",
        "alone",
        "arrived",
        "body",
        "cancelled",
        "deadline",
        "endpoint",
        "repeats",
        "reply",
    )

    def __init__(
        self,
        endpoint: str,
        action: str,
        body: bytes,
        arrived: float,
        deadline: float,
        reply: Callable[[Query, int, bytes], None],
    ) -> None:
        self.endpoint = endpoint
        self.action = action
        self.body = body
        self.arrived = arrived  # both on the loop's clock, seconds
        self.deadline = deadline
        self.reply = reply
        self.repeats = 0  # how often its worker was lost
        self.alone = False
        self.cancelled = False  # nobody waits for the answer any more

    def cancel(self) -> None:
        """Nobody waits any more: its body is let go, and ``reply`` is not called."""
        self.cancelled = True
        self.body = b""


class Line:
    """The queries that wait for one endpoint, and what one costs."""

    def __init__(self, *, vectorised: bool) -> None:
        self.vectorised = vectorised
        self.waiting: deque[Query] = deque()
        self.cost_s = BATCH_BUDGET_S  # before anything is known, one at a time
        self.stale = False  # whether some that wait may have been cancelled

    def learn(self, spent_s: float, queries: int) -> None:
        """A batch took so long."""
        self.cost_s += _NEWEST_WEIGHT * (spent_s / queries - self.cost_s)

    def batch_max(self, idle: int) -> int:
        """How many one worker should get: all there is, or its fair share of quick ones."""
        if self.vectorised:
            share = BATCH_QUERIES_MAX
        else:
            share = int(BATCH_BUDGET_S / max(self.cost_s, 1e-6))
        fair = -(-len(self.waiting) // max(1, idle))
        return max(1, min(BATCH_QUERIES_MAX, share, fair))


class FairQueue:
    """All lines of a pool."""

    def __init__(self, waiting_max: int) -> None:
        self.lines: dict[str, Line] = {}
        self.waiting_max = waiting_max
        self.size = 0
        self._turn: deque[str] = deque()

    def add_line(self, endpoint: str, *, vectorised: bool) -> None:
        if endpoint not in self.lines:
            self.lines[endpoint] = Line(vectorised=vectorised)
            self._turn.append(endpoint)

    def put(self, query: Query) -> bool:
        """Queue it; ``False`` if as many wait as may."""
        line = self.lines[query.endpoint]
        if len(line.waiting) >= self.waiting_max:
            if line.stale:
                self._sweep(line)
            if len(line.waiting) >= self.waiting_max:
                return False
        line.waiting.append(query)
        self.size += 1
        return True

    def note_cancelled(self, endpoint: str) -> None:
        """A query of the endpoint was cancelled: its place is for another, once one is needed."""
        self.lines[endpoint].stale = True

    def _sweep(self, line: Line) -> None:
        kept = deque(query for query in line.waiting if not query.cancelled)
        self.size -= len(line.waiting) - len(kept)
        line.waiting = kept
        line.stale = False

    def put_back(self, query: Query) -> None:
        """Queue it before all others, whatever the bound: it was in already."""
        self.lines[query.endpoint].waiting.appendleft(query)
        self.size += 1

    def take(self, idle: int) -> tuple[str, list[Query]] | None:
        """A batch of the endpoint whose turn it is."""
        for _ in range(len(self._turn)):
            endpoint = self._turn[0]
            self._turn.rotate(-1)
            line = self.lines[endpoint]
            if line.waiting:
                batch = self._cut(line, line.batch_max(idle))
                if batch:
                    return endpoint, batch
        return None

    def _cut(self, line: Line, most: int) -> list[Query]:
        batch: list[Query] = []
        size = 0
        waiting = line.waiting
        while waiting and len(batch) < most:
            query = waiting[0]
            size += len(query.body)
            if batch and (query.alone or size > BATCH_BYTES_MAX):
                break
            waiting.popleft()
            self.size -= 1
            if query.cancelled:
                continue
            batch.append(query)
            if query.alone:
                break
        return batch

    def expired(self, now: float) -> Iterator[Query]:
        """Take out those whose time is over. Deadlines may differ, so all are looked at."""
        for line in self.lines.values():
            if any(query.deadline <= now for query in line.waiting):
                kept: deque[Query] = deque()
                for query in line.waiting:
                    if query.deadline > now:
                        kept.append(query)
                    else:
                        self.size -= 1
                        yield query
                line.waiting = kept

    def everything(self) -> list[Query]:
        """Take all out."""
        found = [query for line in self.lines.values() for query in line.waiting]
        for line in self.lines.values():
            line.waiting.clear()
        self.size = 0
        return found

    def oldest_wait_s(self, now: float) -> float:
        """How long the query has waited that came first."""
        fronts = [line.waiting[0].arrived for line in self.lines.values() if line.waiting]
        return now - min(fronts) if fronts else 0.0
