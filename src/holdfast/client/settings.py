"""What a client can be told. Every default is meant to be right; durations in seconds."""

from __future__ import annotations

import dataclasses
import math
from typing import Final

from holdfast.errors import InvalidInputError

DEADLINE_MAX_S: Final = 86_400.0


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """How hard to try, and whom.

    ``budget_share``: how many repetitions and hedges there may be for one query, on the average.
    ``budget_burst``: how many there may be at once; ``budget_per_s``: how many a client that asks
    seldom may make. ``hedging`` 0 turns hedges off, else it is the quantile of the latency after
    which a second instance is asked. ``probe_s`` 0: instances are not probed, only judged by
    their answers. ``panic_share``: with fewer than that share left, nobody is shunned.
    """

    deadline_s: float = 10.0
    connect_timeout_s: float = 1.0
    attempts_max: int = 8
    backoff_s: float = 0.05
    budget_share: float = 0.1
    budget_burst: float = 10.0
    budget_per_s: float = 1.0
    hedging: float = 0.95
    hedge_samples_min: int = 50
    latency_decay_s: float = 3.0
    eject_after: int = 5
    eject_s: float = 0.5
    eject_max_s: float = 30.0
    panic_share: float = 0.5
    drain_shun_s: float = 2.0
    probe_s: float = 2.0
    probe_timeout_s: float = 1.0
    refresh_s: float = 10.0
    idle_s: float = 60.0
    idle_max: int = 64
    answer_bytes_max: int = 64 << 20

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not (value >= 0 and math.isfinite(value)):
                raise InvalidInputError(f"{field.name} is a number, and not negative.")
        for name in ("deadline_s", "connect_timeout_s", "attempts_max", "latency_decay_s"):
            if not getattr(self, name):
                raise InvalidInputError(f"{name} has to be more than 0.")
        check_deadline(self.deadline_s)
        if self.hedging >= 1.0:
            raise InvalidInputError("hedging is a quantile below 1, as 0.95, or 0 for none.")


def check_deadline(deadline_s: float) -> None:
    """Raises ``InvalidInputError``: every query ends some day."""
    if not 0 < deadline_s <= DEADLINE_MAX_S:
        raise InvalidInputError(
            f"A deadline is more than 0 and at most {DEADLINE_MAX_S:.0f} seconds."
        )
