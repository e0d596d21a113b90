"""Settings of identity (section ``[identity]``)."""

from __future__ import annotations

from typing import Annotated

import msgspec

Seconds = Annotated[float, msgspec.Meta(gt=0, le=2_592_000)]
Count = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]


class IdentitySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Times are in seconds."""

    region: str = "RegionOne"
    """The region that the catalog names."""
    token_ttl_s: Seconds = 3600.0
    """How long a token lives."""
    token_cache_s: Annotated[float, msgspec.Meta(ge=0, le=60)] = 2.0
    """How long a revocation made by another process may go unnoticed; 0: always ask."""
    token_cache_entries_max: Count = 10_000
    """Tokens one process remembers."""
    token_purge_interval_s: Seconds = 600.0
    """How often expired tokens are deleted."""
    password_cache_s: Annotated[float, msgspec.Meta(ge=0, le=3600)] = 60.0
    """How long a verified password is recognised without hashing it again."""
    password_len_min: Annotated[int, msgspec.Meta(ge=1, le=512)] = 8
    password_len_max: Annotated[int, msgspec.Meta(ge=1, le=4096)] = 512
    login_failures_max: Count = 10
    """Failed logins of one user from one address within the window, per process."""
    login_window_s: Seconds = 60.0

    def faults(self) -> list[str]:
        """What no single field shows: relations between them."""
        if self.password_len_min > self.password_len_max:
            return [
                f"identity.password_len_min ({self.password_len_min}) must not exceed "
                f"identity.password_len_max ({self.password_len_max})"
            ]
        return []
