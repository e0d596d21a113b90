"""What stacks show to Prometheus: counted in the database, and by the engines themselves."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID, uuid4

import pytest
from prometheus_client import CollectorRegistry
from tests.database import create_database

from holdfast.core.jobs import Done, Fail, Handler, Outcome, Step, StepContext
from holdfast.ops import stack_metrics
from holdfast.ops.stack_metrics import StackCensus, StackCounts
from holdfast.store.model import Job, JobError, JobState, Write
from holdfast.store.pg.database import Database

STACK = """
insert into stack (id, name, project, source, action, status, timeout_s, deadline, root,
                   owner, delegation, deleted_at)
values ($1, $1::uuid::text, 'p', $1, $2, $3, 60, to_timestamp(1), $4, $5, $6,
        case when $7 then to_timestamp(2) end)
"""


def line(resource: UUID | None, status: str, kind: str = "stack_event") -> Write:
    values = {"resource": resource, "action": "CREATE", "status": status}
    return Write(verb="insert", kind=kind, id=uuid4(), values=cast("Any", values))


class Played:
    """A handler whose step ends as it was told."""

    kind = "stack.resource"
    cleanup = ()

    def __init__(self, outcome: Outcome) -> None:
        self._outcome = outcome
        self.steps = (Step(name="work", run=self._work, timeout_s=7.0, retry_s=8.0),)

    async def _work(self, ctx: StepContext) -> Outcome:
        return self._outcome

    def closing(self, job: Job, error: JobError, now: float) -> tuple[Write, ...]:
        return (line(UUID(int=1), "FAILED"),)

    def ended(self, obj: Any, job: Job, state: JobState, error: JobError | None) -> Any:
        raise LookupError

    def trouble(self, error: JobError) -> Any:
        raise LookupError


class Bench:
    """One counted handler, and what it shows."""

    def __init__(self, outcome: Outcome) -> None:
        self.registry = CollectorRegistry()
        played = {"stack.resource": cast("Handler", Played(outcome))}
        [self.handler] = StackCounts(self.registry).around(played).values()

    async def run(self, started: float | None = None) -> Outcome:
        memo = {} if started is None else {"started": started}
        ctx = SimpleNamespace(job=SimpleNamespace(memo=memo), now=100.0)
        return await self.handler.steps[0].run(cast("StepContext", ctx))

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, {"action": "CREATE", **labels})


async def test_operations_and_stacks_are_counted_as_they_end_and_not_as_they_begin():
    row = UUID(int=1)
    writes = (
        line(row, "IN_PROGRESS"),
        line(row, "COMPLETE"),
        line(row, "COMPLETE", "stack_resource"),
        line(None, "FAILED"),
    )
    bench = Bench(Done(writes=writes))
    assert await bench.run() == Done(writes=writes)
    assert bench.value("holdfast_stack_operations_total", status="COMPLETE") == 1
    assert bench.value("holdfast_stack_ends_total", status="FAILED") == 1
    assert bench.value("holdfast_stack_operations_total", status="IN_PROGRESS") is None


async def test_an_operation_lasts_from_when_it_was_first_in_progress():
    bench = Bench(Done(writes=(line(UUID(int=1), "COMPLETE"),)))
    await bench.run(started=70.0)
    lasted = bench.value("holdfast_stack_operation_seconds_sum")
    assert lasted is not None
    assert 30 <= lasted < 31


async def test_a_failure_is_counted_once_where_its_lines_are_written():
    bench = Bench(Fail(code="x", message="y"))
    await bench.run()
    assert bench.value("holdfast_stack_operations_total", status="FAILED") is None
    job = cast("Job", SimpleNamespace(memo={"started": 90.0}))
    [written] = bench.handler.closing(job, JobError(code="x", message="y"), 100.0)
    assert written.values["status"] == "FAILED"
    assert bench.value("holdfast_stack_operations_total", status="FAILED") == 1
    assert bench.value("holdfast_stack_operation_seconds_sum") == 10


def test_a_counted_handler_is_otherwise_the_same():
    handler = Bench(Done()).handler
    [step] = handler.steps
    assert (handler.kind, step.name, step.timeout_s, step.retry_s) == (
        "stack.resource",
        "work",
        7.0,
        8.0,
    )


async def test_stacks_are_counted_by_status_and_those_past_their_deadline(
    monkeypatch: pytest.MonkeyPatch,
):
    async with await Database.open(await create_database()) as db:
        await _fill(db)
        census = StackCensus(db)
        assert list(census.collect()) == []
        await census.count()
    stacks, overdue = census.collect()
    found = {(s.labels["action"], s.labels["status"]): s.value for s in stacks.samples}
    assert found == {("CREATE", "COMPLETE"): 1, ("UPDATE", "IN_PROGRESS"): 1}
    assert [sample.value for sample in overdue.samples] == [2]
    monkeypatch.setattr(stack_metrics, "STALE_S", -1.0)
    assert list(census.collect()) == []


async def _fill(db: Database) -> None:
    """One that is well, one overdue with an overdue one nested in it, one that is deleted."""
    delegation = uuid4()
    await db.execute(
        "insert into delegation (id, user_id, user_name, project_id, project_name) "
        "values ($1, 'u', 'u', 'p', 'p')",
        delegation,
    )
    well, late, inner, gone = (uuid4() for _ in range(4))
    for key, action, status, owner, deleted in (
        (well, "CREATE", "COMPLETE", None, False),
        (late, "UPDATE", "IN_PROGRESS", None, False),
        (inner, "UPDATE", "IN_PROGRESS", uuid4(), False),
        (gone, "DELETE", "COMPLETE", None, True),
    ):
        root, by = (late, None) if owner else (key, delegation)
        await db.execute(STACK, key, action, status, root, owner, by, deleted)
