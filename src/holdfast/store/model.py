"""The rows of the core, as values. All are immutable; times are epoch seconds (float, UTC).

Shapes only: no I/O and no decision lives here. PostgreSQL (``store.pg``) and the
simulator's store (``sim.memstore``) both speak in these values.
"""

from __future__ import annotations

from enum import StrEnum
from math import inf
from typing import Any, Literal, TypeAlias
from uuid import UUID

import msgspec

Json: TypeAlias = Any  # a JSON document, decoded; its shape is its owner's business


class MemberState(StrEnum):
    """A member's life: ``up`` -> ``draining`` -> ``gone``. Only the database decides ``gone``."""

    UP = "up"
    DRAINING = "draining"
    GONE = "gone"


class MemberSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What a process says of itself when it registers."""

    id: UUID
    role: str  # api | conductor | rack | ...
    slot: str  # a name stable over restarts, for people: "conductor-1"
    host: str
    zone: str = "default"
    group: str = ""  # conductor group; "" is the default group
    version: str = ""
    address: str = ""


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """One incarnation of a process. ``epoch`` is drawn anew at each registration."""

    id: UUID
    role: str
    slot: str
    host: str
    zone: str
    group: str
    version: str
    address: str
    epoch: int
    state: MemberState
    drain_requested: bool
    lease_until: float
    registered_at: float
    gone_reason: str | None = None


class Renewal(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a successful renewal."""

    state: MemberState
    drain_requested: bool


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """The truth about one shard. ``owner is None`` or an owner that is gone: free."""

    group: str
    shard: int
    owner: UUID | None
    incarnation: int  # the owner's member epoch when it took the shard
    epoch: int  # the claim's own epoch: rises at every change of hands
    objects: int  # how many objects live in the shard (the ring's weight)
    since: float = 0.0
    previous: UUID | None = None


class Fence(msgspec.Struct, frozen=True):
    """The claim a write is made under; the write happens only while it still holds."""

    group: str
    shard: int
    owner: UUID
    epoch: int


class Hold(msgspec.Struct, frozen=True):
    """The incarnation of a member that runs an unbound job: the fence of the job's writes.

    It holds while the job runs under it and the member is not gone.
    """

    owner: UUID
    epoch: int


class ObjectRef(msgspec.Struct, frozen=True):
    """An owned object: a row of a registered kind (``node``)."""

    kind: str
    id: UUID


class JobState(StrEnum):
    """``queued`` -> ``running`` <-> ``waiting`` -> one of the three ends.

    An unbound job is ``blocked`` before that, while others have to end first.
    """

    BLOCKED = "blocked"
    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


class NewJob(msgspec.Struct, frozen=True, kw_only=True):
    """A job to enqueue. ``object`` binds it: only the owner of the object's shard runs it."""

    id: UUID
    kind: str
    object: ObjectRef
    args: dict[str, Json] = {}
    deadline_s: float | None = None  # from now; past it the job is failed by its owner
    requested_by: str = ""  # user and project, for people and audit


class QueuedJob(msgspec.Struct, frozen=True, kw_only=True):
    """An unbound job to enqueue: any worker of ``queue`` runs it, once nothing is in its way.

    ``after``: jobs that must succeed first (else this one fails: ``dependency_failed``);
    ``after_end``: jobs that must only have ended. ``exclusive`` and ``shared``: resources
    it reserves by name, first come, first served, once those jobs have ended.
    """

    id: UUID
    kind: str
    queue: str
    args: dict[str, Json] = {}
    after: tuple[UUID, ...] = ()
    after_end: tuple[UUID, ...] = ()
    exclusive: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()
    deadline_s: float | None = None  # from now; past it the job fails, wherever it is
    requested_by: str = ""  # user and project, for people and audit


class JobError(msgspec.Struct, frozen=True, kw_only=True):
    """Why a job ended badly: a stable code and a sentence for people."""

    code: str
    message: str


class Binding(msgspec.Struct, frozen=True):
    """The object that a job is bound to, and the shard whose owner runs it."""

    object: ObjectRef
    group: str
    shard: int


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A durable piece of work: bound to one object, or unbound in a queue.

    ``inbox`` holds the last payload received per signal key (level, not edge);
    ``signal_seq`` counts signals, so that going to sleep can notice one that
    arrived in between. ``memo`` is the handler's own durable scratch.
    """

    id: UUID
    kind: str
    binding: Binding | None  # None: it is unbound, and has a queue
    args: dict[str, Json]
    state: JobState
    step: str | None  # the step that runs or comes next; None: the first
    attempt: int  # how often that step has been begun
    step_open: bool  # begun, and neither finished nor put to sleep
    memo: dict[str, Json]
    inbox: dict[str, Json]
    signal_seq: int
    wake_at: float | None
    deadline: float | None
    cancel_requested: bool
    run_epoch: int | None  # epoch of the claim (unbound: of the member) that last ran it
    progress_done: int
    progress_total: int
    progress_message: str
    result: Json
    error: JobError | None
    requested_by: str
    created_at: float
    updated_at: float
    finished_at: float | None
    attempts: int = 0  # owners that have run it: 1 when it was never taken over
    # Of unbound jobs only:
    queue: str | None = None
    owner: UUID | None = None  # the member that last ran it
    remaining: int = 0  # what it still waits for: jobs before it; children, once it has begun
    parent: UUID | None = None
    exclusive: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()

    @property
    def bound(self) -> Binding:
        """Its binding; ``LookupError`` for an unbound job."""
        if self.binding is None:
            raise LookupError(f"job {self.id} is not bound to an object: it is in a queue")
        return self.binding

    @property
    def object(self) -> ObjectRef:
        """The object it is bound to; ``LookupError`` for an unbound job."""
        return self.bound.object

    @property
    def group(self) -> str:
        """The group of its object's shard; ``LookupError`` for an unbound job."""
        return self.bound.group

    @property
    def shard(self) -> int:
        """Its object's shard; ``LookupError`` for an unbound job."""
        return self.bound.shard

    @property
    def kept_back(self) -> bool:
        """Never started, because a limit is reached (``JobLimit``)."""
        return self.state is JobState.QUEUED and self.run_epoch is None and self.wake_at == inf


class JobLimit(msgspec.Struct, frozen=True, kw_only=True):
    """How many jobs of some kinds one owner has under way, from their first start to their end.

    Jobs beyond it wait for their first start, in the order in which they came; their
    deadlines begin with it. ``what`` is for people: "deployment".
    """

    what: str
    kinds: tuple[str, ...]
    running_max: int


def kept_back_message(limit: JobLimit) -> str:
    """What a job that waits for its start says of itself."""
    return f"waits for a free place: {limit.running_max} {limit.what}s per conductor at a time"


class OwnedJob(msgspec.Struct, frozen=True, kw_only=True):
    """A job its owner should run now, with the fence to run it under and the time of the read."""

    job: Job
    fence: Fence
    now: float  # the database's clock: deadlines and wake-ups are judged by it


class HeldJob(msgspec.Struct, frozen=True, kw_only=True):
    """An unbound job that was claimed, and with that its step begun."""

    job: Job
    hold: Hold
    now: float  # the database's clock: deadlines are judged by it
    resumed: bool  # the step had been begun before, and nobody wrote how it ended


class StepRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a job's journal: a step that completed, by whom and with what output."""

    job: UUID
    ordinal: int
    step: str
    attempt: int
    member: UUID
    epoch: int
    output: Json
    finished_at: float


class Submission(msgspec.Struct, frozen=True, kw_only=True):
    """An intent: checked, written and enqueued in one transaction.

    ``expect`` maps a field to the values it may have now; ``patch`` is written
    and ``job`` enqueued only if all hold and the object has no active job.
    """

    job: NewJob
    expect: dict[str, tuple[Json, ...]] = {}
    patch: dict[str, Json] = {}


class RouteGrant(msgspec.Struct, frozen=True, kw_only=True):
    """Which gateway answers for a BMC: its term, and the token floor read with it."""

    term: int
    floor: int


class Write(msgspec.Struct, frozen=True, kw_only=True):
    """A row of a product's, written in the transaction of the step that changed it.

    ``kind``: a registered kind of rows. ``insert``: a row that is there already stays as it is.
    To update or delete what is not there does nothing, nor to update what has other values
    than ``expect`` says. ``values``: by column name.
    """

    verb: Literal["insert", "update", "delete"]
    kind: str
    id: UUID
    values: dict[str, Json] = {}
    expect: dict[str, Json] = {}


class StepEnd(msgspec.Struct, frozen=True, kw_only=True):
    """How a step ended, written in one fenced transaction with what it changed.

    ``writes``: of unbound jobs, which have no object to patch.
    """

    step: str
    attempt: int
    output: Json = None
    patch: dict[str, Json] = {}  # fields of the object
    writes: tuple[Write, ...] = ()
    memo: dict[str, Json] = {}  # replaces the job's memo
    next_step: str | None = None  # None: the job ends with ``state``
    state: JobState = JobState.RUNNING  # RUNNING, or one of the three ends
    result: Json = None
    error: JobError | None = None
    progress: tuple[int, int, str] | None = None  # done, total, message


class StepSleep(msgspec.Struct, frozen=True, kw_only=True):
    """A step that waits: durable, holding no worker, until a signal or ``wake_in_s``."""

    step: str
    attempt: int
    seen_seq: int  # signals seen so far; a newer one means: do not sleep
    wake_in_s: float
    memo: dict[str, Json] = {}
    patch: dict[str, Json] = {}
    writes: tuple[Write, ...] = ()
    progress: tuple[int, int, str] | None = None


class JobCount(msgspec.Struct, frozen=True, kw_only=True):
    """The jobs of a kind that are in one state. ``queue`` None: bound to objects.

    ``oldest_s``: how long the least recently touched of them has been as it is; in a
    queue, how long the first in line has been due. ``overdue``: past their deadline.
    """

    queue: str | None
    kind: str
    state: JobState
    jobs: int
    oldest_s: float
    overdue: int


class Census(msgspec.Struct, frozen=True, kw_only=True):
    """How many there are of everything that operators watch, at one moment.

    ``members``: by role and state, those that are gone left out. ``unowned``: shards
    without a living owner, by group.
    """

    jobs: tuple[JobCount, ...] = ()
    members: dict[tuple[str, MemberState], int] = {}
    unowned: dict[str, int] = {}
