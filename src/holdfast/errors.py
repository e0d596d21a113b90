"""The one root of all errors Holdfast raises on purpose.

Each subclass carries a stable ``code`` (for machines), an HTTP ``status`` (for
the web layer) and a message that says what is wrong and what to do next.
"""

from __future__ import annotations

from typing import ClassVar


class HoldfastError(Exception):
    """Base of every deliberate error. Subclasses set ``code`` and ``status``."""

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 500
    transient: ClassVar[bool] = False  # trying the same again later may succeed

    def __init__(self, message: str, **details: object) -> None:
        super().__init__(message)
        self.message = message
        self.details = details


class InvalidInputError(HoldfastError):
    """What was sent cannot be accepted as it is; the message names the field."""

    code = "invalid"
    status = 400


class NotAuthenticatedError(HoldfastError):
    """No valid credential came with the request; authenticate and repeat it."""

    code = "not_authenticated"
    status = 401


class ForbiddenError(HoldfastError):
    """The credential is valid but its roles do not allow this."""

    code = "forbidden"
    status = 403


class NotFoundError(HoldfastError):
    """No such object, or none that the caller may know of."""

    code = "not_found"
    status = 404


class ConflictError(HoldfastError):
    """The object's present state does not allow this; the message says which would."""

    code = "conflict"
    status = 409


class UnavailableError(HoldfastError):
    """A part this request needs cannot be reached now; repeat it later."""

    code = "unavailable"
    status = 503
    transient = True


class StoreUnavailableError(UnavailableError):
    """The database did not answer. Whether the last statement took effect is unknown."""

    code = "store_unavailable"


class LeaseLostError(HoldfastError):
    """This member may no longer act: its lease ended or can no longer be trusted."""

    code = "lease_lost"
    status = 503


class FenceLostError(HoldfastError):
    """The claim under which a write was made has passed to another owner."""

    code = "fence_lost"
    status = 409


class ConfigError(HoldfastError):
    """The configuration has faults; the message lists all of them."""

    code = "config"
