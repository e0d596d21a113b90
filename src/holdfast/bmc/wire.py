"""The gateway's HTTP interface, as both of its ends know it: paths, bodies, errors.

::

    GET  /v1/identity             -> 200 GatewayIdentity
    PUT  /v1/bmcs/{uuid}/floor    Floor -> 204
    POST /v1/commands             Command -> 200 the action's result
    POST /v1/observations         [Command] -> 200, a line of JSON (``Sighting``) for each
    GET  /v1/status               -> 200 ``GatewayCore.status``

All under ``Authorization: Bearer <secret>``; bytes are base64. An error is JSON,
``{"code", "message", "details"}``, with the error's own status. Without secret:
``/livez``, ``/readyz``, ``/metrics``.
"""

from __future__ import annotations

from uuid import UUID

import msgspec

from holdfast.bmc import errors as bmc_errors
from holdfast.bmc.commands import Observed
from holdfast.bmc.errors import GatewayUnavailableError
from holdfast.errors import (
    ForbiddenError,
    HoldfastError,
    InvalidInputError,
    NotAuthenticatedError,
    NotFoundError,
)
from holdfast.store.model import Json

IDENTITY = "/v1/identity"
COMMANDS = "/v1/commands"
OBSERVATIONS = "/v1/observations"
STATUS = "/v1/status"


def floor_path(bmc: UUID | str) -> str:
    """Where a BMC's floor is put."""
    return f"/v1/bmcs/{bmc}/floor"


class Floor(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of a floor message (``commands.Gateway.floor``)."""

    incarnation: UUID
    term: int
    floor: int


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """The body of every error."""

    code: str
    message: str
    details: dict[str, Json] = {}


class Sighting(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``commands.Observed`` as a line of the answer."""

    index: int
    seconds: float
    result: dict[str, Json] | None = None
    problem: Problem | None = None


def sighting_of(observed: Observed) -> Sighting:
    """An observation as it goes over the wire."""
    return Sighting(
        index=observed.index,
        seconds=round(observed.seconds, 6),
        result=observed.result,
        problem=None if observed.error is None else problem_of(observed.error),
    )


def observed_of(sighting: Sighting) -> Observed:
    """The observation that was made at the other end."""
    return Observed(
        index=sighting.index,
        seconds=sighting.seconds,
        result=sighting.result,
        error=None if sighting.problem is None else error_of(sighting.problem),
    )


def problem_of(error: HoldfastError) -> Problem:
    """An error as it goes over the wire."""
    return Problem(code=error.code, message=error.message, details=dict(error.details))


def error_of(problem: Problem) -> HoldfastError:
    """The error that was raised at the other end; one of an unknown code is a gateway fault."""
    kind = _ERRORS.get(problem.code)
    if kind is None:
        return GatewayUnavailableError(f"The gateway answered {problem.code}: {problem.message}")
    return kind(problem.message, **problem.details)


def _kinds() -> dict[str, type[HoldfastError]]:
    kinds: list[type[HoldfastError]] = [
        InvalidInputError,
        NotAuthenticatedError,
        ForbiddenError,
        NotFoundError,
    ]
    kinds.extend(
        value
        for value in vars(bmc_errors).values()
        if isinstance(value, type) and issubclass(value, bmc_errors.BmcError)
    )
    return {kind.code: kind for kind in kinds}


_ERRORS = _kinds()
