"""Which node gets the new generation next: pure decisions over what nodes say of themselves.

::

    nodes of the first zone, max_unavailable at a time -> all of them well -> the next zone -> done
                     |
                     one fails its gate -> Broken: whoever calls sets everything back
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias
from uuid import UUID

import msgspec

from holdfast.fleet.model import NodeView, Served, Service
from holdfast.serving.operating.baseline import Counts, are_too_many, errors_allowed


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """How careful to be.

    ``ready_min``: nodes that must be well at the end; None: all that live. ``watch_s``: how long
    a node answers queries before it is called well. ``errors_max``: the share of answers that may
    be errors more than it was with the old generation.
    """

    ready_min: int | None = None
    max_unavailable: int = 1
    watch_s: float = 0.0
    errors_max: float = 0.0


class Move(msgspec.Struct, frozen=True):
    """Let these nodes have the new generation."""

    nodes: tuple[UUID, ...]


class Pending(msgspec.Struct, frozen=True):
    """Look again later; ``reason``: what is waited for."""

    reason: str


class Settled(msgspec.Struct, frozen=True):
    """It is so. ``ready``: the number of nodes that are well."""

    ready: int


class Broken(msgspec.Struct, frozen=True):
    """It cannot become so; ``reason`` names the node."""

    reason: str


Verdict: TypeAlias = Move | Pending | Settled | Broken


def advance(service: Service, nodes: Sequence[NodeView], terms: Terms) -> Verdict:
    """What follows for the rollout of ``service.next``. ``nodes``: all that live, in any order."""
    target = service.next
    if target is None:
        return formed(service, nodes, terms)
    mine = sorted(_of(service, nodes), key=lambda node: (node.zone, node.slot, node.id.bytes))
    before = _before(service, mine, target)
    for node in mine:
        if node.id in service.moved and (fault := _fault(service, node, target, terms, before)):
            return Broken(fault)
    left = [node for node in mine if not _is_well(service, node, target, terms, before)]
    if not left:
        return _enough(len(mine), len(mine), terms)
    under_way = [node for node in left if node.id in service.moved]
    waiting = [node for node in left if node.id not in service.moved]
    broken = [node for node in waiting if not _answers(service, node)]
    whole = [n for n in waiting if n not in broken and n.zone == left[0].zone]
    # Who does not answer anyway goes first, in whatever zone; with it out, the others have to stay.
    chosen = broken[: max(0, terms.max_unavailable - len(under_way))]
    room = terms.max_unavailable - len(under_way) - len(broken)
    chosen += whole[: max(0, room)]
    if chosen:
        return Move(tuple(node.id for node in chosen))
    names = ", ".join(node.slot for node in under_way or broken)
    return Pending(f"waiting for {names}; {len(mine) - len(left)} of {len(mine)} API nodes done")


def formed(service: Service, nodes: Sequence[NodeView], terms: Terms) -> Verdict:
    """Whether so many nodes as wanted serve ``service.generation``."""
    mine = _of(service, nodes)
    target = service.generation
    before = _before(service, mine, target)
    ready = sum(_is_well(service, node, target, terms, before) for node in mine)
    faults = [fault for node in mine if (fault := _fault(service, node, target, terms, before))]
    needed = len(mine) if terms.ready_min is None else terms.ready_min
    if faults and len(mine) - len(faults) < max(needed, 1):
        return Broken(faults[0])
    return _enough(ready, len(mine), terms)


def set_back(service: Service, nodes: Sequence[NodeView]) -> Verdict:
    """Whether every node knows that the old generation goes on, and has it (or says why not)."""
    for node in _of(service, nodes):
        served = node.served(service.id)
        if served is None or served.wanted != service.generation:
            return Pending(f"{node.slot} has yet to hear that the old generation goes on")
        if served.generation != service.generation and not served.error:
            return Pending(f"{node.slot} takes the old generation again")
    return Settled(0)


def _of(service: Service, nodes: Sequence[NodeView]) -> list[NodeView]:
    return [node for node in nodes if service.is_in(node.zone)]


def _enough(ready: int, living: int, terms: Terms) -> Verdict:
    needed = max(1, living if terms.ready_min is None else terms.ready_min)
    if ready >= needed:
        return Settled(ready)
    return Pending(f"{ready} of {needed} API nodes are ready ({living} are members)")


def _before(service: Service, nodes: Sequence[NodeView], target: UUID) -> list[Counts]:
    """What another generation answered: where it still does, and where it did before.

    Some queries fail whoever answers them; the new generation is judged by what is more than that.
    """
    now, recent, before = Counts(), Counts(), Counts()
    for node in nodes:
        served = node.served(service.id)
        if served is None:
            continue
        if served.generation == target:
            before += served.before
        else:
            now += Counts(served.answers, served.errors)
            recent += served.recent
    return [now, recent, before]


def _fault(
    service: Service, node: NodeView, target: UUID, terms: Terms, before: Sequence[Counts]
) -> str:
    """Why a node fails its gate, if it does."""
    served = node.served(service.id)
    if served is None or served.wanted != target:
        return ""
    if served.error:
        return f"{node.label}: {served.error}"
    if served.generation == target and _errs(served, terms, before):
        allowed = errors_allowed(before, terms.errors_max)
        return (
            f"{node.label}: {served.errors} of {served.answers} queries were answered with errors; "
            f"by what there was before, at most {allowed:.1%} may be"
        )
    return ""


def _errs(served: Served, terms: Terms, before: Sequence[Counts]) -> bool:
    return are_too_many(_found(served), before, terms.errors_max)


def _found(served: Served) -> Counts:
    return Counts(served.answers, served.errors)


def _answers(service: Service, node: NodeView) -> bool:
    served = node.served(service.id)
    return served is not None and served.ready and served.generation is not None


def _is_well(
    service: Service, node: NodeView, target: UUID, terms: Terms, before: Sequence[Counts]
) -> bool:
    served = node.served(service.id)
    return (
        served is not None
        and served.wanted == target
        and served.generation == target
        and served.ready
        and not served.error
        and served.serving_s >= terms.watch_s
        and not _errs(served, terms, before)
    )
