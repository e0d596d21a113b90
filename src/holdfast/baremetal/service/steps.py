"""The steps a cleaning or deployment is asked to run: given, of a runbook, of templates.

What the machine's agent makes of them is decided when it is there
(``jobs.agent_steps``); here is what can be known before.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from holdfast.baremetal.resources import CleanStep, DeployStep, RunbookStep
from holdfast.baremetal.service.rows import NodeRow, ident_condition
from holdfast.errors import InvalidInputError, NotFoundError
from holdfast.identity.policy import Caller
from holdfast.store.model import Json
from holdfast.store.pg.database import Database

STEPS_MAX = 255

Step: TypeAlias = dict[str, Json]


class AskedSteps(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a provision request that names steps. ``runbook``: its UUID or name."""

    clean_steps: list[CleanStep] | None = None
    deploy_steps: list[DeployStep] | None = None
    runbook: str | None = None
    disable_ramdisk: bool | None = None


# A runbook is for the nodes that have its name as a trait (as in Ironic).
_RUNBOOK = """
select r.name, r.steps, r.disable_ramdisk, r.name = any(n.traits) as fits
  from runbook r join node n on n.uuid = $2
 where {condition} and ($3::boolean or r.public or r.owner = $4)
"""
_TEMPLATES = """
select t.steps from deploy_template t join node n on n.uuid = $1
 where jsonb_typeof(n.instance_info->'traits') = 'array' and n.instance_info->'traits' ? t.name
 order by t.name
"""


class Steps:
    """Finds what a request for steps comes to."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def of_cleaning(self, caller: Caller, node: NodeRow, asked: AskedSteps) -> list[Step]:
        """What manual cleaning is to run, in order; at least one step."""
        if asked.runbook is not None:
            return await self._of_runbook(caller, node, asked.runbook)
        given = asked.clean_steps or []
        if not 0 < len(given) <= STEPS_MAX:
            raise InvalidInputError(f"clean_steps must have 1 to {STEPS_MAX} steps")
        return [msgspec.to_builtins(step) for step in given]

    async def _of_runbook(self, caller: Caller, node: NodeRow, ident: str) -> list[Step]:
        condition, value = ident_condition(ident, "r")
        found = await self._db.fetchrow(
            _RUNBOOK.format(condition=condition),
            value,
            node.uuid,
            caller.everywhere,
            caller.project_id,
        )
        if found is None:
            raise NotFoundError(f"Runbook {ident} could not be found.")
        if not found["fits"]:
            raise InvalidInputError(
                f"The runbook {found['name']} is for nodes that have the trait of its name, and "
                f"node {node.label} has not: add the trait, or choose another runbook"
            )
        if found["disable_ramdisk"]:
            raise InvalidInputError(
                f"The runbook {found['name']} runs without a ramdisk, which no step here can"
            )
        steps = sorted(
            msgspec.convert(found["steps"], list[RunbookStep]), key=lambda step: step.order
        )
        return [{"interface": s.interface, "step": s.step, "args": s.args} for s in steps]

    async def of_deployment(self, node: NodeRow, asked: AskedSteps) -> list[Step]:
        """What a deployment is to run beside what the agent offers.

        The steps of each template whose name is among the instance's traits, and the
        given ones, which win over them.
        """
        chosen: dict[tuple[str, str], Step] = {}
        for row in await self._db.fetch(_TEMPLATES, node.uuid):
            for step in row["steps"]:
                chosen[step["interface"], step["step"]] = step
        for step in asked.deploy_steps or ():
            chosen[step.interface, step.step] = msgspec.to_builtins(step)
        if len(chosen) > STEPS_MAX:
            raise InvalidInputError(f"A deployment cannot have more than {STEPS_MAX} own steps")
        return list(chosen.values())
