"""The pace at which machines are switched on, so that a rack's supply is not overrun.

After a power cut five hundred machines want to be switched on at once. A bucket of
tokens bounds how many are, per second; who waits is served first come first served
within a lane, and lanes take turns, so that an operator's machine does not wait for
all that power sync switches on again. ``Pace`` is pure, times are seconds of any one
monotonic clock; ``PaceKeeper`` runs it on the loop.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from holdfast.bmc.commands import Lane
from holdfast.bmc.errors import PacedError
from holdfast.bmc.line import Ticket

T = TypeVar("T")


class Pace(Generic[T]):
    """A bucket of ``burst`` tokens that fills at ``per_s``."""

    def __init__(self, per_s: float, burst: int) -> None:
        self._per_s = per_s
        self._burst = float(burst)
        self._tokens = float(burst)
        self._at = 0.0
        self._waiting: dict[Lane, deque[T]] = {"normal": deque(), "sync": deque()}
        self._turn: Lane = "normal"

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def wait_s(self, lane: Lane, now: float) -> float:
        """How long one who came now would wait, if nobody else did."""
        other: Lane = "sync" if lane == "normal" else "normal"
        ahead = len(self._waiting[lane])
        ahead += min(len(self._waiting[other]), ahead + 1)
        self._fill(now)
        return max(0.0, (ahead + 1 - self._tokens) / self._per_s)

    def join(self, lane: Lane, who: T) -> None:
        """Wait for a token."""
        self._waiting[lane].append(who)

    def leave(self, lane: Lane, who: T) -> None:
        """Wait no longer, if one still did."""
        if who in self._waiting[lane]:
            self._waiting[lane].remove(who)

    def served(self, now: float) -> list[T]:
        """Those whose turn it is now; a token each is gone."""
        self._fill(now)
        chosen: list[T] = []
        # Clocks are floats: a timer set for the very moment may come a hair early.
        while self._tokens > 1 - 1e-6 and len(self):
            if not self._waiting[self._turn]:
                self._pass_turn()
            chosen.append(self._waiting[self._turn].popleft())
            self._pass_turn()
            self._tokens -= 1
        return chosen

    def next_s(self, now: float) -> float | None:
        """Seconds until somebody's turn; None: nobody waits."""
        if not len(self):
            return None
        self._fill(now)
        return max(0.0, (1 - self._tokens) / self._per_s)

    def _pass_turn(self) -> None:
        self._turn = "sync" if self._turn == "normal" else "normal"

    def _fill(self, now: float) -> None:
        self._tokens = min(self._burst, self._tokens + max(0.0, now - self._at) * self._per_s)
        self._at = max(self._at, now)


class PaceKeeper:
    """Holds back tickets that switch a machine on, until ``go`` is called with each.

    ``per_s`` 0: none is held back. A ticket held back is ``paced``.
    """

    def __init__(self, per_s: float, burst: int, go: Callable[[Ticket], None]) -> None:
        self._per_s = per_s
        self._pace: Pace[Ticket] = Pace(per_s, burst)
        self._go = go
        self._timer: asyncio.TimerHandle | None = None

    def join(self, ticket: Ticket) -> None:
        """Hold a ticket back if it is one to pace; ``serve`` is to follow.

        Raises ``PacedError`` when its turn would not come by its deadline.
        """
        command = ticket.command
        if command.action != "set_power" or command.params.get("state") != "power on":
            return
        if not self._per_s:
            return
        now = asyncio.get_running_loop().time()
        wait_s = self._pace.wait_s(command.lane, now)
        if now + wait_s > ticket.deadline:
            raise PacedError(
                f"{len(self._pace)} machines wait to be switched on, at most {self._per_s:g} per "
                f"second; nothing was executed, repeat it in {wait_s:.0f} s.",
                retry_after_s=round(wait_s, 3),
            )
        ticket.paced = True
        self._pace.join(command.lane, ticket)

    def leave(self, ticket: Ticket) -> None:
        """Forget a ticket that waits no longer."""
        if ticket.paced:
            self._pace.leave(ticket.command.lane, ticket)
            ticket.paced = False

    def serve(self) -> None:
        """Let those go whose turn it is, and come back for the next."""
        loop = asyncio.get_running_loop()
        for ticket in self._pace.served(loop.time()):
            self._go(ticket)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if (next_s := self._pace.next_s(loop.time())) is not None:
            self._timer = loop.call_later(next_s, self.serve)
