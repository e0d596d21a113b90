"""What is said between a conductor and a BMC gateway: values only.

On the wire: JSON over HTTP (``bmc.server`` and ``bmc.client``); in the simulator
the same values are passed through a simulated network.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Literal, Protocol, TypeAlias
from uuid import UUID

import msgspec

from holdfast.errors import HoldfastError
from holdfast.store.model import Json

Lane: TypeAlias = Literal["normal", "sync"]
"""Who waits for a command: ``normal`` somebody does, an operator or a job; ``sync`` nobody
does, so it gives way to all others, and as an observation may be cut off for them."""


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Where the BMC is and how to speak to it. Never a secret."""

    protocol: str = "redfish"
    address: str = ""  # URL of the BMC: http(s)://host[:port]
    system_id: str | None = None  # /redfish/v1/Systems/1; None: the only one there is
    verify_ca: bool | str = True
    auth_type: str = "auto"  # session | basic | auto (session, falling back to basic)


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Who sends a command and why. Goes to the BMC in ``X-Holdfast-Origin``, for its journal."""

    member: UUID
    epoch: int  # the token the command carries
    job: UUID | None = None
    step: str = ""
    attempt: int = 0

    def header(self) -> str:
        job = self.job or "-"
        return (
            f"member={self.member};epoch={self.epoch};job={job};"
            f"step={self.step or '-'};attempt={self.attempt}"
        )


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """One command for one BMC.

    ``token`` is max(claim epoch, the epoch drawn when the node entered its
    shard); ``term`` is the BMC's route term. ``sealed`` holds the credentials,
    readable by the gateway only (``bmc.sealing``).

    Actions and their params -> results:
      observe {"power_only": bool = false}
          -> {"power_state": "power on" | "power off" | null, "powering": bool,
              "boot_device": str | null, "media": str | null}; power_only: media unread, null
      verify {} -> {"vendor": str | null, "model": str | null, "system_id": str, "uuid": str | null}
      inspect {} -> {"cpu": {...}, "memory": {...}, "disks": [...], "interfaces": [...],
                     "system_vendor": {...}, "boot": {...}} (``bmc.inspection``)
      set_power {"state": "power on" | "power off" | "soft power off"} -> {}
      set_boot_device {"device": "pxe" | "disk" | "cdrom", "persistent": bool} -> {}
      insert_media {"url": str} -> {}        eject_media {} -> {}        inject_nmi {} -> {}
      agent_command {"url": str, "name": str, "params": {...}, "wait": bool} -> the agent's command
      agent_commands {"url": str} -> {"commands": [...]}
    The agent's own token travels inside ``sealed`` as ``agent_token``.
    """

    bmc: UUID
    term: int
    token: int
    action: str
    target: Target
    origin: Origin
    sealed: bytes
    params: dict[str, Json] = {}
    deadline_s: float = 60.0
    lane: Lane = "normal"


class Observed(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one of many observations: a result, or an error of ``bmc.errors``."""

    index: int  # in the sequence that was asked for
    seconds: float  # from the arrival of the command to its end
    result: dict[str, Json] | None = None
    error: HoldfastError | None = None


class GatewayIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """Which gateway this is. ``incarnation`` changes only when it has lost its state."""

    id: UUID
    incarnation: UUID
    public_key: bytes  # X25519, raw 32 bytes


class Gateway(Protocol):
    """The port through which conductors act. Errors are those of ``bmc.errors``."""

    async def identity(self) -> GatewayIdentity:
        """Who answers here."""
        ...

    async def floor(self, bmc: UUID, *, incarnation: UUID, term: int, floor: int) -> None:
        """Tell the gateway a BMC's route term and token floor."""
        ...

    async def command(self, command: Command) -> dict[str, Json]:
        """Have one command executed; returns its result."""
        ...


class Observatory(Protocol):
    """The port through which many machines are observed at once, each in the lane ``sync``."""

    def observe(self, commands: Sequence[Command]) -> AsyncGenerator[list[Observed]]:
        """Have these executed; results as they come, in any order, and one of each.

        Raises ``GatewayUnavailableError`` when no more answers will come.
        """
        ...
