"""Many machines observed at once, for power sync (``commands.Observatory``)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

import structlog
from msgspec.structs import replace

from holdfast.bmc.commands import Command, Gateway, Observed
from holdfast.bmc.errors import BmcError, BmcTimeoutError
from holdfast.bmc.params import OBSERVE
from holdfast.errors import HoldfastError, InvalidInputError
from holdfast.store.model import Json

log = structlog.get_logger()

TOGETHER_S = 0.02  # nobody waits for these; a write for each would cost more than to wait


class Observations:
    """``commands.Observatory`` over a gateway: at most ``limit`` observations at a time.

    The rest wait here, before the lines of their BMCs; their deadlines run meanwhile.
    """

    def __init__(self, gateway: Gateway, limit: int) -> None:
        self._gateway = gateway
        self._places = asyncio.Semaphore(limit)

    async def observe(self, commands: Sequence[Command]) -> AsyncGenerator[list[Observed]]:
        """Results as they come, those of a few milliseconds together.

        Stop early, and what was not answered yet is abandoned.
        """
        for command in commands:
            if command.action != OBSERVE or command.lane != "sync":
                raise InvalidInputError("Only observations in the lane sync are taken in numbers.")
        done: asyncio.Queue[Observed] = asyncio.Queue()
        tasks = [
            asyncio.create_task(self._observe(index, command, done))
            for index, command in enumerate(commands)
        ]
        try:
            left = len(tasks)
            while left:
                together = [await done.get()]
                if left > 1:
                    await asyncio.sleep(TOGETHER_S)
                while not done.empty():
                    together.append(done.get_nowait())
                left -= len(together)
                yield together
        finally:
            for task in tasks:
                task.cancel()

    async def _observe(self, index: int, command: Command, done: asyncio.Queue[Observed]) -> None:
        """Put exactly one answer into ``done``, whatever happens: somebody counts them."""
        loop = asyncio.get_running_loop()
        arrived = begun = loop.time()
        result: dict[str, Json] | None = None
        fault: HoldfastError | None = None
        try:
            async with self._places:
                begun = loop.time()
                left_s = command.deadline_s - (begun - arrived)
                if left_s <= 0:
                    raise BmcTimeoutError("Other observations took all of its time.", begun=False)
                result = await self._gateway.command(replace(command, deadline_s=left_s))
        except HoldfastError as error:
            fault = error
        except Exception as error:
            log.exception("bmc.observation_failed", bmc=str(command.bmc))
            fault = BmcError(f"The gateway failed at an observation ({type(error).__name__}).")
        seconds = loop.time() - begun
        done.put_nowait(Observed(index=index, seconds=seconds, result=result, error=fault))
