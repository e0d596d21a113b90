"""The clock port. Waiting goes through asyncio; only *reading* time needs a port."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Reads a clock that never jumps and that counts the time a host is suspended."""

    def now(self) -> float:
        """Seconds since some fixed moment."""
        ...


class SystemClock:
    """CLOCK_BOOTTIME: unlike CLOCK_MONOTONIC it goes on while the host sleeps."""

    def now(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)
