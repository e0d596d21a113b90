"""The course of one query: whom to ask next, when to ask a second one, when to give up.

No I/O and no clock: whoever drives it tells the time and what happened, and does what ``next``
says. The blocking client, the asyncio client and the simulation drive the same code.
"""

from __future__ import annotations

import math
import random
from typing import Final

from holdfast.client.budget import Budget
from holdfast.client.errors import DeadlineError, NoInstanceError
from holdfast.client.instances import Instance, Instances
from holdfast.client.latency import Tail
from holdfast.client.settings import Settings
from holdfast.errors import HoldfastError

_TAILS_MAX = 1000
# Said by a node's front before any of the service's code has seen the query.
_NO_SERVICE: Final = "UnknownServiceError"
_NOT_HERE: Final = frozenset({_NO_SERVICE, "UnknownGenerationError", "UnknownEndpointError"})
_NOT_READY: Final = "NotServingError"
_WORKERS_DIE: Final = "WorkerDiedError"


class Dispatch:
    """What all queries of a client share. Not thread-safe: the caller holds a lock."""

    def __init__(self, settings: Settings, chance: random.Random) -> None:
        self.settings = settings
        self.chance = chance
        self.instances = Instances(settings, chance)
        self.budget = Budget(settings.budget_share, settings.budget_burst, settings.budget_per_s)
        self.hedges = 0
        self.retries = 0
        self._tails: dict[str, Tail] = {}

    def tail(self, kind: str) -> Tail:
        """Of the latencies of a kind of query."""
        found = self._tails.get(kind)
        if found is None:
            if len(self._tails) >= _TAILS_MAX:
                self._tails.clear()
            settings = self.settings
            found = self._tails[kind] = Tail(settings.hedging, settings.hedge_samples_min)
        return found


class Attempt:
    """One instance asked once."""

    __slots__ = ("first", "hedge", "instance", "started")

    def __init__(self, instance: Instance, started: float, *, first: bool, hedge: bool) -> None:
        self.instance = instance
        self.started = started
        self.first = first
        self.hedge = hedge


class Course:
    """One query.

    ``deadline`` is a time on the caller's clock, ``kind`` what it is alike to, ``service`` whose.
    """

    __slots__ = (
        "_absent", "_asked", "_deadline", "_dispatch", "_error", "_hedge_at", "_kind", "_live",
        "_losses", "_moved", "_pause_until", "_rounds", "_service", "_settings", "_tail",
        "_told_until", "_tried", "_unsure",
    )  # fmt: skip

    def __init__(
        self,
        dispatch: Dispatch,
        kind: str,
        now: float,
        deadline: float,
        *,
        hedged: bool,
        service: str = "",
    ) -> None:
        self._dispatch = dispatch
        self._settings = dispatch.settings
        self._kind = kind
        self._service = service
        self._deadline = deadline
        self._tail = dispatch.tail(kind)
        after_s = self._tail.value if hedged and dispatch.settings.hedging else None
        self._hedge_at = math.inf if after_s is None else now + after_s
        self._live: list[Attempt] = []
        self._tried: set[Instance] = set()
        self._absent: set[Instance] = set()  # who said that it does not have what is asked
        self._asked = 0
        self._losses = 0
        self._rounds = 0
        self._moved = False
        self._pause_until = self._told_until = now
        self._unsure = False  # whether one that may have the service did not say
        self._error: HoldfastError | None = None
        dispatch.budget.deposit()

    # ---- what to do ----------------------------------------------------------------------------

    def next(self, now: float) -> Attempt | float:
        """An attempt to begin now, or a time until when to wait for those under way.

        Raises ``DeadlineError``, ``NoInstanceError``: the end.
        """
        if now >= self._deadline:
            raise self._late(now)
        if self._live:
            return self._beside(now)
        if self._error is not None:
            raise self._error
        if now < self._pause_until:
            return min(self._pause_until, self._deadline)
        instance = self._choose(now)
        if instance is None:
            raise self._none("No instance is known")
        return self._ask(instance, now)

    def _beside(self, now: float) -> Attempt | float:
        """Another attempt beside those under way: a hedge, or since they seem to be lost."""
        if now >= self._hedge_at:
            self._hedge_at = math.inf
            instance = self._choose_beside(now)
            if instance is not None and self._may_ask() and self._dispatch.budget.take(now):
                self._dispatch.hedges += 1
                return self._ask(instance, now, hedge=True)
        if not self._moved and all(one.instance.down_until > now for one in self._live):
            # They were asked while up, or all are down: the probe has found out since.
            instance = self._choose_beside(now)
            if instance is not None and instance.down_until <= now and self._may_ask():
                self._moved = True
                self._dispatch.retries += 1
                return self._ask(instance, now)
        look_again = now + (self._settings.probe_s or math.inf)
        return min(self._deadline, self._hedge_at, look_again)

    def _choose(self, now: float) -> Instance | None:
        return self._dispatch.instances.choose(self._kind, self._tried, now, self._service)

    def _choose_beside(self, now: float) -> Instance | None:
        """Not one that is known to be no help."""
        instance = self._choose(now)
        return None if instance is None or instance.lacks(self._service, now) else instance

    def _ask(self, instance: Instance, now: float, *, hedge: bool = False) -> Attempt:
        attempt = Attempt(instance, now, first=self._asked == 0, hedge=hedge)
        self._asked += 1
        self._tried.add(instance)
        self._live.append(attempt)
        instance.in_flight += 1
        return attempt

    def _may_ask(self) -> bool:
        return self._asked < self._settings.attempts_max

    # ---- what happened -------------------------------------------------------------------------

    def answered(
        self,
        attempt: Attempt,
        status: int,
        now: float,
        *,
        retry_after_s: float,
        leaving: bool,
        error_type: str = "",
    ) -> bool:
        """Whether this is the query's answer; if not, ``next`` says how it goes on.

        ``retry_after_s``: of the header, 0 without; ``leaving``: it said ``Connection: close``;
        ``error_type``: what an error says it is, empty if it does not say.
        """
        instances, instance = self._dispatch.instances, attempt.instance
        self._end(attempt)
        if leaving and status < 400:  # a bad query is answered so, too
            instances.shun(instance, "is leaving", self._settings.drain_shun_s, now)
        if status in (429, 503):
            return self._put_off(instance, status, retry_after_s, error_type, now)
        if status == 404 and error_type in _NOT_HERE:
            return self._not_here(instance, error_type, now)
        spent_s = now - attempt.started
        if status < 400:
            instances.took(instance, self._kind, spent_s, now)
            if attempt.first:
                self._tail.add(spent_s)
        # What the service's code raised, the node tells by its type: it works, that does not.
        if status < 500 or (status == 500 and error_type and error_type != _WORKERS_DIE):
            instances.succeeded(instance)
        else:
            instances.failed(instance, f"answered {status}", now)
        return True

    def _put_off(
        self, instance: Instance, status: int, wait_s: float, error_type: str, now: float
    ) -> bool:
        """Not now: for want of room, or since this one service is not ready there."""
        instances = self._dispatch.instances
        if error_type == _NOT_READY:
            instances.miss(instance, self._service, now, ready_in_s=wait_s or 1.0)
        else:
            instances.shun(instance, f"answered {status}", wait_s or 1.0, now)
        self._unsure = True
        self._told_until = now + wait_s
        return not self._live and not self._go_on(now, free=False, wait_s=wait_s)

    def _not_here(self, instance: Instance, error_type: str, now: float) -> bool:
        """Another may have it: the answer only if nobody does.

        What is news costs nothing, neither attempts nor budget: an instance says so once, and is
        then left out. So even if all do, a client asks each for nothing but once in a while.
        """
        instances = self._dispatch.instances
        instances.succeeded(instance)
        free = not self._absent
        self._absent.add(instance)
        if error_type == _NO_SERVICE:
            free = instances.miss(instance, self._service, now, ready_in_s=0.0) or free
        if all(one in self._absent or self._is_unknown_to(one, now) for one in instances.all):
            return not self._live
        if free:
            self._asked -= 1
        if self._live or self._go_on(now, free=free, wait_s=max(0.0, self._told_until - now)):
            return False
        if self._unsure:  # it may well be where nobody answered: do not say that it is nowhere
            self._error = self._none("No instance that has it answered")
        return not self._unsure

    def _is_unknown_to(self, one: Instance, now: float) -> bool:
        told = one.lacks(self._service, now)
        return told is not None and told.unknown

    def too_large(self, attempt: Attempt) -> None:
        """It answered, more than is read; any other would answer as much."""
        self._end(attempt)
        self._dispatch.instances.succeeded(attempt.instance)

    def lost(
        self, attempt: Attempt, reason: str, now: float, *, sent: bool, stale: bool = False
    ) -> None:
        """The connection could not be made, or ended before an answer came.

        That nothing was sent, or the first loss, costs the others nothing: the load only moves.
        ``stale``: it was a kept one, and ended at once. That is nobody's failure, and the first
        time the instance may be asked again like any other.
        """
        self._end(attempt)
        self._unsure = True
        if sent:
            self._losses += 1
        free = not sent or self._losses == 1
        if stale:
            attempt.instance.reason = reason
            if free:
                self._tried.discard(attempt.instance)
        elif sent:
            self._dispatch.instances.failed(attempt.instance, reason, now)
        else:
            self._dispatch.instances.refused(attempt.instance, reason, now)
        if not self._live and not self._go_on(now, free=free, wait_s=0.0):
            which = "No instance that has it" if self._absent else "No instance"
            self._error = self._none(f"{which} answered")

    def close(self, now: float) -> None:
        """The query is over: attempts still under way are given up."""
        for attempt in list(self._live):
            spent_s = now - attempt.started
            self._end(attempt)
            self._dispatch.instances.outrun(attempt.instance, self._kind, spent_s, now)
            if attempt.first:
                self._tail.add(spent_s)

    def _end(self, attempt: Attempt) -> None:
        self._live.remove(attempt)
        attempt.instance.in_flight -= 1

    def _go_on(self, now: float, *, free: bool, wait_s: float) -> bool:
        """Whether there may be another attempt; what it costs is paid."""
        if not self._may_ask():
            return False
        if all(
            one in self._tried or one.lacks(self._service, now)
            for one in self._dispatch.instances.all
        ):
            # A new round: not at once, not for nothing, and with luck all come back spread.
            backoff_s = self._settings.backoff_s * 2.0 ** min(self._rounds, 10)
            spread = 0.5 + self._dispatch.chance.random()
            self._pause_until = now + max(wait_s, backoff_s * spread)
            self._rounds += 1
            self._tried.clear()
            free = False
        if self._pause_until >= self._deadline:
            return False
        if not free and not self._dispatch.budget.take(now):
            return False
        self._dispatch.retries += 1
        return True

    def _late(self, now: float) -> DeadlineError:
        for attempt in self._live:
            self._dispatch.instances.failed(attempt.instance, "did not answer in time", now)
        asked = (
            ", ".join(str(one.instance.address) for one in self._live) or "nobody could be asked"
        )
        return DeadlineError(f"No answer within the query's deadline (waited for: {asked}).")

    def _none(self, what: str) -> NoInstanceError:
        instances = self._dispatch.instances.all
        reasons = "; ".join(f"{one.address}: {one.reason or 'not asked'}" for one in instances)
        return NoInstanceError(f"{what} ({reasons or 'the list of instances is empty'}).")
