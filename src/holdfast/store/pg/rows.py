"""Rows of the core's tables as the values of ``store.model``."""

from __future__ import annotations

from holdfast.errors import ConflictError
from holdfast.store.model import (
    Binding,
    Claim,
    Job,
    JobError,
    JobState,
    Member,
    MemberState,
    ObjectRef,
    StepRecord,
)
from holdfast.store.pg.database import Row, without_nul

ACTIVE = "state in ('queued', 'running', 'waiting')"
"""A bound job that has not ended, as SQL; the partial indices on ``job`` say it in these words."""

ACTIVE_ANYWHERE = f"""({ACTIVE} and queue is null or state = 'blocked'
    or state in ('queued', 'waiting') and queue is not null
    or state = 'running' and queue is not null)"""
"""A job, bound or not, that has not ended, so that each arm has an index."""

# Texts that people read are bounded: a write must not fail for the length of a message.
PROGRESS_CHARS_MAX = 1_000
ERROR_CHARS_MAX = 8_000


def member_of(row: Row) -> Member:
    """A row of ``member``."""
    return Member(
        id=row["id"],
        role=row["role"],
        slot=row["slot"],
        host=row["host"],
        zone=row["zone"],
        group=row["grp"],
        version=row["version"],
        address=row["address"],
        epoch=row["epoch"],
        state=MemberState(row["state"]),
        drain_requested=row["drain_requested"],
        lease_until=row["lease_until"],
        registered_at=row["registered_at"],
        gone_reason=row["gone_reason"],
    )


def claim_of(row: Row) -> Claim:
    """A row of ``shard_claim``."""
    return Claim(
        group=row["grp"],
        shard=row["shard"],
        owner=row["owner"],
        incarnation=row["incarnation"],
        epoch=row["epoch"],
        objects=row["objects"],
        since=row["since"],
        previous=row["previous"],
    )


def job_of(row: Row) -> Job:
    """A row of ``job``."""
    error = row["error"]
    bound = row["object_id"] is not None
    return Job(
        id=row["id"],
        kind=row["kind"],
        binding=Binding(ObjectRef(row["object_kind"], row["object_id"]), row["grp"], row["shard"])
        if bound
        else None,
        args=row["args"],
        state=JobState(row["state"]),
        step=row["step"],
        attempt=row["attempt"],
        step_open=row["step_open"],
        memo=row["memo"],
        inbox=row["inbox"],
        signal_seq=row["signal_seq"],
        wake_at=row["wake_at"],
        deadline=row["deadline"],
        cancel_requested=row["cancel_requested"],
        run_epoch=row["run_epoch"],
        progress_done=row["progress_done"],
        progress_total=row["progress_total"],
        progress_message=row["progress_message"],
        result=row["result"],
        error=None if error is None else JobError(code=error["code"], message=error["message"]),
        requested_by=row["requested_by"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        finished_at=row["finished_at"],
        attempts=row["attempts"],
        queue=row["queue"],
        owner=row["owner"],
        remaining=row["remaining"],
        parent=row["parent"],
        exclusive=tuple(row["exclusive"]),
        shared=tuple(row["shared"]),
    )


def record_of(row: Row) -> StepRecord:
    """A row of ``job_step``."""
    return StepRecord(
        job=row["job"],
        ordinal=row["ordinal"],
        step=row["step"],
        attempt=row["attempt"],
        member=row["member"],
        epoch=row["epoch"],
        output=row["output"],
        finished_at=row["finished_at"],
    )


def bounded_progress(
    progress: tuple[int, int, str] | None,
) -> tuple[int | None, int | None, str | None]:
    """Done, total and message as they are stored; of None nothing."""
    if progress is None:
        return None, None, None
    done, total, message = progress
    return done, total, without_nul(message)[:PROGRESS_CHARS_MAX]


def bounded_error(error: JobError | None) -> dict[str, str] | None:
    """An error as it is stored."""
    if error is None:
        return None
    return {"code": error.code, "message": without_nul(error.message)[:ERROR_CHARS_MAX]}


def not_in_hand(job: Job, step: str, attempt: int) -> ConflictError:
    """What to raise for the end of an attempt that is not the one in hand."""
    return ConflictError(
        f"attempt {attempt} of step {step!r} is not in hand: job {job.id} is {job.state} "
        f"at step {job.step!r}, attempt {job.attempt}; read it again",
        kind="step",
        job=job.id,
        state=str(job.state),
        step=job.step,
        attempt=job.attempt,
    )
