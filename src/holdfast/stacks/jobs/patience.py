"""What is done with a handler that does not let itself be cut short, or finds no memory.

A resource type may be anybody's code. Where it ignores that its time is over, the operation ends
all the same; the handler is left behind and can have no effect any more, for its guard refuses.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

import structlog

from holdfast.core.jobs import RETRY
from holdfast.errors import LeaseLostError
from holdfast.stacks.errors import OutOfMemoryError
from holdfast.store.model import Job, Json

log = structlog.get_logger(__name__)

GRACE_S: Final = 2.0
"""How long whoever is cut short may take to come to an end."""

MEMORY_TRIES: Final = 3
"""Within seconds, in which an engine that others have filled is gone."""

T = TypeVar("T")

_left_behind: set[asyncio.Task[Any]] = set()


class Patience:
    """That of one operation with its handler. ``guard`` is the one to be called before effects."""

    def __init__(self, guard: Callable[[], None], name: str) -> None:
        self._guard = guard
        self._name = name
        self._over = False

    def guard(self) -> None:
        """Raise ``LeaseLostError`` unless the handler may act now."""
        if self._over:
            raise LeaseLostError(f"the operation on {self._name} is over; what is late is refused")
        self._guard()

    async def with_(self, work: Coroutine[Any, Any, T]) -> T:
        """The work's result. Cancelled, it ends within ``GRACE_S``, whatever the work does."""
        task = asyncio.create_task(work)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if not task.done():
                task.cancel()
                await asyncio.wait({task}, timeout=GRACE_S)
            if not task.done():
                self._leave(task)
            raise
        finally:
            self._over = True

    def _leave(self, task: asyncio.Task[Any]) -> None:
        log.error("stack.handler_deaf", resource=self._name)
        _left_behind.add(task)
        task.add_done_callback(_forget)


def _forget(task: asyncio.Task[Any]) -> None:
    _left_behind.discard(task)
    if not task.cancelled():
        task.exception()


def out_of_memory(job: Job, name: str) -> OutOfMemoryError:
    """What to fail a resource with that finds no memory, time and again.

    Raises the same, to be tried again, while it may be others' doing: another engine, or
    this one started afresh, may have room.
    """
    retry: dict[str, Json] = job.memo.get(RETRY) or {}
    tried = int(retry.get("count", 0))
    log.warning("stack.resource_memory", resource=name, tried=tried)
    trouble = OutOfMemoryError(
        "the resource's type asked for more memory than an engine may have "
        "([engine] memory_max_mb); what it was given may be too large"
    )
    if tried < MEMORY_TRIES:
        raise trouble
    return trouble
