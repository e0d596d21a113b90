"""What a node has answered to one service: with this generation, lately, and with the last one."""

from __future__ import annotations

from collections import deque
from typing import Final
from uuid import UUID

from holdfast.serving.operating.baseline import Counts

RECENT_S: Final = 60.0
"""How long ago is lately, in seconds."""


class Tally:
    """Of one service. Told at every look what its generation has answered since it was loaded."""

    def __init__(self) -> None:
        self.generation: UUID | None = None
        self.now = Counts()
        self.recent = Counts()
        self.before = Counts()  # of the generation that was there before, in its last minute
        self.since_s = 0.0
        self._looks: deque[tuple[float, Counts]] = deque()

    def look(self, generation: UUID | None, counts: Counts, now_s: float) -> None:
        """``now_s``: seconds that only grow."""
        if generation != self.generation:
            if self.generation is not None:
                self.before = self.recent
            self.generation, self.since_s = generation, now_s
            self._looks.clear()
            self._looks.append((now_s, Counts()))
        self.now = counts
        self._looks.append((now_s, counts))
        while len(self._looks) > 2 and self._looks[1][0] <= now_s - RECENT_S:
            self._looks.popleft()
        self.recent = counts.since(self._looks[0][1])
