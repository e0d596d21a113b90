"""Whether a node is fit to answer: before it gets queries, and by its answers when it does."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeAlias

from holdfast.errors import HoldfastError
from holdfast.serving.operating.api import NodeApi, name
from holdfast.serving.operating.baseline import Counts, are_too_many, errors_allowed

ByEndpoint: TypeAlias = dict[str, Counts]


class GateError(HoldfastError):
    """A node is not fit; the message says what was found."""

    code = "gate"
    status = 409


async def check_ready(api: NodeApi) -> int:
    """All that should be served is, and every test query is answered; gives how many there were.

    Raises ``GateError`` with what is not so, or what ``call`` does.
    """
    asked = 0
    for service in (await api.call("GET", "services"))["services"]:
        entries = service["mapping"]["entries"]
        if not service["enabled"] or not entries:
            continue
        who = service["serviceId"]
        if not service["ready"]:
            raise GateError(f"{api.url}: {who} is not ready: {service['failure'] or 'no worker'}")
        for entry in entries:
            path = f"services/{name(who)}/generations/{name(entry['generation'])}/test"
            found = await api.call("POST", path)
            if found["faults"]:
                raise GateError(f"{api.url}: {who}: {found['faults'][0]}")
            asked += found["asked"]
    return asked


async def counts(api: NodeApi, service: str = "", generation: str = "") -> ByEndpoint:
    """What was answered, by ``service/endpoint``: of one generation, one service, or of all."""
    found: ByEndpoint = {}
    for one in (await api.call("GET", "metrics"))["metrics"]:
        if service and one["serviceId"] != service:
            continue
        if generation and one["generationId"] != generation:
            continue
        where = f"{one['serviceId']}/{one['endpointId']}"
        errors = sum(int(count) for status, count in one["statuses"].items() if int(status) >= 500)
        found[where] = found.get(where, Counts()) + Counts(one["queries"], errors)
    return found


def since(after: ByEndpoint, before: ByEndpoint) -> ByEndpoint:
    """Only what came after."""
    return {where: one.since(before.get(where, Counts())) for where, one in after.items()}


def pooled(found: Iterable[ByEndpoint]) -> ByEndpoint:
    """Of all nodes together."""
    together: ByEndpoint = {}
    for one in found:
        for where, answered in one.items():
            together[where] = together.get(where, Counts()) + answered
    return together


def total(found: ByEndpoint) -> Counts:
    """Of all endpoints together."""
    return sum(found.values(), Counts())


def check_errors(
    url: str, found: ByEndpoint, before: Sequence[ByEndpoint], errors_max: float
) -> None:
    """Raises ``GateError`` if an endpoint answered more with errors than it did before.

    ``errors_max``: the share of answers that may be errors more. ``before``: what the old one
    answered, over several times; the worst of them counts (see ``baseline``).
    """
    for where, one in found.items():
        was = [earlier[where] for earlier in before if where in earlier]
        if are_too_many(one, was, errors_max):
            share = errors_allowed(was, errors_max)
            raise GateError(
                f"{url}: {one.errors} of {one.answers} queries were answered with errors by "
                f"{where}; by what there was before, at most {share:.1%} may be."
            )
