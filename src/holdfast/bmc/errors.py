"""Errors of the gateway, as its clients see them. The code is what travels on the wire."""

from __future__ import annotations

from holdfast.errors import FenceLostError, HoldfastError


class BmcError(HoldfastError):
    """Base of all that can go wrong between a conductor and a BMC."""

    code = "bmc_error"
    status = 502


class StaleTokenError(BmcError, FenceLostError):
    """A higher token was seen for this BMC: the sender no longer owns the node."""

    code = "stale_token"
    status = 409


class StaleTermError(BmcError):
    """This gateway is not (or no longer) responsible for the BMC under that term."""

    code = "stale_term"
    status = 409
    transient = True


class FloorNeededError(BmcError):
    """The gateway knows no token floor for this BMC yet; grant the route and repeat."""

    code = "floor_needed"
    status = 409
    transient = True


class OtherGatewayError(BmcError):
    """The BMC belongs to another gateway than the one asked here; nothing was executed."""

    code = "other_gateway"
    status = 409
    transient = True


class GatewayUnavailableError(BmcError):
    """The gateway itself did not answer. Whether the command was executed is unknown."""

    code = "gateway_unavailable"
    transient = True
    status = 503


class BmcUnreachableError(BmcError):
    """The BMC did not accept a connection; nothing was executed."""

    code = "bmc_unreachable"
    transient = True


class BmcTimeoutError(BmcError):
    """The BMC did not answer within the deadline. Whether it acted is unknown."""

    code = "bmc_timeout"
    transient = True
    status = 504


class BmcAuthError(BmcError):
    """The BMC refused the credentials."""

    code = "bmc_auth"


class BmcRefusedError(BmcError):
    """The BMC answered with an error of its own, or with nonsense; nothing was executed.

    Also where the gateway may not go to it: trying again would change nothing.
    """

    code = "bmc_refused"


class BreakerOpenError(BmcError):
    """The BMC failed repeatedly; the gateway asks it again after ``retry_after_s``."""

    code = "breaker_open"
    transient = True
    status = 503


SILENT = frozenset({BmcUnreachableError.code, BmcTimeoutError.code, BreakerOpenError.code})
"""Codes that say: the gateway is there, but the BMC does not answer it."""


class PacedError(BmcError):
    """Too many machines are being switched on; ask again after ``retry_after_s``."""

    code = "paced"
    transient = True
    status = 503

    @property
    def retry_after_s(self) -> float:
        """When to come again, in seconds."""
        said = self.details.get("retry_after_s")
        return float(said) if isinstance(said, int | float) else 1.0


class GaveWayError(BmcError):
    """An observation of power sync was cut off for another command; nothing is known."""

    code = "gave_way"
    transient = True
    status = 409


class AgentError(BmcError):
    """The ramdisk agent refused the command or does not answer."""

    code = "agent_error"


class AgentSilentError(AgentError):
    """The ramdisk agent did not answer. Whether it acted is unknown; its commands tell."""

    code = "agent_silent"
    transient = True
    status = 504


class AgentBusyError(AgentError):
    """The ramdisk agent is executing another command."""

    code = "agent_busy"
    transient = True
    status = 409


class SealBrokenError(BmcError):
    """The sealed credentials cannot be opened: made for another gateway, BMC or address."""

    code = "seal_broken"
    status = 422


class GateStateError(BmcError):
    """The gateway's state on disk cannot be used; nothing is executed without it."""

    code = "gate_state"
    status = 500
