"""Random lives of graphs: who enqueues, claims, ends, cancels and dies, and what must hold then.

A schedule is a list of actions whose numbers are taken modulo what there is, so that any
list makes sense and hypothesis can shorten it. ``Play`` acts one out on a store and checks
each claim against its own, much simpler idea of what is before what.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid5

from hypothesis import strategies as st
from msgspec import Struct
from tests.store.lines import Line
from tests.store.stores import Bench

from holdfast.store.model import HeldJob, Hold, JobState, QueuedJob, StepEnd, StepSleep

WORKERS = 3
RESOURCES = ("a", "b", "c")
ROUNDS_MAX = 500
NAMESPACE = UUID(int=3)

number = st.integers(0, 50)
names = st.lists(st.sampled_from(RESOURCES), max_size=2, unique=True).map(tuple)


class New(Struct, frozen=True):
    """A job to enqueue; what it comes after is told by numbers."""

    after: tuple[int, ...]
    after_end: tuple[int, ...]
    exclusive: tuple[str, ...]
    shared: tuple[str, ...]
    expires: bool


few = st.lists(number, max_size=2).map(tuple)
new = st.builds(New, few, few, names, names, st.booleans())
Action = tuple[Any, ...]
enqueue = st.tuples(st.just("enqueue"), st.lists(new, min_size=2, max_size=6))
claim = st.tuples(st.just("claim"), number, st.integers(1, 4))
action: st.SearchStrategy[Action] = st.one_of(
    enqueue,
    claim,
    claim,
    st.tuples(st.just("children"), number, st.lists(new, min_size=1, max_size=3)),
    st.tuples(st.just("end"), number, st.integers(1, 3), st.booleans()),
    st.tuples(st.just("sleep"), number),
    st.tuples(st.just("cancel"), number),
    st.tuples(st.just("die"), number),
    st.tuples(st.just("expire")),
)
schedule = st.tuples(st.lists(enqueue, min_size=2, max_size=3), st.lists(action, min_size=12)).map(
    lambda parts: [*parts[0], *parts[1]]
)


class Seen(Struct):
    """A job as the test knows it."""

    job: QueuedJob
    number: int
    parent: UUID | None
    scope: UUID | None  # the nearest ancestor that reserves something
    begun: bool = False
    failed: bool = False
    ended: bool = False
    held: HeldJob | None = None


class Play:
    """One schedule on one store. ``trace``: what can be compared between stores."""

    def __init__(self, bench: Bench) -> None:
        self.line = Line(bench)
        self.store = bench.store
        self.holds: list[Hold] = []
        self.seen: dict[UUID, Seen] = {}
        self.trace: list[Any] = []
        self.deaths = 0

    async def act_out(self, actions: list[Action]) -> None:
        for n in range(WORKERS):
            self.holds.append(await self.line.worker(f"worker-{n}"))
        for what, *how in actions:
            await getattr(self, f"_{what}")(*how)
            await self._look()
        await self._finish()

    # -- actions ------------------------------------------------------------------

    def _nth(self, n: int, among: list[Seen]) -> Seen | None:
        return among[n % len(among)] if among else None

    def _running(self) -> list[Seen]:
        return [seen for seen in self.seen.values() if seen.held is not None]

    async def _enqueue(self, batch: list[New]) -> None:
        there = [seen.job.id for seen in self.seen.values() if seen.parent is None]
        await self._put(batch, there, None)

    async def _children(self, n: int, batch: list[New]) -> None:
        parent = self._nth(n, self._running())
        if parent is None:
            return
        siblings = [s.job.id for s in self.seen.values() if s.parent == parent.job.id]
        await self._put(batch, siblings, parent)

    async def _put(self, batch: list[New], there: list[UUID], parent: Seen | None) -> None:
        scope = self._scope(parent)
        made: list[QueuedJob] = []
        for one in batch:
            key = uuid5(NAMESPACE, str(len(self.seen) + len(made)))
            before = [*there, *(job.id for job in made)]
            exclusive, shared = self._allowed(one, scope)
            made.append(
                QueuedJob(
                    id=key,
                    kind="tiny",
                    queue="work",
                    after=tuple(before[n % len(before)] for n in one.after) if before else (),
                    after_end=tuple(before[-1 - n % len(before)] for n in one.after_end)
                    if before
                    else (),
                    exclusive=exclusive,
                    shared=shared,
                    deadline_s=1_000.0 if one.expires else None,
                )
            )
        await self.store.enqueue(made, parent=None if parent is None else parent.job.id)
        for job in made:
            self.seen[job.id] = Seen(
                job=job,
                number=len(self.seen),
                parent=None if parent is None else parent.job.id,
                scope=scope,
            )

    def _scope(self, parent: Seen | None) -> UUID | None:
        if parent is None:
            return None
        own = parent.job.exclusive or parent.job.shared
        return parent.job.id if own else parent.scope

    def _allowed(self, one: New, scope: UUID | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
        if scope is None:
            return one.exclusive, one.shared
        holder = self.seen[scope].job
        both = {*holder.exclusive, *holder.shared}
        exclusive = tuple(name for name in one.exclusive if name in holder.exclusive)
        return exclusive, tuple(name for name in one.shared if name in both)

    async def _claim(self, worker: int, room: int) -> None:
        hold = self.holds[worker % WORKERS]
        for held in await self.line.claim(hold, room):
            seen = self.seen[held.job.id]
            self.trace.append(("claimed", seen.number, held.resumed))
            assert seen.held is None, f"{seen.number} runs twice"
            assert not seen.ended
            if not seen.begun:
                self._check_turn(seen)
            seen.begun, seen.held = True, held

    async def _end(self, n: int, count: int, good: bool) -> None:
        first = self._nth(n, self._running())
        if first is None or first.held is None:
            return
        hold = first.held.hold
        batch = [seen for seen in self._running() if seen.held and seen.held.hold == hold][:count]
        state = JobState.SUCCEEDED if good else JobState.FAILED
        ends = [
            (held.job.id, StepEnd(step="only", attempt=held.job.attempt, state=state))
            for seen in batch
            if (held := seen.held) is not None
        ]
        written = await self.store.end_many(hold, ends)
        assert written == {job for job, _ in ends}
        for seen in batch:
            seen.held = None

    async def _sleep(self, n: int) -> None:
        seen = self._nth(n, self._running())
        if seen is None or seen.held is None:
            return
        held, seen.held = seen.held, None
        sleep = StepSleep(
            step="only",
            attempt=held.job.attempt,
            seen_seq=held.job.signal_seq,
            wake_in_s=10.0,
        )
        await self.store.sleep_step(held.hold, held.job.id, sleep)
        await self.store.signal(held.job.id, "wake", 1)

    async def _cancel(self, n: int) -> None:
        seen = self._nth(n, list(self.seen.values()))
        if seen is not None:
            await self.store.cancel(seen.job.id)

    async def _die(self, worker: int) -> None:
        n = worker % WORKERS
        hold = self.holds[n]
        await self.store.end_lease(hold.owner, hold.epoch, "killed")
        self.deaths += 1
        self.holds[n] = await self.line.worker(f"worker-{n}-{self.deaths}")
        for seen in self._running():
            if seen.held is not None and seen.held.hold == hold:
                seen.held = None
        await self.store.tend()

    async def _expire(self) -> None:
        await self.line.bench.pass_time(1_001.0)
        await self.store.tend()

    # -- what must hold -----------------------------------------------------------

    def _passed(self, key: UUID) -> bool:
        """Ended, with all before it and all its children."""
        seen = self.seen[key]
        before = (*seen.job.after, *seen.job.after_end)
        children = (one.job.id for one in self.seen.values() if one.parent == key)
        return (
            seen.ended
            and all(self._passed(one) for one in before)
            and all(self._passed(one) for one in children)
        )

    def _check_turn(self, seen: Seen) -> None:
        job = seen.job
        for pred in job.after:
            assert self._passed(pred), f"{seen.number} ran before {self.seen[pred].number}"
            assert not self.seen[pred].failed, f"{seen.number} ran after a failure"
        for pred in job.after_end:
            assert self._passed(pred), f"{seen.number} ran before {self.seen[pred].number}"
        for other in self.seen.values():
            if other is seen or other.scope != seen.scope or not _conflict(job, other.job):
                continue
            first = not (other.job.after or other.job.after_end) and other.number < seen.number
            if other.begun or first:
                assert self._passed(other.job.id), f"{seen.number} ran beside {other.number}"

    async def _look(self) -> None:
        """Note how all jobs are."""
        states: list[str] = []
        for seen in self.seen.values():
            job = await self.line.job(seen.job.id)
            assert not (seen.ended and not job.state.ended), "an end was taken back"
            seen.ended = job.state.ended
            seen.failed = job.state.ended and job.state is not JobState.SUCCEEDED
            states.append(f"{job.state} {job.remaining} {job.error and job.error.code}")
        self.trace.append(states)

    async def _finish(self) -> None:
        """Whatever there is comes to its end, once workers do nothing but work."""
        for n in range(ROUNDS_MAX):
            await self.store.tend()
            await self._claim(n, 100)
            running = self._running()
            if running:
                await self._end(0, len(running), good=n % 7 != 6)
            await self._look()
            if all(seen.ended for seen in self.seen.values()):
                break
        else:
            left = [seen.number for seen in self.seen.values() if not seen.ended]
            raise AssertionError(f"jobs {left} do not come to an end")
        assert await self.store.tend() == 0
        assert (await self.store.census()).jobs == ()
        assert all([(await self.line.job(key)).remaining == 0 for key in self.seen])


def _conflict(one: QueuedJob, other: QueuedJob) -> bool:
    mine, others = {*one.exclusive, *one.shared}, {*other.exclusive, *other.shared}
    return bool(mine & set(other.exclusive) or others & set(one.exclusive))
