"""The line of commands before one machine. Pure but for the future that carries the answer.

A machine has two sides that are spoken to apart: its BMC and its ramdisk agent. A
long agent command must not keep an operator's observation of the BMC waiting. Each
side takes one command at a time, first come first served; and neither begins one
while the other still executes one with a lower token, so a new owner acts on
neither side before all of the old owner's commands have ended.

The lane ``sync`` is for what nobody waits for: it comes after all others.
"""

from __future__ import annotations

import asyncio
from collections import deque
from enum import Enum

from holdfast.bmc.commands import Command
from holdfast.bmc.params import AGENT_ACTIONS, OBSERVE
from holdfast.errors import HoldfastError
from holdfast.store.model import Json


class Side(Enum):
    """What of a machine a command speaks to."""

    BMC = "bmc"
    AGENT = "agent"


BMC_SIDE = Side.BMC


def side_of(action: str) -> Side:
    """The side an action speaks to."""
    return Side.AGENT if action in AGENT_ACTIONS else Side.BMC


class Ticket:
    """A command's place in the line. Times are the loop's."""

    __slots__ = (
        "answer",
        "arrived",
        "begun",
        "command",
        "cut_off",
        "deadline",
        "paced",
        "side",
        "sync",
        "task",
        "timer",
    )

    def __init__(
        self,
        *,
        command: Command,
        side: Side,
        arrived: float,
        deadline: float,
        answer: asyncio.Future[dict[str, Json]],
    ) -> None:
        self.command = command
        self.side = side
        self.arrived = arrived
        self.deadline = deadline
        self.answer = answer
        self.begun = False  # whether it was passed to the device
        self.timer: asyncio.TimerHandle | None = None  # while it waits
        self.sync = command.lane == "sync"
        self.paced = False  # waits for its turn to switch a machine on
        self.task: asyncio.Task[None] | None = None  # once it runs
        self.cut_off = False  # for another one, while it ran

    def succeed(self, result: dict[str, Json]) -> None:
        """Answer; nothing happens if the caller has gone away."""
        if not self.answer.done():
            self.answer.set_result(result)

    def fail(self, error: HoldfastError) -> None:
        """Answer with an error; nothing happens if the caller has gone away."""
        if not self.answer.done():
            self.answer.set_exception(error)


class Line:
    """Who waits for one machine, and who is being served."""

    __slots__ = ("address", "last", "running", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[Ticket] = deque()
        self.running: dict[Side, Ticket] = {}
        self.last: str | None = None  # how the last command ended: "ok" or an error's code
        self.address: str | None = None  # of the last command

    def startable(self) -> list[Ticket]:
        """Those that may begin now: at most one per side, the first in line of each.

        What is in the lane ``sync`` comes after all others.
        """
        chosen: dict[Side, Ticket] = {}
        for ticket in self.waiting:
            if ticket.paced or ticket.side in self.running:
                continue
            first = chosen.get(ticket.side)
            if first is None or (first.sync and not ticket.sync):
                chosen[ticket.side] = ticket
        in_flight = [running.command for running in self.running.values()]
        return [
            ticket
            for ticket in chosen.values()
            if not any(_older(command, ticket.command) for command in in_flight)
        ]

    def in_the_way(self) -> Ticket | None:
        """The observation of power sync in flight that keeps another command waiting."""
        running = self.running.get(BMC_SIDE)
        if running is None or not running.sync or running.command.action != OBSERVE:
            return None
        return running if any(not ticket.sync for ticket in self.waiting) else None


def _older(running: Command, waiting: Command) -> bool:
    """Whether what is in flight was sent by an earlier owner (or under an earlier route)."""
    return running.token < waiting.token or running.term < waiting.term
