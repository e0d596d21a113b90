"""What is deleted once it is old: events, bound jobs that have ended, members that are gone.

Unbound jobs are their queues' workers' to delete (``core.queue_worker``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TypeAlias

import structlog

from holdfast.core.settings import CoreSettings
from holdfast.errors import StoreUnavailableError
from holdfast.store.port import Store

log = structlog.get_logger(__name__)

DAY_S = 86_400.0
MEMBERS_KEEP_S = DAY_S  # who was there yesterday; every incarnation is in the event log anyway
EVERY_S = 3_600.0
PAUSE_S = 0.2

Batch: TypeAlias = Callable[[], Awaitable[int]]
"""Deletes some of what is old; returns how many went, 0: all had gone."""


def batches(store: Store, settings: CoreSettings) -> Mapping[str, Batch]:
    """How one batch of each is deleted, by what it is."""
    return {
        "events": partial(store.purge_events, settings.events_keep_days * DAY_S, 5_000),
        "jobs": partial(store.purge_bound_jobs, settings.keep_jobs_s, 2_000),
        "members": partial(store.purge_members, MEMBERS_KEEP_S, 500),
    }


async def purge(batch: Batch, pause_s: float = PAUSE_S) -> int:
    """Delete in batches that leave room for others; returns how many went."""
    gone = 0
    while went := await batch():
        gone += went
        await asyncio.sleep(pause_s)
    return gone


async def purge_for_ever(store: Store, settings: CoreSettings) -> None:
    """Purge every hour. Every member does: it is cheap where another has been before."""
    while True:
        await asyncio.sleep(EVERY_S)
        for what, batch in batches(store, settings).items():
            try:
                gone = await purge(batch)
            except StoreUnavailableError as fault:
                log.warning("store_unavailable", during=f"{what}.purge", fault=str(fault))
            else:
                log.debug("purged", what=what, count=gone)
