"""The gateway: admits commands, lines them up per BMC, bounds them, has them executed.

All I/O is behind ports, and time is the running loop's, so the same code runs in
the gateway process and on the simulator's virtual time. The rules are in ``gate``.
"""

from __future__ import annotations

import asyncio
import math
import random
import re
from collections.abc import Callable
from typing import Protocol
from uuid import UUID

import structlog

from holdfast.bmc.breaker import Breakers, BreakerState
from holdfast.bmc.commands import Command, GatewayIdentity
from holdfast.bmc.errors import (
    AgentSilentError,
    BmcError,
    BmcTimeoutError,
    BmcUnreachableError,
    GatewayUnavailableError,
    GaveWayError,
)
from holdfast.bmc.gate import Gate, Mark
from holdfast.bmc.line import BMC_SIDE, Line, Ticket, side_of
from holdfast.bmc.pace import PaceKeeper
from holdfast.bmc.sealing import seal_context
from holdfast.bmc.settings import BmcSettings
from holdfast.errors import HoldfastError, InvalidInputError
from holdfast.store.model import Json

log = structlog.get_logger()

NUMBER_MAX = 2**63 - 1  # terms and tokens are bigint in every store
ORIGIN_STEP = re.compile(r"^[A-Za-z0-9_.:/ -]{0,128}\Z")  # it goes into a header

Unseal = Callable[[bytes, bytes], dict[str, Json]]
"""(sealed, context) -> secrets: ``sealing.unseal`` with the private key bound."""


class Device(Protocol):
    """Executes one action on one machine. Called for one command per BMC (and agent) at a time."""

    async def execute(self, command: Command, secrets: dict[str, Json]) -> dict[str, Json]:
        """Do it and return its result, or raise one of ``bmc.errors``.

        Cancelled at the command's deadline; must then return at once.
        """
        ...


class GateMemory(Protocol):
    """What a gateway remembers over restarts. Each method returns only when it is durable."""

    async def load(self) -> tuple[GatewayIdentity, dict[UUID, Mark]]:
        """Who this gateway is, and every mark recorded. Without a state: a new incarnation."""
        ...

    async def record(self, bmc: UUID, term: int, token: int) -> None:
        """Remember a mark; one that is lower than the one remembered must not replace it."""
        ...


class Watcher(Protocol):
    """Is told what happens; must neither fail nor wait. For metrics and the simulator's referee."""

    def begun(self, command: Command) -> None:
        """The command goes to the machine now."""
        ...

    def ended(self, command: Command, code: str, begun: bool, seconds: float) -> None:
        """It is over: ``ok`` or the error's code; ``seconds`` since it arrived."""
        ...


class NoWatcher:
    """Looks away."""

    def begun(self, command: Command) -> None:
        del command

    def ended(self, command: Command, code: str, begun: bool, seconds: float) -> None:
        del command, code, begun, seconds


class GatewayCore:
    """One gateway. Make it with ``open``; implements ``commands.Gateway``.

    ``chance`` (jitter of breakers) is to be seeded by the simulator.
    """

    def __init__(
        self,
        *,
        identity: GatewayIdentity,
        known: dict[UUID, Mark],
        memory: GateMemory,
        device: Device,
        unseal: Unseal,
        settings: BmcSettings,
        watcher: Watcher,
        chance: random.Random,
    ) -> None:
        self._identity = identity
        self._gate = Gate(identity.incarnation, known)
        self._memory = memory
        self._device = device
        self._unseal = unseal
        self._settings = settings
        self._watcher = watcher
        self._breakers = Breakers(settings.breaker, chance)
        self._pace = PaceKeeper(settings.power_on_per_s, settings.power_on_burst, self._go)
        self._lines: dict[UUID, Line] = {}
        self._late: dict[UUID, tuple[int, float]] = {}  # token cut off, until when it may act
        self._tasks: set[asyncio.Task[None]] = set()
        self._open_commands = 0
        self._draining = False
        self._closing = False  # commands in flight are being abandoned

    @classmethod
    async def open(
        cls,
        *,
        memory: GateMemory,
        device: Device,
        unseal: Unseal,
        settings: BmcSettings | None = None,
        watcher: Watcher | None = None,
        chance: random.Random | None = None,
    ) -> GatewayCore:
        """Remember what was known before the restart, then be ready."""
        identity, known = await memory.load()
        return cls(
            identity=identity,
            known=known,
            memory=memory,
            device=device,
            unseal=unseal,
            settings=settings or BmcSettings(),
            watcher=watcher or NoWatcher(),
            chance=chance or random.Random(),  # noqa: S311 - spreads probes, hides nothing
        )

    # -- the port -------------------------------------------------------------------------

    async def identity(self) -> GatewayIdentity:
        """Who answers here."""
        return self._identity

    async def floor(self, bmc: UUID, *, incarnation: UUID, term: int, floor: int) -> None:
        """Learn a BMC's term and floor, durably; queued commands below it are dropped."""
        _check_number("term", term)
        _check_number("floor", floor)
        mark = self._gate.floor(bmc, incarnation=incarnation, term=term, floor=floor)
        self._drop_stale(bmc)
        if self._gate.unrecorded(bmc) is not None:
            await self._record(bmc, mark)

    async def command(self, command: Command) -> dict[str, Json]:
        """Have one command executed; returns its result, or raises within its deadline.

        If the caller goes away, a command that waits is dropped, and one that was
        begun goes on: the next one has to await it either way.
        """
        _check(command)
        if self._draining:
            raise GatewayUnavailableError("The gateway is stopping; repeat the command shortly.")
        loop = asyncio.get_running_loop()
        arrived = loop.time()
        ticket = Ticket(
            command=command,
            side=side_of(command.action),
            arrived=arrived,
            deadline=arrived + min(command.deadline_s, self._settings.deadline_max_s),
            answer=loop.create_future(),
        )
        self._open_commands += 1
        code = "ok"
        try:
            self._enqueue(ticket)
            return await ticket.answer
        except HoldfastError as error:
            code = error.code
            raise
        except asyncio.CancelledError:
            code = "abandoned"
            raise
        finally:
            self._open_commands -= 1
            self._leave(ticket)
            self._watcher.ended(command, code, ticket.begun, loop.time() - arrived)

    # -- the line -------------------------------------------------------------------------

    def _enqueue(self, ticket: Ticket) -> None:
        command = ticket.command
        self._gate.admit(command.bmc, command.term, command.token)
        self._drop_stale(command.bmc)
        line = self._lines.get(command.bmc)
        if line is None:
            line = self._lines[command.bmc] = Line()
        if (
            len(line.waiting) >= self._settings.commands_per_bmc_max
            or self._open_commands > self._settings.commands_max
        ):
            raise GatewayUnavailableError(
                f"Too many commands wait for BMC {command.bmc} or in this gateway; "
                "nothing was executed, repeat it later."
            )
        self._pace.join(ticket)
        line.waiting.append(ticket)
        loop = asyncio.get_running_loop()
        ticket.timer = loop.call_at(ticket.deadline, self._expire, ticket)
        self._pump(line)
        self._pace.serve()
        if (observing := line.in_the_way()) is not None:
            loop.call_later(self._settings.give_way_s, self._cut_off, line, observing)

    def _cut_off(self, line: Line, observing: Ticket) -> None:
        """End an observation of power sync that still keeps somebody waiting."""
        if line.in_the_way() is observing and observing.task is not None:
            observing.cut_off = True
            observing.task.cancel()

    def _go(self, ticket: Ticket) -> None:
        """It is a ticket's turn to switch its machine on."""
        ticket.paced = False
        line = self._lines.get(ticket.command.bmc)
        if line is not None:
            self._pump(line)

    def _drop_stale(self, bmc: UUID) -> None:
        """Refuse what waits with a token or term that a higher one has just voided."""
        line = self._lines.get(bmc)
        if line is None:
            return
        for ticket in list(line.waiting):
            try:
                self._gate.judge(bmc, ticket.command.term, ticket.command.token)
            except BmcError as error:
                line.waiting.remove(ticket)
                ticket.fail(error)

    def _expire(self, ticket: Ticket) -> None:
        ticket.fail(
            BmcTimeoutError(
                f"{ticket.command.action} for BMC {ticket.command.bmc} was not begun in time: "
                "earlier commands took all of it. Nothing was executed; repeat it.",
                begun=False,
            )
        )
        self._leave(ticket)

    def _leave(self, ticket: Ticket) -> None:
        """Take a ticket out of the line, if it still waits there."""
        self._pace.leave(ticket)
        if ticket.timer is not None:
            ticket.timer.cancel()
            ticket.timer = None
        line = self._lines.get(ticket.command.bmc)
        if line is not None and ticket in line.waiting:
            line.waiting.remove(ticket)
            self._pump(line)

    def _pump(self, line: Line) -> None:
        """Begin whatever may begin."""
        for ticket in line.startable():
            line.waiting.remove(ticket)
            line.running[ticket.side] = ticket
            if ticket.timer is not None:
                ticket.timer.cancel()
                ticket.timer = None
            task = asyncio.get_running_loop().create_task(self._run(line, ticket))
            ticket.task = task
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    # -- one command ----------------------------------------------------------------------

    async def _run(self, line: Line, ticket: Ticket) -> None:
        """Execute one command and see to it that its ticket gets an answer, whatever happens."""
        try:
            result = await self._execute(line, ticket)
        except HoldfastError as error:
            line.last = error.code
            ticket.fail(error)
        except asyncio.CancelledError:
            if ticket.cut_off and not self._closing:
                ticket.fail(GaveWayError("Another command of this BMC went before."))
                return
            ticket.fail(GatewayUnavailableError("The gateway stopped during the command."))
            raise
        except Exception as error:  # a driver's bug must not leave a line blocked
            line.last = BmcError.code
            log.exception("bmc.driver_failed", bmc=str(ticket.command.bmc))
            ticket.fail(
                BmcError(
                    f"The gateway failed at {ticket.command.action} ({type(error).__name__}); "
                    "whether the machine acted is unknown. See the gateway's log."
                )
            )
        else:
            line.last = "ok"
            ticket.succeed(result)
        finally:
            del line.running[ticket.side]
            self._pump(line)

    async def _execute(self, line: Line, ticket: Ticket) -> dict[str, Json]:
        command = ticket.command
        try:
            async with asyncio.timeout_at(ticket.deadline):
                mark = self._gate.unrecorded(command.bmc)
                if mark is not None:
                    await self._record(command.bmc, mark)
                await self._let_late_ones_land(command)
                context = seal_context(command.bmc, command.target.address)
                secrets = self._unseal(command.sealed, context) if command.sealed else {}
                # From here to the device there is no await: nothing can pass in between.
                self._gate.begin(command.bmc, command.term, command.token)
                if ticket.side is not BMC_SIDE:
                    return await self._send(ticket, secrets)
                line.address = command.target.address
                return await self._send_guarded(ticket, secrets)
        except TimeoutError:
            if ticket.begun and not ticket.sync:
                until = asyncio.get_running_loop().time() + self._settings.late_s
                self._late[command.bmc] = (command.token, until)
            raise _timeout(ticket) from None

    async def _let_late_ones_land(self, command: Command) -> None:
        """Wait while a request of a former owner, cut off by a time-out, may still take effect.

        A BMC cannot be told to forget it; done after a new owner's command, it would
        be a stale one. The same owner's own repetition is safe: commands are absolute.
        """
        token, until = self._late.get(command.bmc, (command.token, 0.0))
        if command.token > token:
            await asyncio.sleep(until - asyncio.get_running_loop().time())
            self._late.pop(command.bmc, None)

    async def _send(self, ticket: Ticket, secrets: dict[str, Json]) -> dict[str, Json]:
        ticket.begun = True
        self._watcher.begun(ticket.command)
        return await self._device.execute(ticket.command, secrets)

    async def _send_guarded(self, ticket: Ticket, secrets: dict[str, Json]) -> dict[str, Json]:
        """Send under the circuit breaker of the BMC's address."""
        address = ticket.command.target.address
        now = asyncio.get_running_loop().time
        self._breakers.before(address, now())
        try:
            result = await self._send(ticket, secrets)
        except (BmcUnreachableError, BmcTimeoutError) as error:
            self._unanswered(ticket, error.message)
            raise
        except BmcError:
            self._breakers.answered(address)
            raise
        except asyncio.CancelledError:
            # Either the gateway stops, or the deadline has passed, or it had to give way.
            self._unanswered(ticket, "It did not answer in time.")
            raise
        except BaseException:
            self._breakers.unknown(address, now())
            raise
        self._breakers.answered(address)
        return result

    def _unanswered(self, ticket: Ticket, why: str) -> None:
        """Tell the breaker. Power sync opens none: it would be closed to operators then."""
        address = ticket.command.target.address
        now = asyncio.get_running_loop().time()
        if ticket.sync or self._closing:
            self._breakers.unknown(address, now)
        else:
            self._breakers.failed(address, now, why)

    async def _record(self, bmc: UUID, mark: Mark) -> None:
        try:
            await self._memory.record(bmc, mark.term, mark.token)
        except OSError as error:
            raise GatewayUnavailableError(
                f"The gateway cannot write its state ({error}); nothing was executed."
            ) from error
        self._gate.recorded(bmc, mark)

    # -- life -----------------------------------------------------------------------------

    @property
    def draining(self) -> bool:
        """Whether it refuses new commands because it stops."""
        return self._draining

    def drain(self) -> None:
        """Refuse new commands from now on; those accepted are still executed."""
        self._draining = True

    async def close(self, grace_s: float) -> None:
        """Drain, wait up to ``grace_s`` for what was accepted, then abandon the rest."""
        self.drain()
        try:
            async with asyncio.timeout(grace_s):
                while self._tasks:
                    await asyncio.wait(set(self._tasks))
        except TimeoutError:
            log.warning("bmc.abandoned", commands=len(self._tasks))
        self._closing = True
        for line in self._lines.values():
            for ticket in list(line.waiting):
                line.waiting.remove(ticket)
                ticket.fail(GatewayUnavailableError("The gateway stopped; nothing was executed."))
        for task in set(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def breaker_counts(self) -> dict[BreakerState, int]:
        """How many addresses are not asked now."""
        return self._breakers.counts(asyncio.get_running_loop().time())

    def open_commands(self) -> int:
        """How many commands wait or are in flight."""
        return self._open_commands

    def status(self) -> dict[str, Json]:
        """Everything known, per BMC, for people and for a database that was restored.

        ``highest`` is the highest term or token seen: the epoch sequence of a
        restored database must jump above it (architecture, "Members and leases").
        """
        now = asyncio.get_running_loop().time()
        marks = self._gate.marks()
        return {
            "id": str(self._identity.id),
            "incarnation": str(self._identity.incarnation),
            "draining": self._draining,
            "open_commands": self._open_commands,
            "highest": max((max(mark.term, mark.token) for mark in marks.values()), default=0),
            "bmcs": [
                {"bmc": str(bmc), "term": mark.term, "token": mark.token}
                | self._line_status(bmc, now)
                for bmc, mark in sorted(marks.items())
            ],
        }

    def _line_status(self, bmc: UUID, now: float) -> dict[str, Json]:
        line = self._lines.get(bmc)
        if line is None:
            return {"waiting": 0, "running": [], "last": None, "breaker": None}
        running = [
            {
                "action": ticket.command.action,
                "token": ticket.command.token,
                "since_s": round(now - ticket.arrived, 3),
            }
            for ticket in line.running.values()
        ]
        return {
            "waiting": len(line.waiting),
            "running": running,
            "last": line.last,
            "breaker": None if line.address is None else str(self._breakers.state(line.address)),
        }


def _timeout(ticket: Ticket) -> HoldfastError:
    command = ticket.command
    if ticket.side is BMC_SIDE:
        return BmcTimeoutError(
            f"The BMC at {command.target.address} did not finish {command.action} within "
            f"{ticket.deadline - ticket.arrived:g} s; whether it acted is unknown. "
            "Observe before repeating.",
            begun=ticket.begun,
        )
    return AgentSilentError(
        f"The ramdisk agent did not finish {command.params.get('name', 'the request')} within "
        f"{ticket.deadline - ticket.arrived:g} s; ask for its commands to learn how far it is."
    )


def _check(command: Command) -> None:
    """Refuse a command that no gateway could execute."""
    _check_number("term", command.term)
    _check_number("token", command.token)
    if not (math.isfinite(command.deadline_s) and command.deadline_s > 0):
        raise InvalidInputError(f"deadline_s must be positive, not {command.deadline_s}.")
    if not ORIGIN_STEP.match(command.origin.step):
        raise InvalidInputError("origin.step may hold letters, digits and _.:/- only.")


def _check_number(name: str, value: int) -> None:
    if not 0 <= value <= NUMBER_MAX:
        raise InvalidInputError(f"{name} must be between 0 and 2^63-1, not {value}.")
