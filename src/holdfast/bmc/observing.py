"""From an owner to many BMCs at once: the observations of power sync, with routes and seals.

What ``dispatch`` does for one command that somebody waits for, this does for many that
nobody waits for. A seal is made once and kept until the credentials, the address or the
gateway change: it is readable by the gateway only, and costs more than all the rest.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Hashable, Sequence
from uuid import UUID

import msgspec

from holdfast.bmc.commands import Command, Observatory, Observed, Origin, Target
from holdfast.bmc.dispatch import OUT_OF_DATE, Dispatcher
from holdfast.bmc.params import OBSERVE
from holdfast.errors import HoldfastError
from holdfast.store.model import Json, ObjectRef

POWER_ONLY: dict[str, Json] = {"power_only": True}


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """One machine to observe. ``secrets`` is called only when ``version`` is another than before.

    ``version`` must differ whenever what ``secrets`` returns may.
    """

    obj: ObjectRef
    token: int
    target: Target
    version: Hashable
    secrets: Callable[[], dict[str, Json]]
    origin: Origin
    deadline_s: float


class Seal(msgspec.Struct, frozen=True):
    """Sealed credentials, and what they were made of."""

    made_of: Hashable
    sealed: bytes


class Observer:
    """Observes the power of machines in the lane ``sync``."""

    def __init__(self, dispatcher: Dispatcher, observatory: Observatory) -> None:
        self._dispatcher = dispatcher
        self._observatory = observatory
        self._seals: dict[UUID, Seal] = {}

    async def observe(self, asks: Sequence[Ask]) -> AsyncGenerator[list[Observed]]:
        """Results as they come, one for each ask, by its index.

        What concerns one machine alone is its ``Observed.error``; raised is only what
        keeps all that are missing yet from being asked.
        """
        made = await asyncio.gather(*(self._command(ask) for ask in asks), return_exceptions=True)
        commands: list[Command] = []
        indices: list[int] = []
        failed: list[Observed] = []
        for index, command in enumerate(made):
            if isinstance(command, Command):
                indices.append(index)
                commands.append(command)
            elif isinstance(command, HoldfastError):
                failed.append(Observed(index=index, seconds=0.0, error=command))
            else:
                raise command
        if failed:
            yield failed
        if not commands:
            return
        async for together in self._observatory.observe(commands):
            for one in together:
                if isinstance(one.error, OUT_OF_DATE):
                    self._dispatcher.mistaken(asks[indices[one.index]].obj)
            yield [msgspec.structs.replace(one, index=indices[one.index]) for one in together]

    def forget(self, obj: ObjectRef) -> None:
        """The object is gone, or no longer ours."""
        self._seals.pop(obj.id, None)
        self._dispatcher.forget(obj)

    async def _command(self, ask: Ask) -> Command:
        identity, term = await self._dispatcher.route(ask.obj)
        made_of = (ask.version, ask.target.address, identity.public_key)
        known = self._seals.get(ask.obj.id)
        if known is None or known.made_of != made_of:
            sealed = self._dispatcher.sealed(ask.obj, ask.target, ask.secrets(), identity)
            known = self._seals[ask.obj.id] = Seal(made_of, sealed)
        return Command(
            bmc=ask.obj.id,
            term=term,
            token=ask.token,
            action=OBSERVE,
            target=ask.target,
            origin=msgspec.structs.replace(ask.origin, epoch=ask.token),
            sealed=known.sealed,
            params=POWER_ONLY,
            deadline_s=ask.deadline_s,
            lane="sync",
        )
