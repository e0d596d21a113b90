"""Which driver executes a command: by its action, then by its target's protocol."""

from __future__ import annotations

from holdfast.bmc.agent import AgentClient
from holdfast.bmc.commands import Command
from holdfast.bmc.outbound import Connected
from holdfast.bmc.params import AGENT_ACTIONS
from holdfast.bmc.redfish import Redfish
from holdfast.bmc.settings import BmcSettings
from holdfast.errors import InvalidInputError
from holdfast.store.model import Json


class Drivers:
    """``gateway.Device`` over all real drivers. Make it inside the loop; close it."""

    def __init__(self, settings: BmcSettings, connected: Connected) -> None:
        self._redfish = Redfish(settings, connected)
        self._agent = AgentClient(settings, connected)

    async def execute(self, command: Command, secrets: dict[str, Json]) -> dict[str, Json]:
        """Do one action by the driver that can."""
        if command.action in AGENT_ACTIONS:
            return await self._agent.execute(command, secrets)
        if command.target.protocol == "redfish":
            return await self._redfish.execute(command, secrets)
        raise InvalidInputError(
            f"No driver speaks {command.target.protocol!r} to a BMC; known: redfish."
        )

    async def close(self) -> None:
        """Close the drivers' sessions and connections."""
        await self._agent.close()
        await self._redfish.close()
