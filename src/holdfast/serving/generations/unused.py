"""What may be cleaned: a pure function, so that a deployment under way loses nothing to it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from holdfast.serving.generations.state import ServiceState

FRESH_MS: Final = 15 * 60_000
"""For so long what has come is taken to be about to be used, in milliseconds."""


def is_unused(state: ServiceState, now_ms: int) -> bool:
    """Whether a service is disabled, and was not made just now for what is to come."""
    if state.enabled:
        return False
    came_ms = [state.created_ms, *(one.created_ms for one in state.generations)]
    return bool(state.mapping) or max(came_ms) + FRESH_MS <= now_ms


def unused_generations(state: ServiceState, held: Collection[str], now_ms: int) -> list[str]:
    """Those that are not in the mapping, nor ``held`` (loaded, or being loaded), nor fresh.

    Fresh is what came lately, and after all that is in use: it may be switched to next.
    """
    used = {entry.generation for entry in state.mapping}
    newest = max((one.number for one in state.generations if one.id in used), default=0)
    return [
        one.id
        for one in state.generations
        if one.id not in used
        and one.id not in held
        and not (one.number > newest and one.created_ms + FRESH_MS > now_ms)
    ]
