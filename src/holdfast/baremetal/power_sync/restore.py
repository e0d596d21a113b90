"""The job that switches a machine back to its recorded power state (``force_power_state``).

It is a job like any other, so it is durable, one at a time with all else that is done
to the node, and seen by operators; but it runs in the lane ``sync``, where it gives
way to theirs, and it leaves ``last_error`` as it is.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from holdfast.baremetal.credentials import SecretBox
from holdfast.baremetal.jobs.machine import Machine
from holdfast.baremetal.jobs.settings import ProvisioningSettings
from holdfast.bmc.commands import Origin, Target
from holdfast.bmc.dispatch import Dispatcher
from holdfast.core.jobs import Handler, Outcome, Step, StepContext
from holdfast.store.model import Job, JobError, JobLimit, JobState, Json, ObjectRef, Write

KIND = "node.restore_power"
REQUESTED_BY = "power sync"
DEADLINE_S = 1800.0


class SyncLane:
    """``jobs.machine.Sender`` in the lane ``sync``."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher

    async def send(
        self,
        obj: ObjectRef,
        token: int,
        target: Target,
        secrets: dict[str, str],
        action: str,
        params: dict[str, Json],
        origin: Origin,
        deadline_s: float,
    ) -> dict[str, Json]:
        """As ``Dispatcher.send``."""
        return await self._dispatcher.send(
            obj, token, target, dict(secrets), action, params, origin, deadline_s, "sync"
        )


class Restore(msgspec.Struct, frozen=True, kw_only=True):
    """``core.jobs.Handler`` of ``node.restore_power``; its args: ``target``, a power state."""

    sender: SyncLane
    box: SecretBox
    settings: ProvisioningSettings
    kind: str = KIND
    cleanup: tuple[Step, ...] = ()

    @property
    def steps(self) -> tuple[Step, ...]:
        return (Step(name="restore_power", run=self._restore, retry_s=self.settings.retry_s),)

    async def _restore(self, ctx: StepContext) -> Outcome:
        machine = Machine(ctx, self.sender, self.box, self.settings)
        return await machine.converge_power(str(ctx.args["target"]))

    def ended(
        self, obj: Mapping[str, Json], job: Job, state: JobState, error: JobError | None
    ) -> dict[str, Json]:
        """Whatever came of it is the next pass's to see; the job's error stays with the job."""
        del obj, job, state, error
        return {"target_power_state": None}

    def closing(self, job: Job, error: JobError, now: float) -> tuple[Write, ...]:
        raise LookupError("a bound job writes its object's fields")

    def trouble(self, error: JobError) -> dict[str, Json]:
        del error
        return {}


def restore_limit(restores_max: int) -> JobLimit:
    """So many machines are switched back at a time, per conductor."""
    return JobLimit(what="power restoration", kinds=(KIND,), running_max=restores_max)


def restore_handlers(
    dispatcher: Dispatcher, box: SecretBox, settings: ProvisioningSettings
) -> dict[str, Handler]:
    """The handler by its kind."""
    return {KIND: Restore(sender=SyncLane(dispatcher), box=box, settings=settings)}
