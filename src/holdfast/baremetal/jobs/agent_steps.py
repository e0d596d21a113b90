"""Which of the ramdisk agent's steps are run, in which order, with which arguments. Pure.

Automated cleaning and a plain deployment run what the agent offers with a priority
above 0, highest first. Manual cleaning runs exactly what was asked for, in that order.
A deployment's own steps are put among the offered ones; one with priority 0 switches
the offered step off.
"""

from __future__ import annotations

from typing import Any, cast

from holdfast.errors import InvalidInputError
from holdfast.store.model import Json

AgentStep = dict[str, Json]

ASKED = "asked"
"""Where a planned step has its arguments from: its place among the steps asked for."""


def offered(result: dict[str, Json], task: str) -> list[AgentStep]:
    """The steps in an agent's answer, whichever of its hardware managers they are of."""
    by_manager = result.get(f"{task}_steps")
    managers = cast("dict[str, Any]", by_manager) if isinstance(by_manager, dict) else {}
    return [
        cast("AgentStep", step)
        for steps in managers.values()
        if isinstance(steps, list)
        for step in cast("list[Any]", steps)
        if isinstance(step, dict)
    ]


def manual(there: list[AgentStep], asked: list[AgentStep]) -> list[AgentStep]:
    """What manual cleaning runs. Raises ``InvalidInputError`` naming what cannot be."""
    known = {_name(step): step for step in there}
    return [_checked(step, known) for step in asked]


def planned(there: list[AgentStep], asked: list[AgentStep]) -> list[AgentStep]:
    """What a deployment or automated cleaning runs; ``asked`` wins over what is offered."""
    known = {_name(step): step for step in there}
    chosen = {_name(step): _checked(step, known) for step in asked}
    steps = [step for step in ({**known, **chosen}).values() if _priority(step) > 0]
    return sorted(steps, key=lambda step: (-_priority(step), str(step.get("step"))))


def numbered(asked: list[AgentStep]) -> list[AgentStep]:
    """The steps asked for, each with its place among them (``ASKED``)."""
    return [{**step, ASKED: place} for place, step in enumerate(asked)]


def complete(step: AgentStep, asked: list[AgentStep]) -> AgentStep:
    """A step as the agent gets it: with its arguments, which are not kept with the plan."""
    place = step.get(ASKED)
    if place is None:
        return shown(step)
    given: dict[str, Json] = asked[int(place)].get("args") or {}
    return {**shown(step), "args": given}


def shown(step: AgentStep) -> AgentStep:
    """A planned step as the node shows it."""
    return {key: value for key, value in step.items() if key != ASKED}


def _name(step: AgentStep) -> tuple[str, str]:
    return str(step.get("interface") or "deploy"), str(step.get("step"))


def _priority(step: AgentStep) -> int:
    said = step.get("priority")
    return said if isinstance(said, int) and not isinstance(said, bool) else 0


def _checked(step: AgentStep, known: dict[tuple[str, str], AgentStep]) -> AgentStep:
    """The step with what the agent says of it, its arguments checked against that."""
    interface, name = _name(step)
    found = known.get((interface, name))
    if found is None:
        there = ", ".join(sorted(f"{i}.{n}" for i, n in known)) or "none"
        raise InvalidInputError(
            f"this machine's agent has no step {interface}.{name}; it offers: {there}"
        )
    info = cast("dict[str, Any]", found.get("argsinfo") or {})
    given = cast("dict[str, Json]", step.get("args") or {})
    if unexpected := sorted(set(given) - set(info)):
        raise InvalidInputError(
            f"step {interface}.{name} takes no {', '.join(unexpected)}; "
            f"it takes: {', '.join(sorted(info)) or 'no arguments'}"
        )
    needed = [arg for arg, about in info.items() if _required(about) and arg not in given]
    if needed:
        raise InvalidInputError(f"step {interface}.{name} needs {', '.join(sorted(needed))}")
    return {**found, **step}


def _required(about: Any) -> bool:
    return isinstance(about, dict) and cast("dict[str, Any]", about).get("required") is True
