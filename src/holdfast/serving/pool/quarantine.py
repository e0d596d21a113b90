"""Whether a generation may have new workers, after what became of the last ones."""

from __future__ import annotations

from collections import deque
from typing import Final

DEATHS: Final = 5
VANISHED: Final = 50
QUARANTINE_S: Final = 30.0
YOUNG_S: Final = 60.0
_BACKOFF_S: Final = (0.0, 0.0, 0.1, 0.5, 1.0, 2.0, 5.0)


class Quarantine:
    """All times in seconds of one clock. Five deaths in a row, before any was ready, begin it.

    So do five workers stopped for what they took (``watch``), each within a minute of its start,
    and all within a minute: those answer meanwhile, which is no sign of health. Workers that end
    while they have nothing to do begin it when five in a row never answered, or with fifty within
    a minute; again each within a minute of its start.
    """

    def __init__(self) -> None:
        self.deaths_in_a_row = 0  # whoever sees a batch answered sets it back
        self.not_before = 0.0  # when the next may be started
        self.until = 0.0
        self._stops: deque[float] = deque(maxlen=DEATHS)
        self._vanished: deque[float] = deque(maxlen=VANISHED)

    def died(self, now: float, *, ready: bool) -> None:
        """One died by itself, or was killed while it was being loaded."""
        self.deaths_in_a_row += 1
        self._not_at_once(now)
        if self.deaths_in_a_row >= DEATHS and not ready:
            self._begin(now)

    def stopped(self, now: float, born: float) -> None:
        """One that was ready was stopped for what it took."""
        self.deaths_in_a_row += 1
        self._not_at_once(now)
        if now - born <= YOUNG_S and _full(self._stops, now):
            self._begin(now)

    def vanished(self, now: float, born: float, *, answered: bool) -> None:
        """One that was ready, and had nothing to do, ended though nobody had told it to."""
        self.deaths_in_a_row += 1
        self._not_at_once(now)
        if now - born > YOUNG_S:
            return
        never = not answered and self.deaths_in_a_row >= DEATHS
        if _full(self._vanished, now) or never:
            self._begin(now)

    def _not_at_once(self, now: float) -> None:
        step = min(self.deaths_in_a_row, len(_BACKOFF_S)) - 1
        self.not_before = max(self.not_before, now + _BACKOFF_S[step])

    def _begin(self, now: float) -> None:
        self.until = self.not_before = now + QUARANTINE_S


def _full(times: deque[float], now: float) -> bool:
    """Note one more; whether there were as many as are noted, within a minute."""
    times.append(now)
    return len(times) == times.maxlen and now - times[0] <= YOUNG_S
