"""Graphs and reservations in memory: what ``store.pg.graph`` does with rows.

The rules themselves are those of ``store.graph``, for both.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from uuid import UUID

from msgspec.structs import replace

from holdfast.errors import ConflictError, NotFoundError
from holdfast.sim.memtables import Node, Tables, as_json
from holdfast.store.graph import (
    EVERYBODY,
    Edge,
    EdgeKind,
    Entry,
    Known,
    Place,
    Tail,
    Want,
    check_child,
    checked,
    dependency_failed,
    enter,
    outside,
    reserved,
)
from holdfast.store.model import Job, JobState, QueuedJob

TURN_MAX = 500
STARTED = (JobState.QUEUED, JobState.RUNNING, JobState.WAITING)


class MemGraph:
    """What comes before what. Every method runs without giving way."""

    def __init__(self, tables: Tables) -> None:
        self._t = tables

    async def enqueue(self, jobs: Sequence[QueuedJob], *, parent: UUID | None = None) -> int:
        batch = checked(jobs)
        holder = EVERYBODY if parent is None else self._holder(parent, batch)
        new = [job for job in batch if not self._is_there(job)]
        if not new:
            return 0
        outer = outside(batch)
        missing = sorted(job for job in outer if job not in self._t.jobs)
        if missing:
            raise NotFoundError(f"job {missing[0]}, which others come after, does not exist")
        if parent is not None:
            self._check_parent(self._t.jobs[parent])
        there = outer | {job.id for job in batch if job.id in self._t.jobs}
        entries, edges = enter(new, {job: self._known(job) for job in there}, parent)
        at_once = {job.id for job in batch if not (job.after or job.after_end)}
        for n, entry in enumerate(entries):
            self._add(entry, parent, holder, n - len(entries))
        for edge in edges:
            self._connect(edge)
        self._reserve([e.job.id for e in entries if e.reserving and e.job.id in at_once])
        self.move_on([entry.job.id for entry in entries if entry.reserving])
        self.hint_queues(entry.job.queue for entry in entries)
        return len(new)

    def hint_queues(self, queues: Iterable[str]) -> None:
        """Tell the workers of these queues."""
        for queue in sorted(set(queues)):
            self._t.hint(f"queue.{queue}")

    # -- new jobs -----------------------------------------------------------------

    def _holder(self, parent: UUID, batch: Iterable[QueuedJob]) -> UUID:
        found = self._t.jobs.get(parent)
        if found is None or found.queue is None:
            raise NotFoundError(f"job {parent}, the parent, is not there, or not unbound")
        own = bool(found.exclusive or found.shared)
        holder = parent if own else self._t.nodes[parent].holder
        reserves = self._t.jobs.get(holder)
        if reserves is not None:
            for job in batch:
                check_child(job, reserves.exclusive, reserves.shared)
        return holder

    def _is_there(self, job: QueuedJob) -> bool:
        known = self._t.jobs.get(job.id)
        if known is not None and (known.kind, known.queue) != (job.kind, job.queue):
            raise ConflictError(
                f"the id {job.id} is that of another job ({known.kind}); choose a new one",
                kind="job_id",
                job=job.id,
            )
        return known is not None

    @staticmethod
    def _check_parent(job: Job) -> None:
        if not job.attempts or job.state.ended:
            raise ConflictError(
                f"job {job.id} is {job.state}: only a job that has begun, and not ended, "
                "has children",
                kind="parent",
                job=job.id,
            )

    def _known(self, job: UUID) -> Known:
        found = self._t.jobs[job]
        return Known(found.state, self._has_passed(job), found.parent)

    def _add(self, entry: Entry, parent: UUID | None, holder: UUID, back: int) -> None:
        now, new = self._t.clock(), entry.job
        self._t.nodes[new.id] = Node(
            holder=holder,
            line=(now, self._t.next_line()),
            reserving=entry.reserving,
            passed=entry.passed,
        )
        self._t.jobs[new.id] = Job(
            id=new.id,
            kind=new.kind,
            binding=None,
            args=as_json(new.args),
            state=entry.state,
            step=None,
            attempt=0,
            step_open=False,
            memo={},
            inbox={},
            signal_seq=0,
            wake_at=None,
            deadline=None if new.deadline_s is None else now + new.deadline_s,
            cancel_requested=False,
            run_epoch=None,
            progress_done=0,
            progress_total=0,
            progress_message="",
            result=None,
            error=entry.error,
            requested_by=new.requested_by,
            created_at=now + (back + 1) * 1e-6,
            updated_at=now,
            finished_at=now if entry.state.ended else None,
            queue=new.queue,
            remaining=entry.remaining,
            parent=parent,
            exclusive=new.exclusive,
            shared=new.shared,
        )

    # -- edges --------------------------------------------------------------------

    def _connect(self, edge: Edge) -> None:
        """An edge whose count at ``succ`` is written already, unless that is a parent."""
        self._t.edges.setdefault(edge.pred, {})[edge.succ] = edge.kind
        self._t.nodes.setdefault(edge.pred, Node())
        succ = self._t.jobs[edge.succ]
        if succ.id == self._t.jobs[edge.pred].parent:
            self._t.jobs[succ.id] = replace(succ, remaining=succ.remaining + 1)

    def _has_passed(self, job: UUID) -> bool:
        """A job that is gone has; one that nobody ever waited for has with its end."""
        found = self._t.jobs.get(job)
        if found is None:
            return True
        node = self._t.nodes.get(job)
        return found.state.ended if node is None else node.passed

    def move_on(self, jobs: Collection[UUID]) -> int:
        """Pass on what those have held up that ended, queue those that want to reserve."""
        moved, todo = 0, list(dict.fromkeys(jobs))
        while todo:
            now, todo = todo[:TURN_MAX], todo[TURN_MAX:]
            for job in now:
                if self._may_pass(job):
                    moved += 1
                    todo += self._pass_on(job)
            moved += self._reserve(now)
        return moved

    def _may_pass(self, job: UUID) -> bool:
        found = self._t.jobs.get(job)
        ended = found is not None and found.state.ended and not found.remaining
        return ended and not self._has_passed(job)

    def _pass_on(self, job: UUID) -> list[UUID]:
        """Open the edges of a job; which of those it leads to have to be moved on."""
        self._t.nodes.setdefault(job, Node()).passed = True
        good = self._t.jobs[job].state is JobState.SUCCEEDED
        due: list[UUID] = []
        for key, kind in self._t.edges.get(job, {}).items():
            succ = self._t.jobs[key]
            state, error, finished_at = succ.state, succ.error, succ.finished_at
            if state is JobState.BLOCKED and kind is EdgeKind.DEPENDENCY and not good:
                state, error = JobState.FAILED, dependency_failed(job)
                finished_at = self._t.clock()
            reserving = self._t.nodes[key].reserving
            if state is JobState.BLOCKED and succ.remaining == 1 and not reserving:
                state = JobState.QUEUED
                self.hint_queues([succ.queue or ""])
            self._t.jobs[key] = replace(
                succ,
                state=state,
                error=error,
                finished_at=finished_at,
                remaining=succ.remaining - 1,
                updated_at=self._t.clock(),
            )
            if state not in STARTED and succ.remaining == 1:
                due.append(key)
        return due

    # -- reservations -------------------------------------------------------------

    def _reserve(self, jobs: Iterable[UUID]) -> int:
        """Queue for resources whichever of these jobs shall; how many."""
        found = [self._t.jobs[job] for job in jobs if job in self._t.nodes]
        ready = [
            job
            for job in found
            if job.state is JobState.BLOCKED
            and self._t.nodes[job.id].reserving
            and not job.remaining
        ]
        ready.sort(key=lambda job: self._t.nodes[job.id].line)
        wants = [
            Want(job.id, self._t.nodes[job.id].holder, job.exclusive, job.shared) for job in ready
        ]
        before = reserved(wants, *self._tails(wants))
        for job in ready:
            preds = before[job.id]
            for pred in preds:
                self._connect(Edge(pred, job.id, EdgeKind.RESERVATION))
            self._t.nodes[job.id].reserving = False
            state = JobState.BLOCKED if preds else JobState.QUEUED
            self._t.jobs[job.id] = replace(job, state=state, remaining=len(preds))
            self.hint_queues([job.queue or ""])
        return len(ready)

    def _tails(self, wants: Sequence[Want]) -> tuple[Mapping[Place, Tail], set[UUID]]:
        places = [place for want in wants for place, _ in want.places()]
        tails = {place: self._t.tails.setdefault(place, Tail()) for place in places}
        for tail in tails.values():
            tail.shared = [job for job in tail.shared if not self._has_passed(job)]
        named = Counter(job for tail in tails.values() for job in tail.jobs)
        return tails, {job for job in named if self._has_passed(job)}
