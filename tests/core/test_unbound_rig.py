"""The rig for unbound jobs is itself tested: good handlers pass, each kind of bad one is caught."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, ClassVar
from uuid import UUID, uuid5

import pytest
from tests.core.queues import Kind
from tests.core.unbound_rig import Death, Scenario, check, play

from holdfast.core.jobs import Done, Handler, Outcome, Sleep, StepContext
from holdfast.sim.memstore import MemStore
from holdfast.store.model import JobState, QueuedJob, Write
from holdfast.store.port import Store

ROOT = UUID(int=1)


class Shop(Scenario):
    """A job orders things by name, once each; then it has children who pack them, in turn."""

    products: ClassVar = {"parcel": ("content", "packed_at")}
    volatile: ClassVar = ("packed_at",)

    def __init__(self) -> None:
        self.orders: list[str] = []  # the world outside

    def handlers(self, store: Store) -> Iterable[Handler]:
        async def order(ctx: StepContext) -> Outcome:
            await asyncio.sleep(0.05)
            ctx.guard()
            if "book" not in self.orders:
                self.orders.append("book")
            return Done(output={"ordered": "book"})

        async def wait(ctx: StepContext) -> Outcome:
            if ctx.memo.get("waited"):
                return Done(memo={})
            return Sleep(seconds=2.0, memo={"waited": True})

        async def spread(ctx: StepContext) -> Outcome:
            children = [uuid5(ctx.job.id, str(n)) for n in range(3)]
            await store.enqueue(
                [
                    QueuedJob(
                        id=child, kind="pack", queue="work", args={"n": n}, exclusive=("table",)
                    )
                    for n, child in enumerate(children)
                ],
                parent=ctx.job.id,
            )
            return Done(output={"children": len(children)})

        async def pack(ctx: StepContext) -> Outcome:
            await asyncio.sleep(0.1)
            return Done(writes=(self.parcel(ctx),))

        return [Kind("shop", order, wait, spread), Kind("pack", pack)]

    def parcel(self, ctx: StepContext) -> Write:
        values = {"content": ctx.args["n"], "packed_at": ctx.now}
        return Write(verb="insert", kind="parcel", id=uuid5(ctx.job.id, "parcel"), values=values)

    async def begin(self, store: MemStore) -> None:
        await store.enqueue([QueuedJob(id=ROOT, kind="shop", queue="work")])

    def outcome(self, store: MemStore) -> object:
        return self.orders


def test_handlers_that_converge_pass() -> None:
    run = check(Shop)
    assert run.states() == {JobState.SUCCEEDED}
    assert [row["content"] for row in run.rows["parcel"].values()] == [0, 1, 2]
    assert run.outcome == ["book"]
    assert len(run.jobs) == 4
    assert run.ends == 7  # three steps, one sleep, three children


def test_the_scenario_acts_from_outside_meanwhile() -> None:
    class Cancelled(Shop):
        async def meanwhile(self, store: MemStore) -> None:
            await asyncio.sleep(1)
            await store.cancel(ROOT)

    run = play(Cancelled)
    assert run.states() == {JobState.CANCELLED}


class OrdersAgain(Shop):
    """Does not look before it orders."""

    def handlers(self, store: Store) -> Iterable[Handler]:
        async def order(ctx: StepContext) -> Outcome:
            self.orders.append("book")
            return Done()

        return [Kind("shop", order)]


class ForgetsOnRestart(Shop):
    """Keeps in memory what the next worker will not know."""

    def handlers(self, store: Store) -> Iterable[Handler]:
        known: dict[str, Any] = {}

        async def choose(ctx: StepContext) -> Outcome:
            known["book"] = "red"
            return Done()

        async def order(ctx: StepContext) -> Outcome:
            self.orders[:] = [known.get("book", "any")]
            return Done()

        return [Kind("shop", choose, order)]


class NewIdsEachTime(Shop):
    """Its children are others whenever the step is executed."""

    def handlers(self, store: Store) -> Iterable[Handler]:
        async def spread(ctx: StepContext) -> Outcome:
            child = uuid5(ctx.job.id, str(ctx.resumed))
            await store.enqueue([QueuedJob(id=child, kind="pack", queue="work", args={"n": 1})])
            return Done()

        async def pack(ctx: StepContext) -> Outcome:
            return Done(writes=(self.parcel(ctx),))

        return [Kind("shop", spread), Kind("pack", pack)]


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (OrdersAgain, "executed twice: the outcome differ"),
        (ForgetsOnRestart, "died after end 0 of 2: the outcome differ"),
        (NewIdsEachTime, "executed twice: the jobs differ"),
    ],
)
def test_handlers_that_do_not_are_caught(bad: type[Scenario], said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        check(bad)


def test_a_death_before_the_end_repeats_the_step_and_one_after_it_does_not() -> None:
    assert play(OrdersAgain, Death(0, "before")).outcome == ["book", "book"]
    assert play(OrdersAgain, Death(0, "after")).outcome == ["book"]


def test_jobs_that_never_end_are_found_by_the_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.core.unbound_rig.TIME_LIMIT_S", 60.0)

    class Endless(Shop):
        def handlers(self, store: Store) -> Iterable[Handler]:
            async def wait(ctx: StepContext) -> Outcome:
                return Sleep(seconds=1.0)

            return [Kind("shop", wait)]

    with pytest.raises(TimeoutError):
        play(Endless)
