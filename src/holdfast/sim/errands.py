"""Simulated clients: each takes one machine through a few verbs and notes how every job ended.

A client repeats a submission whose answer was lost, with the same job id; from the
first answer on the job must come to an end, whatever happens (promise 2).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from holdfast.baremetal.states import TRANSITIONS, JobKind, Power, Provision, Verb
from holdfast.errors import StoreUnavailableError
from holdfast.sim.loop import SimLoop
from holdfast.sim.machines import AGENT_STEPS, OFF, ON, SimMachine
from holdfast.store.model import Job, JobState, Json, NewJob, Submission
from holdfast.store.port import Store

T = TypeVar("T")

POLL_S = 1.0
DEADLINE_S = 900.0  # of every job: nothing the world does may take that long
SCRIPTS: tuple[tuple[Provision, tuple[str, ...]], ...] = (
    (Provision.AVAILABLE, ("active",)),
    (Provision.AVAILABLE, ("active", "rebooting")),
    (Provision.AVAILABLE, ("active", "deleted")),
    (Provision.AVAILABLE, ("power on", "power off", "active")),
    (Provision.ENROLL, ("manage", "provide")),
    (Provision.MANAGEABLE, ("provide", "active")),
)
TRANSIENT = frozenset(
    {
        Provision.VERIFYING,
        Provision.CLEANING,
        Provision.CLEAN_WAIT,
        Provision.DEPLOYING,
        Provision.WAIT_CALLBACK,
        Provision.DELETING,
    }
)
# (kind, succeeded) -> provision states it may end in, power, what the machine runs.
_Wanted = tuple[frozenset[str], str | None, str | None]
WANTED: dict[tuple[str, bool], _Wanted] = {
    (JobKind.VERIFY, True): (frozenset({"manageable"}), None, None),
    (JobKind.PROVIDE, True): (frozenset({"available"}), OFF, None),
    (JobKind.PROVIDE, False): (frozenset({"clean failed"}), OFF, None),
    (JobKind.DEPLOY, True): (frozenset({"active"}), ON, "instance"),
    (JobKind.DEPLOY, False): (frozenset({"deploy failed"}), OFF, None),
    (JobKind.UNDEPLOY, True): (frozenset({"available"}), OFF, None),
    (JobKind.UNDEPLOY, False): (frozenset({"error", "clean failed"}), OFF, None),
}


class Errand:
    """One client with one machine. ``busy`` until its script is through."""

    def __init__(
        self,
        loop: SimLoop,
        api: Store,
        machine: SimMachine,
        script: tuple[str, ...],
        *,
        within_s: float,
        abort_chance: float,
        said: Callable[[str], None],
    ) -> None:
        self._loop = loop
        self._api = api
        self.machine = machine
        self._script = script
        self._chance = random.Random(loop.random.getrandbits(64))
        self._within_s = within_s
        self._said = said
        self._abort = self._chance.random() < abort_chance
        self.jobs: list[tuple[Job, bool]] = []  # as they ended, and whether they were aborted
        self.now: str = ""  # what it does at present, for people
        self.busy = True

    async def run(self) -> None:
        """Go through the script; stop early at a job that did not succeed."""
        for asked in self._script:
            await asyncio.sleep(self._chance.uniform(0, self._within_s / len(self._script)))
            job = await self._one(asked)
            if job.state is not JobState.SUCCEEDED:
                break
        self.busy = False

    async def _one(self, asked: str) -> Job:
        node = await self._retried(lambda: self._api.get_object(self.machine.ref))
        submission = self._submission(asked, Provision((node or {})["provision_state"]))
        key = submission.job.id
        self.now = f"{asked} (job {str(key)[:8]})"
        await self._retried(lambda: self._api.submit(submission))
        self._said(f"{self.now} of machine {str(self.machine.ref.id)[:8]} accepted")
        aborted = False
        if self._abort:
            self._abort = False
            await asyncio.sleep(self._chance.uniform(0, 8))
            aborted = True
            await self._retried(lambda: self._api.cancel(key))
            self._said(f"job {str(key)[:8]} is to be aborted")
        while True:
            found = await self._retried(lambda: self._api.job(key))
            if found is not None and found.state.ended:
                break
            await asyncio.sleep(POLL_S)
        self.jobs.append((found, aborted))
        why = f": {found.error.message}" if found.error else ""
        self._said(f"job {str(key)[:8]} {found.kind} {found.state}{why}")
        return found

    def _submission(self, asked: str, state: Provision) -> Submission:
        args: dict[str, Json] = {}
        if asked in {power.value for power in Power}:
            kind = JobKind.POWER
            args = {"target": asked, "timeout": None}
            patch: dict[str, Json] = {"target_power_state": Power(asked).result}
        else:
            move = TRANSITIONS[Verb(asked), state]
            if move.job is None:
                raise AssertionError(f"{asked} in {state} is no work")
            kind = move.job
            patch = {"provision_state": move.during, "target_provision_state": move.target}
        new = NewJob(
            id=self._loop.uuid(),
            kind=kind.value,
            object=self.machine.ref,
            args=args,
            deadline_s=DEADLINE_S,
        )
        return Submission(job=new, expect={"provision_state": (state,)}, patch=patch)

    async def _retried(self, call: Callable[[], Awaitable[T]]) -> T:
        while True:
            try:
                return await call()
            except StoreUnavailableError:
                await asyncio.sleep(0.5)


def faults_of(errand: Errand, node: dict[str, Json]) -> list[str]:
    """What is wrong with a machine when all is over, in sentences."""
    machine = errand.machine
    name = f"machine {str(machine.ref.id)[:8]}"
    found: list[str] = []
    if errand.busy:
        found.append(f"{name}: {errand.now} has not ended")
    elif node["provision_state"] in TRANSIENT:
        found.append(f"{name} is left in {node['provision_state']}")
    for job, aborted in errand.jobs:
        allowed = {JobState.SUCCEEDED, JobState.CANCELLED} if aborted else {JobState.SUCCEEDED}
        flawed = machine.flawed and job.error is not None and job.error.code == "agent_failed"
        if job.state not in allowed and not flawed:
            found.append(f"{name}: job {job.kind} {job.state}: {job.error}")
    found += [
        f"{name}: boot {boot.number} executed {', '.join(boot.executed)}"
        for boot in machine.boots
        if tuple(boot.executed) != AGENT_STEPS[: len(boot.executed)]
    ]
    if errand.busy or not errand.jobs:
        return found
    return found + _end_faults(errand, node, name)


def _end_faults(errand: Errand, node: dict[str, Json], name: str) -> list[str]:
    """Where the machine is not what its last job says it should be."""
    machine, found = errand.machine, list[str]()
    job, _ = errand.jobs[-1]
    good = job.state is JobState.SUCCEEDED
    if job.kind == JobKind.POWER:
        states = frozenset({str(node["provision_state"])})
        power, runs = (Power(job.args["target"]).result if good else None), None
    else:
        states, power, runs = WANTED.get((job.kind, good), (frozenset({"enroll"}), None, None))
    if node["provision_state"] not in states:
        found.append(f"{name} is {node['provision_state']} after {job.kind} {job.state}")
    if power is not None and (machine.power, machine.powering_to) != (power, None):
        found.append(f"{name} has {machine.power} after {job.kind} {job.state}")
    if power is not None and node["power_state"] != machine.power:
        found.append(f"{name}: the node says {node['power_state']}, it has {machine.power}")
    if runs is not None and machine.runs != runs:
        found.append(f"{name} runs {machine.runs} after {job.kind} {job.state}")
    if good and job.kind == JobKind.DEPLOY and not _worked(machine):
        found.append(f"{name} became active without its agent's work")
    return found


def _worked(machine: SimMachine) -> bool:
    return bool(machine.boots) and tuple(machine.boots[-1].executed) == AGENT_STEPS
