"""How many errors are too many: more than there were before, beyond what chance brings.

Some queries fail whoever answers them (an author's code raises for what one user sends). They are
no fault of what is new, so a gate compares with what the old one answered, not with nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

import msgspec

_DEVIATIONS: Final = 3.0  # further than this from what is expected is no chance


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


def errors_allowed(found: Counts, before: Iterable[Counts], errors_max: float) -> float:
    """The share of ``found`` that may be errors.

    ``errors_max``: the share that may be errors more than before. ``before``: what the old ones
    answered, each over a time of its own; the worst counts. Two shares of the same queries differ
    by chance, the more the fewer there were: that much is allowed, too (three deviations of the
    difference of two binomial shares). Where nothing was an error before, that is nothing.
    """
    allowed = errors_max
    for one in before:
        if one.answers and found.answers:
            share = one.errors / one.answers
            variance = share * (1 - share) * (1 / one.answers + 1 / found.answers)
            allowed = max(allowed, share + errors_max + _DEVIATIONS * math.sqrt(variance))
    return min(allowed, 1.0)


def are_too_many(found: Counts, before: Iterable[Counts], errors_max: float) -> bool:
    """Whether more of the answers found are errors than may be."""
    return found.errors > errors_allowed(found, before, errors_max) * found.answers
