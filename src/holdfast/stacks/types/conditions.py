"""Wait conditions: a stack waits until whoever it set up has said so by signals.

A handle takes signals; a condition that names the handle waits for so many of them. What was
signalled is kept with the handle, so it may come before the condition, and outlives engines.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final

from holdfast.errors import InvalidInputError
from holdfast.stacks.hot.constraints import AllowedValues, Range
from holdfast.stacks.hot.properties import PropertySchema
from holdfast.stacks.hot.shapes import is_map
from holdfast.stacks.resource import (
    Attribute,
    Base,
    Change,
    Peer,
    Progress,
    Ready,
    Replace,
    ResourceContext,
    ResourceFailedError,
    Wait,
)
from holdfast.stacks.types.schemas import integer, number, string
from holdfast.stacks.types.signalling import TOKEN, endpoint, new_token
from holdfast.store.model import Json

SUCCESS: Final = "SUCCESS"
FAILURE: Final = "FAILURE"
POLL_S: Final = 5.0
"""A signal wakes who waits for it; this is for the one that got lost on its way."""

_TRANSPORT: Final = "signal_transport"
_TOKEN_SIGNAL: Final = "TOKEN_SIGNAL"  # noqa: S105 - a name
_NO_SIGNAL: Final = "NO_SIGNAL"
_ELSEWHERE: Final = {
    "CFN_SIGNAL": "the CloudFormation API",
    "TEMP_URL_SIGNAL": "an object store",
    "ZAQAR_SIGNAL": "a messaging service",
}
_TRANSPORTS: Final = ("CFN_SIGNAL", "TEMP_URL_SIGNAL", "HEAT_SIGNAL", "NO_SIGNAL")
_FIELDS: Final = ("id", "status", "reason", "data")
_MARK: Final = "wait_condition_handle"
"""Among a handle's notes: its transport. By it a condition knows a handle, by whatever name."""

_HANDLE: Final[Mapping[str, PropertySchema]] = {
    _TRANSPORT: string(
        "How signals come: TOKEN_SIGNAL by HTTP POST with the attribute token; HEAT_SIGNAL by the "
        "API's resource signal with one's own credentials; NO_SIGNAL: none is waited for. "
        "CFN_SIGNAL, TEMP_URL_SIGNAL and ZAQAR_SIGNAL need services that are not here, and are "
        "refused.",
        AllowedValues((*_TRANSPORTS, "ZAQAR_SIGNAL", _TOKEN_SIGNAL)),
        default=_TOKEN_SIGNAL,
    ),
}
_HANDLE_ATTRIBUTES: Final[Mapping[str, Attribute]] = {
    "token": Attribute(description="What to send as X-Auth-Token; null unless TOKEN_SIGNAL."),
    "endpoint": Attribute(description="The address to POST to; null unless TOKEN_SIGNAL."),
    "curl_cli": Attribute(
        description=(
            "The beginning of a curl command that signals; add --data-binary "
            '\'{"status": "SUCCESS"}\' or \'{"status": "FAILURE"}\'. Null unless TOKEN_SIGNAL.'
        )
    ),
    "signal": Attribute(description="All that a client needs to signal, as JSON in a string."),
}


class Received:
    """What was signalled to a handle: the latest of each id, in order."""

    def __init__(self, signals: Sequence[Mapping[str, Json]]) -> None:
        self.entries: dict[str, dict[str, Json]] = {}
        for signal in signals:
            number_of = len(self.entries) + 1
            key = signal.get("id")
            self.entries[str(number_of if key is None else key)] = {
                "status": signal.get("status") or SUCCESS,
                "reason": signal.get("reason") or f"Signal {number_of} received",
                "data": signal.get("data"),
            }

    def reasons(self, status: str) -> str:
        """Of every signal with this status."""
        found = (one["reason"] for one in self.entries.values() if one["status"] == status)
        return ";".join(str(reason) for reason in found)

    def data(self) -> str:
        """``{id: data}``, as JSON."""
        return json.dumps({key: one["data"] for key, one in self.entries.items()})


class WaitConditionHandle(Base):
    """``OS::Heat::WaitConditionHandle``."""

    name = "OS::Heat::WaitConditionHandle"
    keeps_secrets = True
    description = (
        "Takes the signals that a wait condition waits for: maps with status (SUCCESS or FAILURE), "
        "reason, data and id, each of them optional. A second signal of an id replaces the first."
    )
    takes_signals = True

    @property
    def properties(self) -> Mapping[str, PropertySchema]:
        return _HANDLE

    @property
    def attributes(self) -> Mapping[str, Attribute]:
        return _HANDLE_ATTRIBUTES

    def check(self, properties: Mapping[str, Json]) -> None:
        missing = _ELSEWHERE.get(str(properties.get(_TRANSPORT)))
        if missing is not None:
            raise InvalidInputError(
                f"{_TRANSPORT}: {properties[_TRANSPORT]} needs {missing}, which is not here; "
                f"use {_TOKEN_SIGNAL} or HEAT_SIGNAL"
            )

    async def create(self, ctx: ResourceContext) -> Progress:
        transport = ctx.properties.get(_TRANSPORT, _TOKEN_SIGNAL)
        token = new_token() if transport == _TOKEN_SIGNAL else None
        return Ready(
            physical_id=str(ctx.row.id),
            attributes=_ways_in(ctx, token),
            data={_MARK: transport, **({} if token is None else {TOKEN: token})},
        )

    async def signal(self, ctx: ResourceContext, payload: Json) -> Json:
        given: Json = {} if payload is None else payload
        if not is_map(given):
            raise InvalidInputError("a signal to a wait condition handle is a map, or nothing")
        if unknown := sorted(given.keys() - set(_FIELDS)):
            raise InvalidInputError(
                f"a signal has no {', '.join(unknown)}; it may have {', '.join(_FIELDS)}"
            )
        if given.get("status", SUCCESS) not in (SUCCESS, FAILURE):
            raise InvalidInputError(f"the status of a signal is {SUCCESS} or {FAILURE}")
        return {name: given.get(name) for name in _FIELDS}


class UpdateWaitConditionHandle(WaitConditionHandle):
    """``OS::Heat::UpdateWaitConditionHandle``: a new one with every update."""

    name = "OS::Heat::UpdateWaitConditionHandle"
    description = (
        "A wait condition handle that every update of the stack replaces, so that everybody has to "
        "signal again; then UPDATE_COMPLETE means that the new configuration is rolled out."
    )
    always_updates = True

    @property
    def properties(self) -> Mapping[str, PropertySchema]:
        return {}

    async def update(self, ctx: ResourceContext) -> Change:
        return Replace("an update asks for new signals")


def _ways_in(ctx: ResourceContext, token: str | None) -> dict[str, Json]:
    """The handle's attributes. Without an address there is no endpoint to show."""
    about = {
        "stack_id": str(ctx.stack.id),
        "stack_name": ctx.stack.name,
        "project_id": ctx.stack.project,
        "resource_name": ctx.row.name,
    }
    if token is None:
        signal = json.dumps(about)
        return {"token": None, "endpoint": None, "curl_cli": None, "signal": signal}
    address = endpoint(ctx)
    curl = None
    if address is not None:
        headers = (f"X-Auth-Token: {token}", "Content-Type: application/json")
        said = " ".join(f"-H '{header}'" for header in (*headers, "Accept: application/json"))
        curl = f"curl -i -X POST {said} {address}"
    signal = json.dumps({**about, "endpoint": address, "token": token})
    return {"token": token, "endpoint": address, "curl_cli": curl, "signal": signal}


_CONDITION: Final[Mapping[str, PropertySchema]] = {
    "handle": string("A reference to the handle that is signalled.", required=True),
    "timeout": number(
        "Seconds within which the signals must have come.",
        Range(min=1, max=43200),
        required=True,
    ),
    "count": integer(
        "How many signals of success there must be.", Range(min=1), default=1, updates=True
    ),
}


class WaitCondition(Base):
    """``OS::Heat::WaitCondition``."""

    name = "OS::Heat::WaitCondition"
    description = (
        "Is complete once its handle got enough signals of success, fails at the first of failure, "
        "and when the time is up."
    )

    @property
    def properties(self) -> Mapping[str, PropertySchema]:
        return _CONDITION

    @property
    def attributes(self) -> Mapping[str, Attribute]:
        return {
            "data": Attribute(description="The data of the signals by id, as JSON in a string.")
        }

    async def create(self, ctx: ResourceContext) -> Progress:
        return await _heard(ctx)

    async def update(self, ctx: ResourceContext) -> Change:
        return await _heard(ctx)


async def _heard(ctx: ResourceContext) -> Progress:
    reference = str(ctx.properties["handle"])
    handle: Peer | None = await ctx.peer(reference)
    if handle is None or _MARK not in handle.row.data:
        raise ResourceFailedError(f"{reference} is not a valid wait condition handle.")
    received = Received(handle.signals)
    count, wanted = len(received.entries), ctx.properties["count"]
    if failed := received.reasons(FAILURE):
        raise ResourceFailedError(f"WaitConditionFailure: {failed}")
    if count >= wanted or handle.row.data[_MARK] == _NO_SIGNAL:
        return Ready(physical_id=str(ctx.row.id), attributes={"data": received.data()})
    so_far = f"{count} of {wanted} received"
    left = ctx.started_at + ctx.properties["timeout"] - ctx.now
    if left <= 0:
        reasons = received.reasons(SUCCESS)
        raise ResourceFailedError(
            f"WaitConditionTimeout: {so_far}" + (f" - {reasons}" if reasons else "")
        )
    return Wait(seconds=min(left, POLL_S), reason=so_far)
