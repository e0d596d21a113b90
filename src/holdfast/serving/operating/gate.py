"""Whether a node is fit to answer: before it gets queries, and by its answers when it does."""

from __future__ import annotations

from typing import Any

import msgspec

from holdfast.errors import HoldfastError
from holdfast.serving.operating.api import NodeApi, name


class Counts(msgspec.Struct, frozen=True):
    """Answers since a generation was loaded; ``errors``: those with a status of 500 or more."""

    answers: int = 0
    errors: int = 0

    def since(self, before: Counts) -> Counts:
        """Only those that came after; counters begin anew with a new process."""
        if self.answers < before.answers or self.errors < before.errors:
            return self
        return Counts(self.answers - before.answers, self.errors - before.errors)


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


async def counts(api: NodeApi, service: str = "", generation: str = "") -> Counts:
    """What was answered: of one generation, or of all."""
    answers = errors = 0
    for one in (await api.call("GET", "metrics"))["metrics"]:
        if service and (one["serviceId"], one["generationId"]) != (service, generation):
            continue
        answers += one["queries"]
        errors += sum(count for status, count in _statuses(one) if status >= 500)
    return Counts(answers, errors)


def _statuses(one: dict[str, Any]) -> list[tuple[int, int]]:
    return [(int(status), int(count)) for status, count in one["statuses"].items()]


def check_errors(url: str, found: Counts, errors_max: float) -> None:
    """Raises ``GateError`` if more than that share of answers were errors."""
    if found.errors > errors_max * found.answers:
        raise GateError(
            f"{url}: {found.errors} of {found.answers} queries were answered with errors; at most "
            f"{errors_max:.1%} may be."
        )
