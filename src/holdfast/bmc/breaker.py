"""Circuit breakers: a BMC that does not answer is left alone for a while. Pure; time is passed in.

::

    closed --failures in a row--> open --its time is over--> probing --answer--> closed
                                   ^                            |
                                   +--- failure: twice as long -+

Only a refused connection or a time-out is a failure; an error the BMC sends is an
answer. Times are seconds of any one monotonic clock.
"""

from __future__ import annotations

import random
from enum import StrEnum

from holdfast.bmc.errors import BreakerOpenError
from holdfast.bmc.settings import BreakerSettings

PROBE_RETRY_S = 1.0  # what those are told who come while a probe is under way
FORGOTTEN_S = 3_600.0  # after this time without a probe; power sync asks far more often


class BreakerState(StrEnum):
    """See the module's header."""

    CLOSED = "closed"
    OPEN = "open"
    PROBING = "probing"


class Breaker:
    """The breaker of one address."""

    def __init__(self, settings: BreakerSettings, chance: random.Random) -> None:
        self._settings = settings
        self._chance = chance
        self._failures = 0  # in a row, since the last answer
        self._why = ""  # of the last one
        self._backoff_s = settings.backoff_first_s
        self._open_until = 0.0
        self.state = BreakerState.CLOSED

    @property
    def idle(self) -> bool:
        """Whether it differs in nothing from a new one."""
        return self.state is BreakerState.CLOSED and self._failures == 0

    def before(self, address: str, now: float) -> None:
        """Ask to send something; each permission must be followed by one of the three below.

        Raises ``BreakerOpenError`` with ``retry_after_s`` in its details.
        """
        if self.state is BreakerState.CLOSED:
            return
        if self.state is BreakerState.OPEN and now >= self._open_until:
            self.state = BreakerState.PROBING
            return
        wait_s = PROBE_RETRY_S
        if self.state is BreakerState.OPEN:
            wait_s = self._open_until - now
        raise BreakerOpenError(
            f"{address} has not answered {self._failures} times in a row; "
            f"it is asked again in {wait_s:.1f} s. The last time: {self._why}",
            retry_after_s=round(wait_s, 3),
        )

    def answered(self) -> None:
        """The BMC answered, whatever it said."""
        self._failures = 0
        self._backoff_s = self._settings.backoff_first_s
        self.state = BreakerState.CLOSED

    def failed(self, now: float, why: str) -> None:
        """The BMC refused the connection or did not answer in time; ``why`` is a sentence."""
        self._failures += 1
        self._why = why
        if self.state is BreakerState.PROBING:
            self._backoff_s = min(self._backoff_s * 2, self._settings.backoff_max_s)
        elif self._failures < self._settings.failures:
            return
        elif self.state is BreakerState.OPEN:
            return  # sent before it opened
        self.state = BreakerState.OPEN
        shortened = 1 - self._settings.jitter * self._chance.random()
        self._open_until = now + self._backoff_s * shortened

    def unknown(self, now: float) -> None:
        """Nothing was learnt (the command was abandoned): a probe's place is free again."""
        if self.state is BreakerState.PROBING:
            self.state = BreakerState.OPEN
            self._open_until = now

    def left_alone(self, now: float) -> bool:
        """Whether it might have been asked for long, and was not."""
        return self.state is BreakerState.OPEN and self._open_until + FORGOTTEN_S <= now


class Breakers:
    """The breakers of all addresses; those that differ in nothing from new are forgotten."""

    def __init__(self, settings: BreakerSettings, chance: random.Random) -> None:
        self._settings = settings
        self._chance = chance
        self._by_address: dict[str, Breaker] = {}

    def before(self, address: str, now: float) -> None:
        """As ``Breaker.before``."""
        known = self._by_address.get(address)
        if known is not None:
            known.before(address, now)

    def answered(self, address: str) -> None:
        """As ``Breaker.answered``."""
        self._by_address.pop(address, None)

    def failed(self, address: str, now: float, why: str) -> None:
        """As ``Breaker.failed``."""
        known = self._by_address.get(address)
        if known is None:
            known = self._by_address[address] = Breaker(self._settings, self._chance)
        known.failed(now, why)

    def unknown(self, address: str, now: float) -> None:
        """As ``Breaker.unknown``."""
        known = self._by_address.get(address)
        if known is not None:
            known.unknown(now)

    def state(self, address: str) -> BreakerState:
        """The state at one address."""
        known = self._by_address.get(address)
        return BreakerState.CLOSED if known is None else known.state

    def counts(self, now: float) -> dict[BreakerState, int]:
        """How many breakers are in each state other than closed.

        Those of addresses that nobody asks any more, as of nodes that were corrected, are
        forgotten here.
        """
        self._by_address = {
            address: breaker
            for address, breaker in self._by_address.items()
            if not breaker.left_alone(now)
        }
        counts = {BreakerState.OPEN: 0, BreakerState.PROBING: 0}
        for breaker in self._by_address.values():
            if breaker.state is not BreakerState.CLOSED:
                counts[breaker.state] += 1
        return counts
