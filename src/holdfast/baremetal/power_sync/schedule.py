"""When each BMC is asked, and how long it is given. Pure: no I/O, and time is passed in.

Each node has a moment of its own in every interval, by a hash of its UUID, so the
work is even however the nodes came to be owned. What became late (this process was
stopped, or the gateway) is caught up with at no more than twice the usual rate.

How long a BMC is given follows its own answers, as TCP's retransmission timer does
(RFC 6298): a dead one that used to answer at once costs little.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from math import ceil, floor
from uuid import UUID

from xxhash import xxh3_64_intdigest

from holdfast.baremetal.power_sync.settings import PowerSyncSettings

TOGETHER = 10  # nodes asked for in one message: fewer cost more each, more come in bursts
WINDOW_MIN_S = 0.05
CATCH_UP = 2.0  # times the usual rate
SOON_S = 2.0
LATENCY_GAIN = 1 / 8
DEVIATION_GAIN = 1 / 4
SPAN = 4.0  # times the usual time, plus deviations, that a BMC is given


class Beat:
    """What is remembered of one node's BMC."""

    __slots__ = ("asked", "deviation_s", "due", "failures", "hurried", "latency_s", "phase_s")

    def __init__(self, phase_s: float, due: float) -> None:
        self.phase_s = phase_s
        self.due = due
        self.asked = False
        self.hurried = False  # was asked again soon, and is not once more
        self.failures = 0
        self.latency_s: float | None = None
        self.deviation_s = 0.0


class Schedule:
    """The beats of all nodes that one conductor owns."""

    def __init__(self, settings: PowerSyncSettings) -> None:
        self._settings = settings
        self._beats: dict[UUID, Beat] = {}
        self._queue: list[tuple[float, UUID]] = []
        self._asked = 0
        self._budget = 0.0
        self._filled_at: float | None = None

    def __len__(self) -> int:
        return len(self._beats)

    @property
    def asked(self) -> int:
        """How many are being asked now."""
        return self._asked

    @property
    def failing(self) -> int:
        """How many did not answer the last time."""
        return sum(1 for beat in self._beats.values() if beat.failures)

    def late_s(self, now: float) -> float:
        """How late the latest is."""
        waiting = (beat.due for beat in self._beats.values() if not beat.asked)
        return max(0.0, now - min(waiting, default=now))

    @property
    def window_s(self) -> float:
        """How much of the future is asked for together; so a message serves about ten."""
        interval_s = self._settings.interval_s
        even_s = interval_s * TOGETHER / max(len(self._beats), 1)
        return min(max(even_s, WINDOW_MIN_S), interval_s / 10)

    def keep(self, nodes: Iterable[UUID], now: float) -> list[UUID]:
        """These are the nodes now; returns those that no longer are."""
        wanted = set(nodes)
        gone = [node for node in self._beats if node not in wanted]
        for node in gone:
            self._asked -= self._beats.pop(node).asked
        for node in wanted - self._beats.keys():
            share = xxh3_64_intdigest(node.bytes) / 2**64
            phase_s = share * self._settings.interval_s
            beat = self._beats[node] = Beat(phase_s, 0.0)
            self._set(node, beat, self._next(beat, now, 1))
        return gone

    def due(self, now: float) -> list[UUID]:
        """Those to be asked now, as far as the bounds allow; each must be settled below."""
        room = min(self._allowed(now), self._settings.in_flight_max - self._asked)
        chosen: list[UUID] = []
        while self._queue and self._queue[0][0] <= now and len(chosen) < room:
            due, node = heapq.heappop(self._queue)
            beat = self._beats.get(node)
            if beat is None or beat.due != due or beat.asked:
                continue  # an entry of the past
            beat.asked = True
            chosen.append(node)
        self._asked += len(chosen)
        self._budget -= len(chosen)
        return chosen

    def timeout_s(self, node: UUID) -> float:
        """How long the BMC is given this time: twice as long after each failure."""
        settings, beat = self._settings, self._beats.get(node)
        if beat is None or beat.latency_s is None:
            return settings.timeout_max_s
        span_s = SPAN * (beat.latency_s + beat.deviation_s) * 2 ** min(beat.failures, 16)
        return min(max(span_s, settings.timeout_min_s), settings.timeout_max_s)

    def answered(self, node: UUID, now: float, latency_s: float) -> None:
        """The BMC answered after so long."""
        if (beat := self._settled(node)) is None:
            return
        beat.failures = 0
        beat.hurried = False
        if beat.latency_s is None:
            beat.latency_s, beat.deviation_s = latency_s, latency_s / 2
        else:
            off_s = abs(latency_s - beat.latency_s)
            beat.deviation_s += DEVIATION_GAIN * (off_s - beat.deviation_s)
            beat.latency_s += LATENCY_GAIN * (latency_s - beat.latency_s)
        self._set(node, beat, self._next(beat, now, 1))

    def failed(self, node: UUID, now: float) -> int:
        """The BMC did not answer, or with an error; returns how often in a row."""
        if (beat := self._settled(node)) is None:
            return 0
        beat.failures += 1
        beat.hurried = False
        settings = self._settings
        beyond = min(max(0, beat.failures - settings.failures_max), 16)
        intervals = min(2**beyond, settings.backoff_intervals_max)
        self._set(node, beat, self._next(beat, now, intervals))
        return beat.failures

    def passed_over(self, node: UUID, now: float, *, soon: bool = False) -> None:
        """Nothing was learnt. ``soon``: try again at once, but only once."""
        if (beat := self._settled(node)) is None:
            return
        due = self._next(beat, now, 1)
        if soon and not beat.hurried:
            beat.hurried = True
            due = min(due, now + SOON_S)
        else:
            beat.hurried = False
        self._set(node, beat, due)

    def _settled(self, node: UUID) -> Beat | None:
        beat = self._beats.get(node)
        if beat is None or not beat.asked:
            return None  # no longer ours, or given up and taken again meanwhile
        beat.asked = False
        self._asked -= 1
        return beat

    def _set(self, node: UUID, beat: Beat, due: float) -> None:
        beat.due = due
        heapq.heappush(self._queue, (due, node))

    def _next(self, beat: Beat, now: float, intervals: int) -> float:
        """The node's own moment, so many intervals on."""
        interval_s = self._settings.interval_s
        passed = floor((now - beat.phase_s) / interval_s)
        return beat.phase_s + (passed + intervals) * interval_s

    def _allowed(self, now: float) -> int:
        """How many the rate allows now: twice what is due in the long run."""
        rate = CATCH_UP * len(self._beats) / self._settings.interval_s
        most = max(TOGETHER, ceil(rate * self.window_s)) * CATCH_UP
        since_s = 0.0 if self._filled_at is None else now - self._filled_at
        fresh = most if self._filled_at is None else rate * since_s
        self._filled_at = now
        self._budget = min(most, self._budget + fresh)
        return floor(self._budget)
