"""From an owner to the gateway: routes, floors and seals, so that job handlers need not know.

Runs beside the conductor, on ports only; so also in the simulator.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol
from uuid import UUID

import msgspec

from holdfast.bmc.commands import Command, Gateway, GatewayIdentity, Lane, Origin, Target
from holdfast.bmc.errors import FloorNeededError, OtherGatewayError, SealBrokenError, StaleTermError
from holdfast.bmc.sealing import seal as seal_for_gateway
from holdfast.bmc.sealing import seal_context
from holdfast.errors import ConflictError
from holdfast.store.model import Json, ObjectRef, RouteGrant

TRIES_MAX = 3
OUT_OF_DATE = (FloorNeededError, StaleTermError, SealBrokenError)

Seal = Callable[[dict[str, Json], bytes, bytes], bytes]
"""(secrets, public key, context) -> sealed: ``sealing.seal``."""


class Routes(Protocol):
    """The part of ``store.port.ObjectStore`` that is needed here."""

    async def grant_route(self, obj: ObjectRef, gateway: UUID, incarnation: UUID) -> RouteGrant:
        """As in ``ObjectStore``."""
        ...


class Dispatcher:
    """Sends commands for objects that have a BMC.

    What it remembers (who the gateway is, each BMC's term) is only a shortcut: a
    gateway that knows better says so, and then both are read again.
    """

    def __init__(self, store: Routes, gateway: Gateway, seal: Seal = seal_for_gateway) -> None:
        self._store = store
        self._gateway = gateway
        self._seal = seal
        self._identity: GatewayIdentity | None = None
        self._terms: dict[UUID, int] = {}

    async def send(
        self,
        obj: ObjectRef,
        token: int,
        target: Target,
        secrets: dict[str, Json],
        action: str,
        params: dict[str, Json],
        origin: Origin,
        deadline_s: float = 60.0,
        lane: Lane = "normal",
    ) -> dict[str, Json]:
        """Have one command executed for the owner of ``obj``, whose token is ``token``.

        Returns the action's result (``commands.Command``). Raises ``bmc.errors``;
        ``StaleTokenError`` means that the caller no longer owns the object. A lost
        answer (``GatewayUnavailableError``) is not repeated here: whether the
        command was executed is unknown, and only the caller knows how to observe.
        """
        tries = 0
        while True:
            tries += 1
            try:
                identity, term = await self.route(obj)
                command = Command(
                    bmc=obj.id,
                    term=term,
                    token=token,
                    action=action,
                    target=target,
                    origin=msgspec.structs.replace(origin, epoch=token),
                    sealed=self.sealed(obj, target, secrets, identity),
                    params=params,
                    deadline_s=deadline_s,
                    lane=lane,
                )
                return await self._gateway.command(command)
            except OUT_OF_DATE:
                # Nothing was executed, and what we remember is out of date.
                self.mistaken(obj)
                if tries == TRIES_MAX:
                    raise

    async def route(self, obj: ObjectRef) -> tuple[GatewayIdentity, int]:
        """Who answers for the object's BMC, and its route term, which that gateway knows.

        Raises ``OtherGatewayError`` where the BMC belongs to another gateway.
        """
        identity = await self._who()
        return identity, await self._term(obj, identity)

    def sealed(
        self, obj: ObjectRef, target: Target, secrets: dict[str, Json], identity: GatewayIdentity
    ) -> bytes:
        """Secrets for a command to the object's BMC at that address, sealed to the gateway."""
        if not secrets:
            return b""
        context = seal_context(obj.id, target.address)
        return self._seal(secrets, identity.public_key, context)

    def mistaken(self, obj: ObjectRef) -> None:
        """The gateway did not accept what is remembered: read it again next time."""
        self._identity = None
        self._terms.pop(obj.id, None)

    def forget(self, obj: ObjectRef) -> None:
        """The object is gone, or no longer ours."""
        self._terms.pop(obj.id, None)

    async def _who(self) -> GatewayIdentity:
        known = self._identity
        if known is None:
            known = await self._gateway.identity()
            self._identity = known
        return known

    async def _term(self, obj: ObjectRef, identity: GatewayIdentity) -> int:
        """The BMC's route term, granted to this gateway and known to it."""
        known = self._terms.get(obj.id)
        if known is None:
            try:
                grant = await self._store.grant_route(obj, identity.id, identity.incarnation)
            except ConflictError as fault:
                raise OtherGatewayError(fault.message) from None
            await self._gateway.floor(
                obj.id, incarnation=identity.incarnation, term=grant.term, floor=grant.floor
            )
            known = self._terms[obj.id] = grant.term
        return known
