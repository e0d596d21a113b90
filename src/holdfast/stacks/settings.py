"""Settings of stacks (section ``[stacks]``). Heat's names for them are in ``ops.aliases``."""

from __future__ import annotations

from typing import Annotated

import msgspec

Count = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]


class StacksSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Times are in seconds. The limits answer 403 with the limit in the message (X20)."""

    convergence: bool = True
    """False: one engine works through a stack's resources one after the other (X13, X14)."""
    stacks_per_project_max: Count = 100
    """Stacks of one project that are not deleted, nested ones not counted (X20)."""
    resources_per_stack_max: Count = 1000
    """Resources of one stack, those of its nested stacks included (X20)."""
    nested_depth_max: Annotated[int, msgspec.Meta(ge=0, le=100)] = 5
    """How deep stacks may be nested in one another."""
    events_per_stack_max: Count = 1000
    """Lines of history kept of one stack; the oldest go first."""
    template_bytes_max: Annotated[int, msgspec.Meta(ge=1024, le=2**30)] = 524_288
    """Size of one template, environment or nested template."""
    timeout_s: Annotated[float, msgspec.Meta(gt=0, le=31_536_000)] = 3600.0
    """How long an action on a stack may take that names no ``timeout_mins`` of its own."""
    response_timeout_s: Annotated[float, msgspec.Meta(gt=0, le=3600)] = 120.0
    """How long a request may take to be checked and planned before it is refused (X19)."""
    page_max: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 1000
    """Most items one page of a list may have."""
    deleted_keep_days: Annotated[float, msgspec.Meta(ge=0, le=3650)] = 30.0
    """How long deleted stacks can still be shown, in days."""
