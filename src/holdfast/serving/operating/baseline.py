"""How many errors are too many: more than there were before, beyond what chance brings.

Some queries fail whoever answers them (an author's code raises for what one user sends). They are
no fault of what is new, so a gate compares with what the old one answered, not with nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

import msgspec

_ANSWERS_MIN: Final = 20  # fewer say little of what there was before
_DEVIATIONS: Final = 2.0  # so much may what there was before have been worse by chance
_TIMES: Final = 2.0  # who asks changes from minute to minute, and with it the share of errors
_SURPRISE: Final = 6.6  # e ** -6.6: once in 735 times


class Counts(msgspec.Struct, frozen=True):
    """Answers since a generation was loaded; ``errors``: those with a status of 500 or more."""

    answers: int = 0
    errors: int = 0

    def since(self, before: Counts) -> Counts:
        """Only those that came after; counters begin anew with a new process."""
        if self.answers < before.answers or self.errors < before.errors:
            return self
        return Counts(self.answers - before.answers, self.errors - before.errors)

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.answers + other.answers, self.errors + other.errors)


def errors_allowed(before: Iterable[Counts], errors_max: float) -> float:
    """The share of answers that may be errors, from 0 to 1.

    ``errors_max``: the share that may be errors more than before. ``before``: what the old ones
    answered, each over a time of its own; the worst counts, by two deviations more than it was and
    twice that, but never more than half way to all. A sample of a few is worth little: what it
    lacks is taken to have been answered well.
    """
    worst = 0.0
    for one in before:
        answers = max(one.answers, _ANSWERS_MIN)
        share = one.errors / answers
        worst = max(worst, share + _DEVIATIONS * math.sqrt(share * (1 - share) / answers))
    return min(_TIMES * worst + errors_max, (1 + worst) / 2 + errors_max, 1.0)


def are_too_many(found: Counts, before: Iterable[Counts], errors_max: float) -> bool:
    """Whether more of the answers found are errors than may be, and that is no chance.

    One error never is: whoever answers may be killed once. Several are if so many come of the share
    allowed less than once in ``exp(_SURPRISE)`` times (Chernoff's bound on a binomial's tail).
    """
    allowed = errors_allowed(before, errors_max)
    if found.errors <= max(1.0, allowed * found.answers):
        return False
    if not allowed:
        return True
    share = found.errors / found.answers
    surprise = found.errors * math.log(share / allowed)
    if share < 1:
        surprise += (found.answers - found.errors) * math.log((1 - share) / (1 - allowed))
    return surprise > _SURPRISE
