"""Settings of power sync (section ``[power_sync]``)."""

from __future__ import annotations

from typing import Annotated

import msgspec

Seconds = Annotated[float, msgspec.Meta(gt=0, le=3600)]


class PowerSyncSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Times are in seconds."""

    interval_s: Annotated[float, msgspec.Meta(ge=0, le=86400)] = 60.0
    """How often each BMC is asked (Ironic: ``sync_power_state_interval``); 0: never."""
    force_power_state: bool = False
    """Switch a machine back to the recorded state, where Holdfast otherwise records the new one
    (Ironic: ``force_power_state_during_sync``). Machines that lost power then come back by
    themselves; one that somebody switched by hand is switched back."""
    failures_max: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 3
    """Passes in a row without an answer that put a node into maintenance with the fault
    "power failure" (Ironic: ``power_state_sync_max_retries``). It comes out by itself."""
    backoff_intervals_max: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 5
    """A BMC past that is asked less and less often, down to once in so many intervals."""
    timeout_min_s: Seconds = 2.0
    """The shortest time a BMC is given; more, if it used to take longer."""
    timeout_max_s: Seconds = 10.0
    """The longest, also for one that has never answered."""
    in_flight_max: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 500
    """BMCs that one conductor asks at the same time."""
    restores_max: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 50
    """Machines that one conductor switches back at a time; more wait in order."""

    def faults(self) -> list[str]:
        """What no single field shows: relations between them."""
        if self.timeout_min_s > self.timeout_max_s:
            return [
                f"power_sync.timeout_min_s ({self.timeout_min_s}) must not exceed "
                f"power_sync.timeout_max_s ({self.timeout_max_s})"
            ]
        return []
