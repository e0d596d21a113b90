"""What is known of latencies: an instance's, which the worst moves at once; and a kind's tail."""

from __future__ import annotations

import math
from typing import Final

_WINDOW: Final = 512
_SORT_EVERY: Final = 32


class PeakEwma:
    """A mean that jumps to a worse value at once and comes down slowly (Finagle's peak EWMA).

    It comes down with time also while nobody asks, so that an instance that was slow is tried
    again some day.
    """

    __slots__ = ("_decay_s", "_since", "_value")

    def __init__(self, decay_s: float) -> None:
        self._decay_s = decay_s
        self._value = 0.0
        self._since = 0.0

    def add(self, spent_s: float, now: float) -> None:
        """An answer took so long."""
        if spent_s >= self.at(now):
            self._value = spent_s
        else:
            weight = math.exp(-max(0.0, now - self._since) / self._decay_s)
            self._value = self._value * weight + spent_s * (1.0 - weight)
        self._since = now

    def at(self, now: float) -> float:
        """Seconds."""
        return self._value * math.exp(-max(0.0, now - self._since) / self._decay_s)


class Tail:
    """A quantile of the last few hundred latencies; None until there are enough."""

    __slots__ = ("_at", "_quantile", "_samples_min", "_value", "_window")

    def __init__(self, quantile: float, samples_min: int) -> None:
        self._quantile = quantile
        self._samples_min = samples_min
        self._window: list[float] = []
        self._at = 0
        self._value: float | None = None

    def add(self, spent_s: float) -> None:
        """A first attempt took so long (or longer, if it was given up)."""
        if len(self._window) < _WINDOW:
            self._window.append(spent_s)
        else:
            self._window[self._at % _WINDOW] = spent_s
        self._at += 1
        if len(self._window) >= self._samples_min and (
            self._value is None or self._at % _SORT_EVERY == 0
        ):
            ordered = sorted(self._window)
            self._value = ordered[min(len(ordered) - 1, int(self._quantile * len(ordered)))]

    @property
    def value(self) -> float | None:
        """Seconds."""
        return self._value
