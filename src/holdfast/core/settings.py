"""Settings of the core (section ``[core]``)."""

from __future__ import annotations

from typing import Annotated

import msgspec

Seconds = Annotated[float, msgspec.Meta(gt=0, le=86400)]


class CoreSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Times are in seconds. All members of a deployment should agree on ``lease_s``."""

    lease_s: Annotated[float, msgspec.Meta(ge=0.3, le=300)] = 5.0
    """How long a member counts as alive after its last renewal."""
    lease_margin_s: Annotated[float, msgspec.Meta(gt=0, le=60)] = 1.0
    """How much earlier than the lease's end a member stops trusting it."""
    stall_s: Seconds = 30.0
    """A main loop without progress for so long no longer gets its lease renewed."""
    tick_s: Seconds = 0.5
    """How often, without a hint, a member compares claims and ring and re-reads its jobs."""
    shards: Annotated[int, msgspec.Meta(ge=1, le=65536)] = 1024
    """Shards per conductor group; fixed when a group is first seen."""
    running_jobs_max: Annotated[int, msgspec.Meta(ge=1, le=10000)] = 400
    """Job steps one member runs at the same time; more wait in the database."""
    drain_s: Seconds = 60.0
    """How long a draining member tries to hand over before it leaves anyway."""
    events_keep_days: Annotated[float, msgspec.Meta(gt=0, le=3650)] = 30.0
    """How long the event log (who did what) is kept, in days."""
    keep_jobs_s: Annotated[float, msgspec.Meta(ge=60, le=315_360_000)] = 7 * 86_400.0
    """How long a job that has ended can still be looked at, with its journal."""

    def faults(self) -> list[str]:
        """What no single field shows: relations between them."""
        found: list[str] = []
        if self.lease_margin_s > self.lease_s / 2:
            found.append(
                f"core.lease_margin_s ({self.lease_margin_s}) must be at most half of "
                f"core.lease_s ({self.lease_s}); lower the margin or raise the lease"
            )
        return found
