"""The rules of graphs and reservations, without a store: what has to end before what.

Both stores read the rows, ask here what follows, and write it in one transaction, so
there is one set of rules. In their words:

- An edge says that one job comes before another. A job is *blocked* while edges lead to it.
- A job's own edges open when it has *passed*: it has ended, and nothing is before it any
  more. So one that is cancelled while it waits keeps its place until it would have run.
- A dependency that opens after anything but a success fails the dependant.
- Once nothing else is before a job it queues for its resources, all at once: behind the
  last exclusive one, or behind every shared one since.
- A child is before the end of its parent's turn: the parent passes when all its children
  have. What the parent reserves a child may reserve in its turn, among its siblings.

No circle can come about. Edges lead from what was there to what is new, but for those
to a parent; and a child waits for nobody who might wait for its parent, since it may
come after siblings only and reserve only what its parent has (unless that has nothing).
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import TypeAlias
from uuid import UUID

import msgspec

from holdfast.errors import InvalidInputError
from holdfast.store.model import JobError, JobState, QueuedJob

BATCH_MAX = 10_000  # jobs enqueued in one transaction
RESOURCES_MAX = 1_000  # of one job
NAME_CHARS_MAX = 500
EVERYBODY = UUID(int=0)  # the holder of resources outside any job

_QUEUE = re.compile(r"[a-z][a-z0-9_-]{0,62}")

Place: TypeAlias = tuple[UUID, str]
"""A resource among those who compete for it: the children of a holder, or everybody."""


class EdgeKind(StrEnum):
    """Why one job is before another."""

    DEPENDENCY = "dependency"
    ORDER = "order"
    RESERVATION = "reservation"


class Edge(msgspec.Struct, frozen=True):
    """``pred`` has to pass before ``succ`` may run (or, being its parent, pass)."""

    pred: UUID
    succ: UUID
    kind: EdgeKind


class Known(msgspec.Struct, frozen=True):
    """A job that is there already, as far as others depend on it."""

    state: JobState
    passed: bool
    parent: UUID | None


class Entry(msgspec.Struct):
    """A new job as it will be written."""

    job: QueuedJob
    state: JobState = JobState.QUEUED
    remaining: int = 0
    successors: int = 0
    reserving: bool = False
    passed: bool = False
    error: JobError | None = None


class Want(msgspec.Struct, frozen=True):
    """What a job reserves, and under which holder."""

    job: UUID
    holder: UUID
    exclusive: tuple[str, ...]
    shared: tuple[str, ...]

    def places(self) -> list[tuple[Place, bool]]:
        """Each resource once, and whether it is wanted exclusively."""
        names = dict.fromkeys(self.shared, False) | dict.fromkeys(self.exclusive, True)
        return [((self.holder, name), alone) for name, alone in names.items()]


class Tail(msgspec.Struct):
    """The end of the queue for one resource."""

    exclusive: UUID | None = None
    shared: list[UUID] = []

    @property
    def jobs(self) -> list[UUID]:
        """Whoever the next one may have to wait for."""
        return self.shared if self.exclusive is None else [self.exclusive, *self.shared]


def checked(jobs: Sequence[QueuedJob]) -> list[QueuedJob]:
    """The jobs, each behind those of the batch that it comes after; otherwise as they came.

    Raises ``InvalidInputError`` for names and numbers beyond the limits, an id that is
    there twice, and a circle.
    """
    if len(jobs) > BATCH_MAX:
        raise InvalidInputError(f"{len(jobs)} jobs at once; enqueue at most {BATCH_MAX}")
    index = {job.id: n for n, job in enumerate(jobs)}
    if len(index) != len(jobs):
        raise InvalidInputError("two of the jobs to enqueue have the same id")
    after: list[list[int]] = [[] for _ in jobs]
    before = [0] * len(jobs)
    for n, job in enumerate(jobs):
        _check_names(job)
        for pred in {*job.after, *job.after_end}:
            if pred in index:
                after[index[pred]].append(n)
                before[n] += 1
    ready = [n for n, count in enumerate(before) if count == 0]
    found: list[QueuedJob] = []
    while ready:
        n = heapq.heappop(ready)
        found.append(jobs[n])
        for succ in after[n]:
            before[succ] -= 1
            if before[succ] == 0:
                heapq.heappush(ready, succ)
    if len(found) != len(jobs):
        stuck = next(jobs[n] for n, count in enumerate(before) if count)
        raise InvalidInputError(f"the jobs depend on each other in a circle, {stuck.id} among them")
    return found


def _check_names(job: QueuedJob) -> None:
    if not _QUEUE.fullmatch(job.queue):
        raise InvalidInputError(f"{job.queue[:70]!r} is no name of a queue: use a-z, 0-9, - and _")
    names = (*job.exclusive, *job.shared)
    if len(names) > RESOURCES_MAX:
        raise InvalidInputError(f"a job reserves {len(names)} resources; at most {RESOURCES_MAX}")
    if any(not name or len(name) > NAME_CHARS_MAX or "\0" in name for name in names):
        raise InvalidInputError(f"a resource's name has 1 to {NAME_CHARS_MAX} characters, no NUL")


def outside(jobs: Iterable[QueuedJob]) -> set[UUID]:
    """The jobs that a batch comes after and that are not in it."""
    listed = list(jobs)
    named = {pred for job in listed for pred in (*job.after, *job.after_end)}
    return named - {job.id for job in listed}


def check_child(job: QueuedJob, exclusive: Collection[str], shared: Collection[str]) -> None:
    """``InvalidInputError`` unless the holder it is under reserves what it wants to."""
    missing = (set(job.exclusive) - set(exclusive)) | (
        set(job.shared) - set(exclusive) - set(shared)
    )
    if missing:
        raise InvalidInputError(
            f"job {job.id} wants {', '.join(sorted(missing))}, which the job it is part of has not "
            "reserved in that way: reserve it there, or the two may wait for each other"
        )


def enter(
    jobs: Sequence[QueuedJob], known: Mapping[UUID, Known], parent: UUID | None
) -> tuple[list[Entry], list[Edge]]:
    """New jobs (as ``checked`` returns them) with the edges that lead to them, and to the parent.

    ``known``: every job they name that is there already. Those that reserve something
    are blocked, even with nothing before them, until ``reserved`` has seen to it.
    ``InvalidInputError`` for a child that comes after anything but siblings.
    """
    strangers = [pred for pred in outside(jobs) if known[pred].parent != parent]
    if parent is not None and strangers:
        raise InvalidInputError(
            f"children of job {parent} may come after each other only, not after {strangers[0]}"
        )
    entries: dict[UUID, Entry] = {}
    edges: list[Edge] = []
    for job in jobs:
        entry = entries[job.id] = Entry(job)
        culprit: UUID | None = None
        kinds = dict.fromkeys(job.after_end, EdgeKind.ORDER)
        kinds |= dict.fromkeys(job.after, EdgeKind.DEPENDENCY)
        for pred, kind in kinds.items():
            before = entries.get(pred) or known[pred]
            if not before.passed:
                edges.append(Edge(pred, job.id, kind))
                entry.remaining += 1
                if isinstance(before, Entry):
                    before.successors += 1
            elif kind is EdgeKind.DEPENDENCY and before.state is not JobState.SUCCEEDED:
                culprit = pred
        if culprit is not None:
            entry.state, entry.error = JobState.FAILED, dependency_failed(culprit)
            entry.passed = entry.remaining == 0
        elif job.exclusive or job.shared:
            entry.state, entry.reserving = JobState.BLOCKED, True
        elif entry.remaining:
            entry.state = JobState.BLOCKED
        if parent is not None and not entry.passed:
            edges.append(Edge(job.id, parent, EdgeKind.ORDER))
            entry.successors += 1
    return list(entries.values()), edges


def reserved(
    wants: Iterable[Want], tails: Mapping[Place, Tail], passed: Collection[UUID]
) -> dict[UUID, list[UUID]]:
    """Queue jobs for all they want, in this order; who is before each of them.

    ``tails`` (one for every place) become those behind them. ``passed``: which of the
    jobs in the tails have passed, or are no longer there.
    """
    before: dict[UUID, list[UUID]] = {}
    for want in wants:
        found: set[UUID] = set()
        for place, alone in want.places():
            tail = tails[place]
            last = tail.exclusive
            exclusive = [] if last is None or last in passed else [last]
            if alone:
                # The shared ones are behind the exclusive one themselves.
                found.update([one for one in tail.shared if one not in passed] or exclusive)
                tail.exclusive, tail.shared = want.job, []
            else:
                found.update(exclusive)
                tail.shared.append(want.job)
        before[want.job] = sorted(found)
    return before


def dependency_failed(pred: UUID) -> JobError:
    """Why a job ends that was never run: one that it depends on did not succeed."""
    return JobError(
        code="dependency_failed", message=f"job {pred}, which this one depends on, did not succeed"
    )
