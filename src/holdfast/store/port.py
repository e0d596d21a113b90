"""What the core asks of a store. Every method is one transaction, judged by the store's clock.

Two stores implement this and pass one conformance suite
(``tests/store/test_conformance.py``): ``store.pg.PgStore`` and ``sim.memstore.MemStore``.

Errors, for every method: ``StoreUnavailableError`` when no answer came; whether
the transaction took effect is then *unknown*, and the caller re-reads instead
of repeating blindly. Methods that take a ``Fence`` raise ``FenceLostError`` when
the claim has passed on, or its owner was marked over, and then have written nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol
from uuid import UUID

from holdfast.store.events import EventFilter, EventPage, NewEvent, Order, Position
from holdfast.store.model import (
    Census,
    Claim,
    Fence,
    HeldJob,
    Hold,
    Job,
    JobLimit,
    Json,
    Member,
    MemberSpec,
    ObjectRef,
    OwnedJob,
    QueuedJob,
    Renewal,
    RouteGrant,
    StepEnd,
    StepRecord,
    StepSleep,
    Submission,
)


class MemberStore(Protocol):
    """Members and their leases (architecture: "Members and leases")."""

    async def register(self, spec: MemberSpec, lease_s: float) -> Member:
        """Register a new incarnation with a fresh epoch.

        Raises ``ConflictError`` while an earlier incarnation of ``spec.id`` is not gone.
        """
        ...

    async def renew(self, member: UUID, epoch: int, lease_s: float) -> Renewal | None:
        """Extend the lease, even an expired one; ``None`` once it is marked over."""
        ...

    async def reap(self, still: Collection[tuple[UUID, int, float]] | None = None) -> list[Member]:
        """Mark gone whoever's lease has run out, and return them.

        Marks nobody until a full lease has passed since the database came back
        (a new start time or timeline, noticed by whoever calls this first), and of the
        others only those in ``still``: (id, epoch, lease_until), for as long as the lease
        runs until just then (``core.members.Sightings``; ``None``: whoever it is).
        """
        ...

    async def end_lease(self, member: UUID, epoch: int, reason: str) -> bool:
        """End one incarnation's lease now (an obituary, or a member that leaves)."""
        ...

    async def request_drain(self, member: UUID, *, spare_last: bool = False) -> bool:
        """Ask a member to drain; it learns of it with its next renewal.

        ``spare_last``: not if it is the last of its role and group that is up and was not
        asked before. Of two asked at the same moment, the second one counts without the first.
        """
        ...

    async def mark_draining(self, member: UUID, epoch: int) -> bool:
        """The member itself says that it drains."""
        ...

    async def members(self, role: str | None = None, *, gone: bool = False) -> list[Member]:
        """Members by slot; those that are gone only on request."""
        ...

    async def purge_members(self, keep_s: float, limit: int) -> int:
        """Delete members whose lease ended ``keep_s`` ago; returns how many went.

        Never one that a claim names, or a job that is held under it.
        """
        ...


class ClaimStore(Protocol):
    """Shards and who owns them (architecture: "Claims")."""

    async def ensure_shards(self, group: str, count: int) -> int:
        """Create the group's shards if it has none; returns how many it has (which wins)."""
        ...

    async def groups(self) -> list[str]:
        """All conductor groups that have shards."""
        ...

    async def claims(self, group: str) -> list[Claim]:
        """Every claim of the group, by shard."""
        ...

    async def take(
        self, group: str, shards: Sequence[int], member: UUID, member_epoch: int
    ) -> list[Claim]:
        """Take those of ``shards`` that are free, each with a fresh epoch.

        Free: no owner, or the owner's incarnation is gone. Nothing is taken by a
        member that is itself not ``up``.
        """
        ...

    async def hand_over(self, fences: Sequence[Fence], to: UUID, to_epoch: int) -> list[Claim]:
        """Pass living claims on, with fresh epochs. Skips what is no longer the caller's.

        Nothing passes to a member that is not ``up`` at ``to_epoch``.
        """
        ...


class JobStore(Protocol):
    """Durable jobs (architecture: "Jobs"), those bound to owned objects above all.

    What takes a fence takes the ``Hold`` of an unbound job, too. It is lost once the job
    runs under another, or its member was marked over. Such a job has no object to patch.
    """

    async def submit(self, submission: Submission) -> Job:
        """Write an intent and its job, or raise ``ConflictError`` / ``NotFoundError``.

        Repeating a submission with the same job id returns the job it made. The
        conflict's ``details["kind"]`` is ``state`` (with ``field``, ``actual``,
        ``allowed``), else ``busy`` (with ``job`` and ``job_kind``, the active one), or
        ``job_id`` if that id is another job's.
        """
        ...

    async def acquire(
        self,
        member: UUID,
        member_epoch: int,
        busy: Sequence[UUID],
        limit: int,
        limits: Sequence[JobLimit] = (),
    ) -> list[OwnedJob]:
        """Jobs in the member's shards that want running now, marked ``running``.

        Wanted: queued; waiting and past ``wake_at``; running under an older claim;
        and running under this one (an answer that was lost). Never one of ``busy``:
        those run here already. Oldest first. ``attempts`` counts the claims under
        which the job was run.

        Jobs of the kinds in ``limits`` that were never started are started, in their
        order, only while the member has fewer of them under way; the others are kept
        back (``Job.kept_back``) until a later call. Name the same kinds each time.
        """
        ...

    async def begin_step(self, fence: Fence | Hold, job: UUID, step: str) -> Job:
        """Record that a step is begun (``attempt`` + 1, ``step_open``).

        ``ConflictError`` unless the job is queued or running, and at that step: a
        request long under way must not lead it back.
        """
        ...

    async def end_step(self, fence: Fence | Hold, job: UUID, end: StepEnd) -> Job:
        """Journal a completed step, patch the object, move on; all or nothing.

        Only the attempt in hand can end: begun under this fence, neither ended nor
        asleep; else ``ConflictError``. But to repeat the end of the attempt that was
        journalled last changes nothing and returns the job, so a lost answer may be
        asked for again.
        """
        ...

    async def sleep_step(self, fence: Fence | Hold, job: UUID, sleep: StepSleep) -> Job:
        """Put a step to sleep, or leave it queued if a signal came meanwhile.

        ``signal_seq > seen_seq`` is the only thing that keeps it awake. It sleeps no
        longer than to the deadline, unless that has passed already (its clean-up may
        sleep, too). Who may call it, and repeat it: as ``end_step``.
        """
        ...

    async def progress(
        self, fence: Fence | Hold, job: UUID, done: int, total: int, message: str
    ) -> None:
        """Show progress. Nothing depends on it."""
        ...

    async def signal(self, job: UUID, key: str, payload: Json) -> bool:
        """Leave a payload in the job's inbox and wake it; False if it has ended.

        A waiting job becomes queued.
        """
        ...

    async def cancel(self, job: UUID) -> bool:
        """Ask for cancellation, which is a signal too (``signal_seq`` rises); False if ended.

        Once, and so clean-up steps of a cancelled job can sleep. An unbound job that
        nobody has begun ends at once, but keeps its place before others (``store.graph``).
        """
        ...

    async def job(self, job: UUID) -> Job | None:
        """One job."""
        ...

    async def active_job(self, obj: ObjectRef) -> Job | None:
        """The object's job that has not ended, if any (there is at most one)."""
        ...

    async def jobs(
        self,
        *,
        obj: ObjectRef | None = None,
        queue: str | None = None,
        bound: bool = False,
        active: bool = False,
        limit: int = 100,
    ) -> list[Job]:
        """Jobs, newest first: of an object, of a queue, bound to any object, not ended."""
        ...

    async def journal(self, job: UUID) -> list[StepRecord]:
        """The job's completed steps in order."""
        ...

    async def purge_bound_jobs(self, keep_s: float, limit: int) -> int:
        """Delete bound jobs that ended ``keep_s`` ago; returns how many went."""
        ...


class QueueStore(Protocol):
    """Unbound jobs: graphs of them, what they reserve, and the workers that run them.

    ``store.graph`` says what comes before what.
    """

    async def enqueue(self, jobs: Sequence[QueuedJob], *, parent: UUID | None = None) -> int:
        """Enqueue jobs, all or nothing; those that are there already stay as they are.

        Returns how many are new, so it may be repeated. ``parent``: a job that has begun
        and enqueues its children. Raises ``NotFoundError`` for a job to come after that
        does not exist; ``ConflictError`` (``job_id``: the id is another job's; ``parent``:
        it has ended, or not begun); ``InvalidInputError`` for a circle, names and numbers
        beyond the limits, and what a child may not wait for.
        """
        ...

    async def claim(
        self,
        hold: Hold,
        room: Mapping[str, int],
        first_steps: Mapping[str, str],
        again: Collection[UUID] = (),
    ) -> list[HeldJob]:
        """Claim what is due in these queues, as many as there is room for, first in line first.

        Each is marked ``running`` with its step begun, which is the first of its kind
        where none was. Only of the kinds in ``first_steps``. ``again``: jobs that run under
        this very hold and are handed out again, with their step begun anew: the answer
        that told of them was lost. A member that is gone claims nothing.
        """
        ...

    async def held(self, hold: Hold) -> dict[UUID, bool]:
        """What runs under this hold, and whether its cancellation is asked for."""
        ...

    async def end_many(self, hold: Hold, ends: Sequence[tuple[UUID, StepEnd]]) -> set[UUID]:
        """``end_step`` for many jobs in one transaction; returns those whose end stands.

        Whoever waited only for jobs that end here is queued in the same transaction. The
        end of an attempt that is not in hand under this hold is left out.
        """
        ...

    async def release(self, hold: Hold, jobs: Collection[UUID]) -> int:
        """Queue jobs again that are held and no longer worked on here; returns how many."""
        ...

    async def cancel_under(self, parent: UUID, kinds: Collection[str], *, begun: bool) -> int:
        """Cancel all of these kinds that a job has enqueued, and they in turn.

        What has not begun ends at once. What has is woken if it sleeps, and cancelled,
        too, if ``begun``. Returns how many it touched.
        """
        ...

    async def tend(self, limit: int = 500) -> int:
        """Move on what nobody has, at most so many at a time; returns how many.

        Jobs of members that are gone are queued again; blocked ones past their deadline
        fail; what was held up by somebody's death half way is passed on. For every
        worker to call every now and then.
        """
        ...

    async def waits_for(self, job: UUID, limit: int = 100) -> list[UUID]:
        """Which jobs have to pass before an unbound one; of a parent: its children."""
        ...

    async def purge_jobs(self, keep_s: float, limit: int) -> int:
        """Delete unbound jobs that ended longer ago, at most so many; returns how many."""
        ...


class ObjectStore(Protocol):
    """Owned objects, seen as documents, and the routes to their BMCs."""

    async def get_object(self, obj: ObjectRef) -> dict[str, Json] | None:
        """All fields of an object, or None."""
        ...

    async def owned_objects(
        self,
        kind: str,
        member: UUID,
        member_epoch: int,
        fields: Sequence[str],
        *,
        only: Sequence[UUID] | None = None,
        idle: bool = False,
    ) -> list[tuple[ObjectRef, Fence, dict[str, Json]]]:
        """The objects in a living member's shards with the asked fields (level-triggered).

        ``only`` restricts it to these, ``idle`` to those without an active job.
        """
        ...

    async def patch_object(self, fence: Fence, obj: ObjectRef, patch: Mapping[str, Json]) -> None:
        """Write an object's fields as its owner, outside a job."""
        ...

    async def patch_idle(
        self,
        fence: Fence,
        obj: ObjectRef,
        patch: Mapping[str, Json],
        seen: Mapping[str, Json],
    ) -> bool:
        """As ``patch_object``, but only what was seen before is overwritten.

        False, and nothing is written, if a field of ``seen`` has another value by
        now, or the object has an active job.
        """
        ...

    async def fence_for(self, obj: ObjectRef, member: UUID, member_epoch: int) -> Fence | None:
        """The fence under which the member owns the object now, if it does."""
        ...

    async def grant_route(self, obj: ObjectRef, gateway: UUID, incarnation: UUID) -> RouteGrant:
        """The BMC's route term for this gateway incarnation, with the token floor.

        A new incarnation draws a new term. The floor is read in the same
        transaction: the current claim's epoch, or the epoch drawn when the
        object entered its shard if that is higher. Raises ``ConflictError`` with kind
        "gateway" where the BMC belongs to another gateway.
        """
        ...


class EventStore(Protocol):
    """The event log (``store.events``): the methods above write it, this reads it."""

    async def events(
        self,
        after: Position | None,
        limit: int,
        where: EventFilter | None = None,
        *,
        order: Order = "oldest",
    ) -> EventPage:
        """Events after a position, in the order in which they were committed.

        ``after`` None: from the beginning. With ``order`` "newest" those *before*
        the position, newest first; None: the newest of all. No page ever passes a
        transaction that is still running, so a reader that goes on from
        ``EventPage.position`` misses nothing and sees nothing twice.
        """
        ...

    async def record(self, events: Sequence[NewEvent]) -> None:
        """Write events that belong to no change, such as a login that failed."""
        ...

    async def purge_events(self, keep_s: float, limit: int) -> int:
        """Delete events older than that, oldest first, at most ``limit``; returns how many."""
        ...


class CensusStore(Protocol):
    """The numbers behind the metrics."""

    async def census(self) -> Census:
        """Count members, shards and jobs that have not ended, in one look."""
        ...


class Store(
    CensusStore, MemberStore, ClaimStore, JobStore, QueueStore, ObjectStore, EventStore, Protocol
):
    """All of it: what the core runs on."""


class Waker(Protocol):
    """Hints that something changed. Losing every hint delays work and loses none."""

    async def wait(self, timeout_s: float) -> frozenset[str]:
        """Return at a hint, or empty-handed after ``timeout_s``, whichever is first.

        Says what the hints were about: "jobs", "members", "claims", "events", and
        "queue.<name>" for unbound jobs.
        """
        ...


class Lookout(Protocol):
    """Where hints come to one worker at a time: it wants to know what became of them."""

    def looking(self) -> None:
        """A look begins: it sees all that was hinted at until now."""
        ...

    def looked(self, full: Collection[str]) -> None:
        """What it found is claimed, and committed.

        ``full``: queues without room here; somebody else must look for what is left.
        """
        ...
