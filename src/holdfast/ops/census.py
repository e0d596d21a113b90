"""The census as metrics: how much work waits and for how long, who is up, what nobody owns (X11).

Each API process counts now and then, so that a scrape costs the database nothing; the
processes of a deployment show the same numbers, so rules take ``max`` over them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

import structlog
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from holdfast.errors import StoreUnavailableError
from holdfast.store.model import Census, JobCount
from holdfast.store.port import CensusStore

log = structlog.get_logger(__name__)

EVERY_S: Final = 5.0
SHARE_MAX: Final = 0.05  # of the time may be spent counting, however long the queues
STALE_S: Final = 30.0
BOUND: Final = "bound"  # the queue of jobs that are bound to objects, as a label


async def keep_counting(count: Callable[[], Awaitable[None]], during: str) -> None:
    """Count for ever; an outage of the database is waited out. ``during``: for the log."""
    while True:
        began = time.monotonic()
        try:
            await count()
        except StoreUnavailableError as fault:
            log.warning("store_unavailable", during=during, fault=str(fault))
        took_s = time.monotonic() - began
        await asyncio.sleep(max(EVERY_S, took_s / SHARE_MAX))


class CensusMetrics(Collector):
    """Gauges of the last census; none, but its age, once that is too old to be believed."""

    def __init__(self, store: CensusStore) -> None:
        self._store = store
        self._census = Census()
        self._counted_at = float("-inf")

    async def keep(self) -> None:
        """Count for ever; an outage of the database is waited out."""
        await keep_counting(self.count, "census")

    async def count(self) -> None:
        """Take a census now."""
        self._census = await self._store.census()
        self._counted_at = time.monotonic()

    def collect(self) -> Iterator[Metric]:
        age_s = time.monotonic() - self._counted_at
        yield GaugeMetricFamily(
            "holdfast_census_age_seconds", "How old the numbers of the census are", value=age_s
        )
        if age_s > STALE_S:
            return
        yield from _jobs(self._census.jobs)
        members = GaugeMetricFamily(
            "holdfast_members", "Processes that hold a lease", labels=["role", "state"]
        )
        for (role, state), count in self._census.members.items():
            members.add_metric([role, state.value], count)
        yield members
        unowned = GaugeMetricFamily(
            "holdfast_shards_unowned", "Shards that no living process owns", labels=["group"]
        )
        for group, count in self._census.unowned.items():
            unowned.add_metric([group or "default"], count)
        yield unowned


def _jobs(counts: tuple[JobCount, ...]) -> Iterator[Metric]:
    labels = ["queue", "kind", "state"]
    jobs = GaugeMetricFamily("holdfast_jobs", "Jobs that have not ended", labels=labels)
    age = GaugeMetricFamily(
        "holdfast_job_oldest_age_seconds",
        "How long the least recently touched of these jobs has been in its state",
        labels=labels,
    )
    overdue = GaugeMetricFamily(
        "holdfast_jobs_overdue", "Jobs past their deadline that have not ended", labels=labels
    )
    for count in counts:
        values = [count.queue or BOUND, count.kind, count.state.value]
        jobs.add_metric(values, count.jobs)
        age.add_metric(values, count.oldest_s)
        overdue.add_metric(values, count.overdue)
    yield from (jobs, age, overdue)
