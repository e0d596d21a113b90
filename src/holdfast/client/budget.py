"""How many repetitions there may be: a token bucket that queries pay into.

When a whole fleet is slow or refuses, everybody's repetitions would make it slower. With a budget
they never exceed a share of the queries, however many fail.
"""

from __future__ import annotations


class Budget:
    """``share`` tokens a query, ``per_s`` a second, at most ``burst``; it begins full."""

    __slots__ = ("_burst", "_per_s", "_share", "_since", "_tokens")

    def __init__(self, share: float, burst: float, per_s: float) -> None:
        self._share = share
        self._burst = burst
        self._per_s = per_s
        self._tokens = burst
        self._since: float | None = None

    def deposit(self) -> None:
        """A query has come."""
        self._tokens = min(self._burst, self._tokens + self._share)

    def take(self, now: float) -> bool:
        """Whether there may be one more repetition; it is paid for."""
        since = now if self._since is None else self._since
        self._since = now
        self._tokens = min(self._burst, self._tokens + self._per_s * max(0.0, now - since))
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True
