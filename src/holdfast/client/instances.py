"""All instances as one client sees them, and which of them is asked.

Power of two choices over peak EWMA × queries in flight: two are drawn, the one with less to do is
taken. It needs no agreement between clients and never sends everybody to the same best one.
"""

from __future__ import annotations

import math
import random
from collections.abc import Collection, Iterable
from typing import Final, NamedTuple

from holdfast.client.addresses import Address
from holdfast.client.latency import PeakEwma
from holdfast.client.settings import Settings

_KINDS_MAX: Final = 1000
_OUTRUN_MAX: Final = 6
_MISSES_MAX: Final = 2  # one late probe may be the network's fault
_WITHOUT_MAX: Final = 1000
_WITHOUT_S: Final = 2.0  # for so long where nobody probes


class Lack(NamedTuple):
    """That an instance does not have a service, or not yet (``unknown`` is false)."""

    until: float
    unknown: bool


class Instance:
    """What is known of one. Times are on the caller's clock, in seconds."""

    __slots__ = (
        "address", "down_until", "ejections", "failures", "in_flight", "latency", "misses",
        "outrun", "reason", "shunned_until", "without",
    )  # fmt: skip

    def __init__(self, address: Address) -> None:
        self.address = address
        self.in_flight = 0
        self.latency: dict[str, PeakEwma] = {}  # by kind of query: their costs differ
        self.failures = 0  # in a row
        self.ejections = 0  # since it last answered well
        self.outrun = 0  # attempts given up because another was quicker, in a row
        self.misses = 0  # probes without an answer, in a row
        self.shunned_until = -math.inf
        self.down_until = -math.inf
        self.reason = ""  # of the last failure
        self.without: dict[str, Lack] = {}  # by service, as its queries found out

    def state(self, now: float) -> str:
        """``used``, ``shunned`` or ``down``."""
        if self.down_until > now:
            return "down"
        return "shunned" if self.shunned_until > now else "used"

    def lacks(self, service: str, now: float) -> Lack | None:
        """What is known of a service that it does not have."""
        found = self.without.get(service)
        return found if found is not None and found.until > now else None


class Instances:
    """The set of them."""

    def __init__(self, settings: Settings, chance: random.Random) -> None:
        self.all: list[Instance] = []
        self._settings = settings
        self._chance = chance

    def replace(self, addresses: Iterable[Address]) -> None:
        """These are all; what is known of those that stay is kept."""
        known = {one.address: one for one in self.all}
        self.all = [known.get(address) or Instance(address) for address in dict.fromkeys(addresses)]

    # ---- the choice ----------------------------------------------------------------------------

    def choose(
        self, kind: str, tried: Collection[Instance], now: float, service: str = ""
    ) -> Instance | None:
        """The one to ask, None if all have been. Who lacks the service only if all do."""
        rest = [one for one in self.all if one not in tried] if tried else self.all
        rest = [one for one in rest if not (one.without and one.lacks(service, now))] or rest
        up = [one for one in rest if one.down_until <= now] or rest
        calm = [one for one in up if one.shunned_until <= now]
        if len(calm) < self._settings.panic_share * len(up) or not calm:
            calm = up
        count = len(calm)
        if count < 2:
            return calm[0] if calm else None
        first = int(self._chance.random() * count)
        second = int(self._chance.random() * (count - 1))
        one, other = calm[first], calm[second + (second >= first)]
        return one if _is_cheaper(one, other, kind, now) else other

    # ---- what happened -------------------------------------------------------------------------

    def took(self, instance: Instance, kind: str, spent_s: float, now: float) -> None:
        """A good answer, or at least its absence for so long."""
        mean = instance.latency.get(kind)
        if mean is None:
            if len(instance.latency) >= _KINDS_MAX:
                instance.latency.clear()
            mean = instance.latency[kind] = PeakEwma(self._settings.latency_decay_s)
        mean.add(spent_s, now)

    def outrun(self, instance: Instance, kind: str, spent_s: float, now: float) -> None:
        """It was given up after so long, another having answered.

        How long it would have taken is not known, only that it was longer. Were that taken for
        its latency, hedges would make a slow instance look better than it is; so each time in a
        row doubles the guess.
        """
        instance.outrun = min(instance.outrun + 1, _OUTRUN_MAX)
        guess_s = spent_s * 2.0 ** (instance.outrun - 1)
        mean = instance.latency.get(kind)
        if mean is None or guess_s > mean.at(now):
            self.took(instance, kind, guess_s, now)

    def succeeded(self, instance: Instance) -> None:
        """It answered as it should."""
        instance.outrun = 0
        instance.failures = 0
        instance.ejections = 0

    def failed(self, instance: Instance, reason: str, now: float) -> None:
        """A lost connection, a 5xx, silence: some in a row and it is shunned for a while."""
        instance.reason = reason
        instance.failures += 1
        if instance.failures >= self._settings.eject_after:
            instance.failures = 0
            instance.shunned_until = max(instance.shunned_until, now + self._rest_s(instance))

    def refused(self, instance: Instance, reason: str, now: float) -> None:
        """No connection could be made: it is down, until a probe says otherwise."""
        instance.reason = reason
        probe_s = self._settings.probe_s
        unprobed_s = 3 * probe_s + self._settings.probe_timeout_s if probe_s else 0.0
        instance.down_until = now + max(self._rest_s(instance), unprobed_s)

    def miss(self, instance: Instance, service: str, now: float, *, ready_in_s: float) -> bool:
        """It does not have the service: for all that is known, until its next probe.

        ``ready_in_s``: it has it, but not ready before; 0: it knows of none. Whether it is news.
        """
        news = instance.lacks(service, now) is None
        unknown = ready_in_s <= 0
        instance.reason = "does not have the service" if unknown else "its service is not ready"
        settings = self._settings
        probed_s = 3 * settings.probe_s + settings.probe_timeout_s if settings.probe_s else 0.0
        for_s = (probed_s or _WITHOUT_S) if unknown else ready_in_s
        if len(instance.without) >= _WITHOUT_MAX:
            instance.without.clear()
        instance.without[service] = Lack(now + for_s, unknown)
        return news

    def shun(self, instance: Instance, reason: str, for_s: float, now: float) -> None:
        """It asked to be left alone (Retry-After), or is about to leave."""
        instance.reason = reason
        instance.shunned_until = max(instance.shunned_until, now + for_s)

    def probed(self, instance: Instance, fault: str, now: float, *, silent: bool = False) -> None:
        """What its probe said: ``fault`` is empty if all is well; ``silent``: it said nothing."""
        instance.without.clear()
        if not fault:
            instance.misses = 0
            instance.down_until = -math.inf
            return
        instance.misses += 1
        if not silent or instance.misses >= _MISSES_MAX:
            instance.reason = fault
            rounds_s = 3 * (self._settings.probe_s + self._settings.probe_timeout_s)
            instance.down_until = max(instance.down_until, now + rounds_s)

    def _rest_s(self, instance: Instance) -> float:
        """Twice as long each time; spread, so that clients do not come back all at once."""
        settings = self._settings
        rest_s = min(settings.eject_max_s, settings.eject_s * 2.0 ** min(instance.ejections, 30))
        instance.ejections += 1
        return rest_s * (1.0 + 0.25 * self._chance.random())


def _is_cheaper(one: Instance, other: Instance, kind: str, now: float) -> bool:
    """Whether ``one`` costs less. Where nothing is known of a latency, it is taken as alike."""
    first, second = one.latency.get(kind), other.latency.get(kind)
    if first is None or second is None:
        return one.in_flight <= other.in_flight
    return first.at(now) * (one.in_flight + 1) <= second.at(now) * (other.in_flight + 1)
