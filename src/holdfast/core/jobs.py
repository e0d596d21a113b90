"""What a durable job's handler is made of: named steps and the ways they end.

A handler never keeps anything in memory between steps. A step that was begun and
whose end nobody wrote is begun again by whoever owns the object then, with
``StepContext.resumed`` set: it must observe whether it took effect, or be
idempotent. Waiting is an outcome (``Sleep``), not an ``await``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol, TypeAlias

import msgspec

from holdfast.core.lease import TrustWindow
from holdfast.errors import HoldfastError
from holdfast.store.model import Fence, Hold, Job, JobError, JobState, Json, Member, Write


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """The step took effect. ``goto`` names the next step where it is not the following one."""

    output: Json = None
    patch: dict[str, Json] = {}  # fields of the object, written with the step's end
    writes: tuple[Write, ...] = ()  # of an unbound job: rows, written with the step's end
    memo: dict[str, Json] | None = None  # None: keep what is there
    goto: str | None = None


class Sleep(msgspec.Struct, frozen=True, kw_only=True):
    """Not yet: enter this step again at a signal, or after ``seconds``."""

    seconds: float
    patch: dict[str, Json] = {}
    writes: tuple[Write, ...] = ()
    memo: dict[str, Json] | None = None
    progress: str | None = None


class Fail(msgspec.Struct, frozen=True, kw_only=True):
    """The job cannot succeed. Its clean-up steps run, then it ends as failed."""

    code: str
    message: str
    writes: tuple[Write, ...] = ()  # of an unbound job without clean-up: rows, before ``closing``


Outcome: TypeAlias = Done | Sleep | Fail


class StepContext(msgspec.Struct, frozen=True, kw_only=True):
    """What a step may know. ``object`` is the object's document, read for this run.

    ``under``: what the step's writes are made under, a claim's fence or, of an unbound
    job (whose ``object`` is empty), a hold.
    """

    job: Job
    object: dict[str, Json]
    member: Member
    under: Fence | Hold
    window: TrustWindow
    now: float  # the database's clock, seconds since the epoch
    resumed: bool  # begun before, end unknown: observe before acting

    @property
    def fence(self) -> Fence:
        """The claim a bound job runs under; ``LookupError`` for an unbound one."""
        if isinstance(self.under, Hold):
            raise LookupError(f"job {self.job.id} is unbound and runs under no claim")
        return self.under

    @property
    def hold(self) -> Hold:
        """What an unbound job runs under; ``LookupError`` for a bound one."""
        if isinstance(self.under, Fence):
            raise LookupError(f"job {self.job.id} is bound and runs under a claim")
        return self.under

    @property
    def args(self) -> dict[str, Json]:
        return self.job.args

    @property
    def memo(self) -> dict[str, Json]:
        return {k: v for k, v in self.job.memo.items() if not k.startswith("_")}

    @property
    def inbox(self) -> dict[str, Json]:
        return self.job.inbox

    @property
    def token(self) -> int:
        """What the gateway compares: it rises with every change of hands of the object."""
        return max(self.fence.epoch, int(self.object.get("entered_epoch") or 0))

    def guard(self) -> None:
        """Call right before every effect: raises ``LeaseLostError`` past the trust window."""
        self.window.guard()


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One named step. ``retry_s``: how long transient errors are tried again, in seconds.

    ``brief_s``: how long those are whose codes are ``brief``: what somebody who waits for
    the answer can mend, as opposed to what passes by itself.
    """

    name: str
    run: Callable[[StepContext], Awaitable[Outcome]]
    timeout_s: float = 120.0
    retry_s: float = 300.0
    brief: frozenset[str] = frozenset()
    brief_s: float = 60.0


class Handler(Protocol):
    """A kind of job. ``steps`` run in order; ``cleanup`` after a failure or a cancellation."""

    @property
    def kind(self) -> str: ...

    @property
    def steps(self) -> tuple[Step, ...]: ...

    @property
    def cleanup(self) -> tuple[Step, ...]: ...

    def ended(
        self, obj: Mapping[str, Json], job: Job, state: JobState, error: JobError | None
    ) -> dict[str, Json]:
        """The object's fields after the job's end, written in the same transaction.

        Called for every end: success, failure, cancellation; of unbound jobs never, which
        have no object. Pure.
        """
        ...

    def closing(self, job: Job, error: JobError, now: float) -> tuple[Write, ...]:
        """The rows to write when an unbound job that was begun fails or is cancelled. Pure."""
        ...

    def trouble(self, error: JobError) -> dict[str, Json]:
        """The object's fields that show a transient error while it is tried again. Pure."""
        ...


class Plan(msgspec.Struct, frozen=True):
    """A handler's steps by name and order; the clean-up steps follow the others."""

    handler: Handler

    def step(self, name: str | None) -> Step:
        """The step of that name, or the first one. ``LookupError`` for a name unknown here."""
        everything = self.handler.steps + self.handler.cleanup
        if name is None:
            return everything[0]
        for step in everything:
            if step.name == name:
                return step
        raise LookupError(name)

    def after(self, name: str) -> str | None:
        """The step that follows ``name`` in its own half; None at the end."""
        for half in (self.handler.steps, self.handler.cleanup):
            names = [s.name for s in half]
            if name in names:
                rest = names[names.index(name) + 1 :]
                return rest[0] if rest else None
        return None

    def is_cleanup(self, name: str) -> bool:
        return any(s.name == name for s in self.handler.cleanup)


# What the runner itself keeps in a memo; invisible to handlers.
ENDING = "_ending"  # {"state", "error"}: the end that clean-up leads to
RETRY = "_retry"  # {"step", "count", "since", "brief_since"}: transient errors in a row


def retry_delay_s(count: int) -> float:
    """Exponential back-off, 0.5 s to 30 s. No jitter: jobs start at different times."""
    return min(30.0, 0.5 * 2.0 ** min(count, 10))


def job_error(fault: BaseException) -> JobError:
    """Any exception as a bounded, readable error."""
    if isinstance(fault, HoldfastError):
        return JobError(code=fault.code, message=fault.message[:2000])
    if isinstance(fault, TimeoutError):
        return JobError(code="step_timeout", message="the step did not end within its time limit")
    return JobError(code="internal", message=f"{type(fault).__name__}: {fault}"[:2000])
