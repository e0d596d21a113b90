"""The parameters of each action, checked before anything is sent (shapes: ``commands.Command``)."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias, TypeVar

import msgspec

from holdfast.bmc.commands import Command
from holdfast.bmc.untrusted import words
from holdfast.errors import InvalidInputError
from holdfast.store.model import Json

PowerTarget: TypeAlias = Literal["power on", "power off", "soft power off"]
BootDevice: TypeAlias = Literal["pxe", "disk", "cdrom"]
MediaUrl = Annotated[str, msgspec.Meta(pattern=r"^(https?|nfs|cifs)://[!-~]+\Z", max_length=2048)]
AgentUrl = Annotated[str, msgspec.Meta(max_length=512)]
CommandName = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9_]+\.[a-z0-9_]+\Z", max_length=128)]


class NoParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """For actions that need nothing."""


class Observe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``observe``. ``power_only`` spares the BMC and us the reading of its virtual media."""

    power_only: bool = False


class SetPower(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``set_power``: absolute states only, so that repeating it is harmless."""

    state: PowerTarget


class SetBootDevice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``set_boot_device``."""

    device: BootDevice
    persistent: bool


class InsertMedia(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``insert_media``: where the BMC fetches the image."""

    url: MediaUrl


class AgentCommand(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``agent_command``. ``verify_ca``: the certificate (PEM) that came with the heartbeat."""

    url: AgentUrl
    name: CommandName
    params: dict[str, Json] = {}
    wait: bool = False
    verify_ca: str | None = None


class AgentCommands(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``agent_commands``."""

    url: AgentUrl
    verify_ca: str | None = None


OBSERVE = "observe"
AGENT_ACTIONS = frozenset({"agent_command", "agent_commands"})
BMC_ACTIONS = frozenset(
    {
        *("observe", "verify", "inspect", "set_power", "set_boot_device"),
        *("insert_media", "eject_media", "inject_nmi"),
    }
)

P = TypeVar("P")


def params_of(command: Command, shape: type[P]) -> P:
    """The command's parameters, or ``InvalidInputError`` naming what is wrong with them."""
    try:
        return msgspec.convert(command.params, shape)
    except msgspec.ValidationError as error:
        raise InvalidInputError(f"Parameters of {command.action}: {words(str(error))}.") from None
