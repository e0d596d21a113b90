"""Ports of the gateway for tests: a memory that can hang, a machine that does as it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from uuid import UUID

from holdfast.bmc.commands import Command, GatewayIdentity, Lane, Origin, Target
from holdfast.bmc.gate import Mark
from holdfast.store.model import Json

MEMBER = UUID(int=100)
BMC = UUID(int=200)
ADDRESS = "http://192.0.2.1"
GATEWAY = GatewayIdentity(id=UUID(int=1), incarnation=UUID(int=2), public_key=bytes(32))


def command(
    token: int = 7,
    *,
    action: str = "observe",
    term: int = 5,
    bmc: UUID = BMC,
    address: str = ADDRESS,
    deadline_s: float = 60.0,
    params: dict[str, Json] | None = None,
    sealed: bytes = b"",
    step: str = "",
    system_id: str | None = None,
    protocol: str = "redfish",
    auth_type: str = "auto",
    verify_ca: bool | str = True,
    lane: Lane = "normal",
) -> Command:
    return Command(
        bmc=bmc,
        term=term,
        token=token,
        action=action,
        target=Target(
            protocol=protocol,
            address=address,
            system_id=system_id,
            auth_type=auth_type,
            verify_ca=verify_ca,
        ),
        origin=Origin(member=MEMBER, epoch=token, step=step),
        sealed=sealed,
        params=params or {},
        deadline_s=deadline_s,
        lane=lane,
    )


class Memory:
    """A disk. ``hold`` keeps records from becoming durable; ``fault`` makes them fail."""

    def __init__(self) -> None:
        self.marks: dict[UUID, Mark] = {}
        self.hold: asyncio.Event | None = None
        self.fault: OSError | None = None
        self.records = 0

    async def load(self) -> tuple[GatewayIdentity, dict[UUID, Mark]]:
        return GATEWAY, dict(self.marks)

    async def record(self, bmc: UUID, term: int, token: int) -> None:
        if self.hold is not None:
            await self.hold.wait()
        if self.fault is not None:
            raise self.fault
        self.records += 1
        known = self.marks.get(bmc, Mark(0, 0))
        self.marks[bmc] = Mark(max(term, known.term), max(token, known.token))


class Machine:
    """Notes what it is told. ``behave`` decides what happens then: raise, wait, or nothing."""

    def __init__(self, memory: Memory | None = None) -> None:
        self.memory = memory
        self.begun: list[tuple[str, int]] = []
        self.done: list[tuple[str, int]] = []
        self.secrets: list[dict[str, Json]] = []
        self.gates: dict[int, asyncio.Event] = {}  # token -> let it finish
        self.behave: Callable[[Command], None] = lambda _: None
        self.in_flight: set[tuple[UUID, bool]] = set()

    async def execute(self, command: Command, secrets: dict[str, Json]) -> dict[str, Json]:
        if self.memory is not None:
            assert self.memory.marks[command.bmc].token >= command.token, "sent before durable"
        side = (command.bmc, command.action.startswith("agent_"))
        assert side not in self.in_flight, "two commands at a time"
        self.in_flight.add(side)
        self.begun.append((command.action, command.token))
        self.secrets.append(secrets)
        try:
            self.behave(command)
            if command.token in self.gates:
                await self.gates[command.token].wait()
            self.done.append((command.action, command.token))
            return {"token": command.token}
        finally:
            self.in_flight.discard(side)
