"""Stacks as metrics: how many there are in which state, and what the engines did (X11, X22).

``StackCensus`` is an API process's, as the census is; ``StackCounts`` an engine's own.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from holdfast.core.jobs import Fail, Handler, Outcome, Step, StepContext
from holdfast.ops.census import STALE_S, keep_counting
from holdfast.stacks.model import Status
from holdfast.stacks.records import EVENT
from holdfast.store.model import Job, JobError, JobState, Json, Write
from holdfast.store.pg.database import Database

COUNT: Final = """
select action, status, count(*) filter (where owner is null) as stacks,
       count(*) filter (where status = 'IN_PROGRESS' and deadline < clock_timestamp()) as overdue
  from stack where deleted_at is null group by action, status
"""
BUCKETS_S: Final = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3600.0)
ENDS: Final = frozenset({Status.COMPLETE, Status.FAILED})


class StackCensus(Collector):
    """Gauges of the last count; none once that is too old to be believed."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._found: list[tuple[str, str, int, int]] = []
        self._counted_at = float("-inf")

    async def keep(self) -> None:
        """Count for ever."""
        await keep_counting(self.count, "stack census")

    async def count(self) -> None:
        """Count now."""
        rows = await self._db.fetch(COUNT)
        self._found = [(r["action"], r["status"], r["stacks"], r["overdue"]) for r in rows]
        self._counted_at = time.monotonic()

    def collect(self) -> Iterator[Metric]:
        if time.monotonic() - self._counted_at > STALE_S:
            return
        stacks = GaugeMetricFamily(
            "holdfast_stacks", "Stacks, nested ones left out", labels=["action", "status"]
        )
        for action, status, count, _ in self._found:
            stacks.add_metric([action, status], count)
        yield stacks
        yield GaugeMetricFamily(
            "holdfast_stacks_overdue",
            "Stacks, nested ones too, that are in progress past their deadline",
            value=sum(overdue for *_, overdue in self._found),
        )


class StackCounts:
    """What one engine has ended, counted by the lines of history that it writes.

    A line whose write is lost with the engine is counted again by the engine that repeats it.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._operations = Counter(
            "holdfast_stack_operations",
            "Operations on resources that have ended",
            ["action", "status"],
            registry=registry,
        )
        self._ends = Counter(
            "holdfast_stack_ends",
            "Actions on stacks that have ended, nested ones included",
            ["action", "status"],
            registry=registry,
        )
        self._lasted = Histogram(
            "holdfast_stack_operation_seconds",
            "How long operations on resources took from their first step",
            ["action"],
            buckets=BUCKETS_S,
            registry=registry,
        )

    def around(self, handlers: Mapping[str, Handler]) -> dict[str, Handler]:
        """The same handlers, counted."""
        return {kind: _Counted(handler, self) for kind, handler in handlers.items()}

    def note(self, writes: Iterable[Write], lasted_s: float) -> None:
        """Count the ends among what is written."""
        for line in writes:
            if line.kind != EVENT or line.values["status"] not in ENDS:
                continue
            labels = [str(line.values["action"]), str(line.values["status"])]
            if line.values["resource"] is None:
                self._ends.labels(*labels).inc()
            else:
                self._operations.labels(*labels).inc()
                self._lasted.labels(labels[0]).observe(lasted_s)


class _Counted:
    """A handler that tells ``StackCounts`` what its steps write. Raises what they raise."""

    def __init__(self, handler: Handler, counts: StackCounts) -> None:
        self._handler = handler
        self._counts = counts
        self.kind = handler.kind
        self.steps = tuple(self._step(step) for step in handler.steps)
        self.cleanup = handler.cleanup

    def _step(self, step: Step) -> Step:
        async def run(ctx: StepContext) -> Outcome:
            began = time.monotonic()
            outcome = await step.run(ctx)
            if not isinstance(outcome, Fail):  # of a failure ``closing`` writes the lines
                lasted_s = time.monotonic() - began + _waited_s(ctx.job, ctx.now)
                self._counts.note(outcome.writes, lasted_s)
            return outcome

        return msgspec.structs.replace(step, run=run)

    def closing(self, job: Job, error: JobError, now: float) -> tuple[Write, ...]:
        writes = self._handler.closing(job, error, now)
        self._counts.note(writes, _waited_s(job, now))
        return writes

    def ended(
        self, obj: Mapping[str, Json], job: Job, state: JobState, error: JobError | None
    ) -> dict[str, Json]:
        return self._handler.ended(obj, job, state, error)

    def trouble(self, error: JobError) -> dict[str, Json]:
        return self._handler.trouble(error)


def _waited_s(job: Job, now: float) -> float:
    """Since an operation was first said to be IN_PROGRESS, if it had to wait at all."""
    started: Any = job.memo.get("started")
    return max(0.0, now - started) if isinstance(started, int | float) else 0.0
