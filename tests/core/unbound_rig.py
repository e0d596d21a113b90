"""The generic job tests for unbound jobs (reliability.md, "Generic job tests").

A ``Scenario`` says which handlers there are, which jobs to enqueue and what must not
depend on faults. ``check`` plays it on the virtual loop over the store in memory:

- undisturbed;
- with a worker that dies right after each end of a step in turn (and each sleep), its
  answer lost;
- with a worker that dies right before each of them, so that the step is executed again;
- once with every step executed twice on end, its first outcome lost.

and compares how each ended: the jobs, the rows written with them, and whatever else the
scenario shows, above all its outside world. Each dead worker is followed by another one.

    class Shipping(Scenario):
        def __init__(self) -> None:
            self.harbour = Harbour()          # the world outside: it outlives every worker

        def handlers(self, store: Store) -> Iterable[Handler]:
            return [ship_handler(store, self.harbour)]   # made anew for every worker

        async def begin(self, store: MemStore) -> None:
            await store.enqueue([QueuedJob(id=UUID(int=1), kind="ship", queue="work")])

        def outcome(self, store: MemStore) -> object:
            return self.harbour.ships

    def test_ships_arrive_once() -> None:
        run = check(Shipping)
        assert run.states() == {JobState.SUCCEEDED}

Ids should follow from what they are for (``uuid5``), as they have to for the handlers' own
sake; what is random or a time belongs into ``volatile``.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal, NoReturn, cast
from uuid import UUID, uuid5

import msgspec
from tests.core.queues import LoopClock, Waker

from holdfast.core.jobs import Handler, Outcome, Step, StepContext
from holdfast.core.members import Membership
from holdfast.core.queue_worker import QueueWorker
from holdfast.core.settings import CoreSettings
from holdfast.sim.loop import PROCESS, Life, Process, SimLoop
from holdfast.sim.memstore import MemStore
from holdfast.store.model import Hold, Job, JobState, Json, MemberSpec, StepEnd, StepSleep
from holdfast.store.port import Store

SETTINGS = CoreSettings(lease_s=3.0, lease_margin_s=0.6)
LATENCY_S = 0.003
TIME_LIMIT_S = 3_600.0
MEMBERS = UUID(int=0x5EED)

When = Literal["after", "before"]


class Scenario(ABC):
    """What is to be played; made anew for every run. All but the abstract is optional."""

    queues: ClassVar[Mapping[str, int]] = {"work": 4}  # how many of each one worker runs
    products: ClassVar[Mapping[str, Collection[str]]] = {}  # kinds of rows -> their columns
    volatile: ClassVar[Collection[str]] = ()  # columns that may differ between runs

    @abstractmethod
    def handlers(self, store: Store) -> Iterable[Handler]:
        """The handlers of one worker, whose store this is: it dies with the worker."""

    @abstractmethod
    async def begin(self, store: MemStore) -> None:
        """Enqueue what is to be done. Runs once, before any worker is there."""

    def outcome(self, store: MemStore) -> object:
        """What else must not depend on faults."""
        del store
        return None

    async def meanwhile(self, store: MemStore) -> None:
        """Whatever happens from outside while the jobs run: signals, cancellations."""
        del store


class Ended(msgspec.Struct, frozen=True):
    """How one job ended, as it must not depend on faults."""

    id: UUID
    kind: str
    state: JobState
    code: str | None
    result: Json


class Run(msgspec.Struct, frozen=True):
    """One run's end. ``ends``: how many ends of steps were written (sleeps counted).

    ``died``: whether a worker met the death it was to have.
    """

    jobs: tuple[Ended, ...]
    rows: dict[str, dict[UUID, dict[str, Json]]]
    outcome: object
    ends: int
    died: bool

    def states(self) -> set[JobState]:
        return {job.state for job in self.jobs}

    def same_as(self, other: Run) -> bool:
        """Equal in all that must not depend on faults."""
        return (self.jobs, self.rows, self.outcome) == (other.jobs, other.rows, other.outcome)


class Death(msgspec.Struct, frozen=True):
    """The worker that writes the end of a step number ``at`` (from 0) dies ``when`` it does."""

    at: int
    when: When


class Counter:
    """Counts the ends of steps over all workers of a run, and strikes at one of them."""

    def __init__(self, death: Death | None) -> None:
        self.death = death
        self.ends = 0
        self.struck = False

    def strikes(self, ends: int) -> When | None:
        """Whether it is among the next ``ends``."""
        first, self.ends = self.ends, self.ends + ends
        if self.death is not None and first <= self.death.at < self.ends:
            self.struck = True
            return self.death.when
        return None


class MortalStore:
    """The store as one worker reaches it: over a wire, and no longer than it lives."""

    def __init__(self, store: MemStore, process: Process, counter: Counter) -> None:
        self._store = store
        self._process = process
        self._counter = counter

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)

        async def call(*args: Any, **more: Any) -> Any:
            await asyncio.sleep(LATENCY_S)
            return await method(*args, **more)

        return call

    async def end_many(self, hold: Hold, ends: Sequence[tuple[UUID, StepEnd]]) -> set[UUID]:
        await asyncio.sleep(LATENCY_S)
        strike = self._counter.strikes(len(ends))
        if strike == "before":
            await self._die()
        done = await self._store.end_many(hold, ends)
        if strike == "after":
            await self._die()
        return done

    async def sleep_step(self, fence: Hold, job: UUID, sleep: StepSleep) -> Job:
        await asyncio.sleep(LATENCY_S)
        strike = self._counter.strikes(1)
        if strike == "before":
            await self._die()
        asleep = await self._store.sleep_step(fence, job, sleep)
        if strike == "after":
            await self._die()
        return asleep

    async def _die(self) -> NoReturn:
        loop = cast("SimLoop", asyncio.get_running_loop())
        assert PROCESS.get() is self._process
        loop.crash(self._process)
        await loop.create_future()
        raise AssertionError("nobody comes back from here")


class Twice:
    """A handler each of whose steps is executed twice on end; the first outcome is lost."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self.steps = tuple(map(_twice, handler.steps))
        self.cleanup = tuple(map(_twice, handler.cleanup))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._handler, name)


def _twice(step: Step) -> Step:
    async def run(ctx: StepContext) -> Outcome:
        await step.run(ctx)
        return await step.run(msgspec.structs.replace(ctx, resumed=True))

    return msgspec.structs.replace(step, run=run)


class House:
    """The workers of one run, one after the other."""

    def __init__(self, scenario: Scenario, death: Death | None, *, twice: bool) -> None:
        self.scenario = scenario
        self.loop = SimLoop(5)
        self.store = MemStore(self.loop.time, {}, products=scenario.products)
        self.counter = Counter(death)
        self.workers = 0
        self._twice = twice

    def start(self) -> Process:
        """A fresh worker in a process of its own."""
        self.workers += 1
        process = Process(f"worker-{self.workers}")
        store = cast("Store", MortalStore(self.store, process, self.counter))
        made = list(self.scenario.handlers(store))
        if self._twice:
            made = [cast("Handler", Twice(handler)) for handler in made]
        spec = MemberSpec(
            id=uuid5(MEMBERS, process.name), role="worker", slot=process.name, host="host"
        )
        clock = LoopClock(self.loop)
        worker = QueueWorker(
            store,
            Membership(store, spec, SETTINGS, clock),
            lambda: {handler.kind: handler for handler in made},
            self.scenario.queues,
            SETTINGS,
            clock,
            Waker(),
        )
        self.loop.spawn(process, worker.run())
        return process

    async def main(self) -> None:
        await self.scenario.begin(self.store)
        outside = asyncio.create_task(self.scenario.meanwhile(self.store))
        process = self.start()
        while not outside.done() or self.jobs_left():
            if process.life is Life.DEAD:
                process = self.start()
            await asyncio.sleep(0.1)
        await outside
        await asyncio.sleep(2 * SETTINGS.lease_s)  # nothing more may come
        assert not self.jobs_left()

    def jobs_left(self) -> bool:
        return any(not job.state.ended for job in self.store.tables.jobs.values())

    def result(self) -> Run:
        tables = self.store.tables
        return Run(
            jobs=tuple(_ended(tables.jobs[key]) for key in sorted(tables.jobs)),
            rows={
                kind: {key: self._lasting(row) for key, row in rows.items()}
                for kind, rows in tables.products.items()
            },
            outcome=self.scenario.outcome(self.store),
            ends=self.counter.ends,
            died=self.counter.struck,
        )

    def _lasting(self, row: dict[str, Json]) -> dict[str, Json]:
        return {name: value for name, value in row.items() if name not in self.scenario.volatile}


def _ended(job: Job) -> Ended:
    return Ended(job.id, job.kind, job.state, job.error and job.error.code, job.result)


def play(make: Callable[[], Scenario], death: Death | None = None, *, twice: bool = False) -> Run:
    """One run to its end; every job must end within an hour of virtual time."""
    house = House(make(), death, twice=twice)
    try:
        house.loop.run(asyncio.wait_for(house.main(), TIME_LIMIT_S))
        assert house.loop.errors == []
        return house.result()
    finally:
        house.loop.close()


def check(make: Callable[[], Scenario]) -> Run:
    """Play undisturbed and with every fault; returns the undisturbed run."""
    undisturbed = play(make)
    assert undisturbed.ends >= 1, "there is nothing to disturb"
    compare(undisturbed, play(make, twice=True), "each step executed twice")
    for at in range(undisturbed.ends):
        for when in ("before", "after"):
            run = play(make, Death(at, when))
            assert run.died, f"nobody died {when} end {at}"
            compare(undisturbed, run, f"a worker died {when} end {at} of {undisturbed.ends}")
    return undisturbed


def compare(expected: Run, run: Run, fault: str) -> None:
    """Fail, naming the fault, unless both runs ended alike."""
    for part in ("jobs", "rows", "outcome"):
        there, wanted = getattr(run, part), getattr(expected, part)
        assert there == wanted, f"{fault}: the {part} differ"
