"""The simulated network: requests between processes that may be late, lost or cut off.

A request that is lost was never executed; one whose reply is lost was. The caller
cannot tell which: both end in its own time-out. What is under way when its sender
dies still arrives.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar, cast
from uuid import UUID

import msgspec

from holdfast.bmc.commands import Command, Gateway, GatewayIdentity
from holdfast.bmc.errors import GatewayUnavailableError
from holdfast.errors import HoldfastError, StoreUnavailableError
from holdfast.sim.loop import PROCESS, Life, Process, SimLoop
from holdfast.store.model import Json

T = TypeVar("T")


class Weather(msgspec.Struct, kw_only=True):
    """How messages fare. Chances are per message; times in seconds."""

    latency_s: tuple[float, float] = (0.0005, 0.004)
    late_chance: float = 0.0
    late_s: float = 3.0  # a late message takes up to this long
    lost_chance: float = 0.0
    hint_lost_chance: float = 0.0
    only: str | None = None  # an endpoint: what neither comes from nor goes there fares well


class Trap(msgspec.Struct, frozen=True, kw_only=True):
    """What happens around the next request of a conductor to a server: the worst moments.

    ``asks``: which requests it waits for. ``spring`` is called at that moment with the
    process. ``before``: then the process gives way before it sends (it was stopped
    between its check and its act). ``late_s``: the request takes so much longer.
    """

    server: str
    asks: frozenset[str]
    spring: Callable[[str, Process], None]
    before: bool = False
    late_s: float = 0.0


class Server(msgspec.Struct, kw_only=True):
    """Something that answers requests. Without a process each is executed at one instant.

    ``life`` counts its starts: replies of an earlier life are never delivered.
    """

    name: str
    process: Process | None = None
    up: bool = True
    life: int = 0

    def stop(self) -> None:
        """Refuse from now on; replies under way are lost."""
        self.up = False
        self.life += 1

    def start(self) -> None:
        self.up = True


class ProcessClock:
    """``core.clock.Clock`` of one process: its own rate and offset; it goes on while paused."""

    def __init__(self, loop: SimLoop, process: Process) -> None:
        self._loop = loop
        self._process = process

    def now(self) -> float:
        return self._loop.now * self._process.rate + self._process.offset_s


class _Request(msgspec.Struct):
    """One request under way."""

    source: str
    server: Server
    call: Callable[[], Coroutine[Any, Any, Any]]
    refusal: Callable[[str], HoldfastError]
    answer: Any  # the caller's future
    caller: Process | None


class Network:
    """Carries requests. ``weather`` and cuts are changed by the faults."""

    def __init__(self, loop: SimLoop) -> None:
        self._loop = loop
        self._cut: set[tuple[str, str]] = set()
        self.weather = Weather()
        self.traps: list[Trap] = []
        # What is sent there arrives soon or never. Machines: a BMC compares no epochs, so
        # nothing could fence a command that it begins after the gateway gave it up.
        self.prompt: set[str] = set()
        self.requests = 0

    def cut(self, source: str, target: str, *, both_ways: bool = True) -> None:
        """Drop what ``source`` sends to ``target``, and the other way too if asked."""
        self._cut.add((source, target))
        if both_ways:
            self._cut.add((target, source))

    def mend(self, source: str, target: str) -> None:
        """Let both ways pass again."""
        self._cut.discard((source, target))
        self._cut.discard((target, source))

    def calm(self) -> None:
        """No cuts, fair weather."""
        self._cut.clear()
        self.traps.clear()
        self.weather = Weather()

    def clear_up(self) -> None:
        """Fair weather again; cuts stay."""
        self.weather = Weather()

    def tell(self, source: str, target: str, then: Callable[[], object]) -> None:
        """A hint: one message, no answer."""
        if self._loop.random.random() >= self.weather.hint_lost_chance:
            self._carry(source, target, 0.0, then)

    async def ask(
        self,
        source: str,
        server: Server,
        call: Callable[[], Coroutine[Any, Any, T]],
        *,
        what: str,
        timeout_s: float,
        refusal: Callable[[str], HoldfastError],
    ) -> T:
        """Have ``call`` executed at ``server``; raises ``refusal(why)`` when no answer comes.

        ``what``: the request's name, by which traps know it.
        """
        self.requests += 1
        process = PROCESS.get()
        trap = self._trap(source, server.name, what, process) if self.traps else None
        if trap and process and trap.before:
            trap.spring(source, process)
            await asyncio.sleep(0)
        answer = self._loop.create_future()
        rate = process.rate if process else 1.0
        timer = self._loop.call_outside(
            timeout_s / rate, _give_up, answer, refusal, process=process
        )
        request = _Request(source, server, call, refusal, answer, process)
        late_s = trap.late_s if trap else 0.0
        self._carry(source, server.name, late_s, self._arrive, request)
        if trap and process and not trap.before:
            trap.spring(source, process)
        try:
            return cast("T", await answer)
        finally:
            timer.cancel()

    def _trap(self, source: str, server: str, what: str, process: Process | None) -> Trap | None:
        """The trap that this request springs, if any."""
        if process is None or not process.name.startswith(f"{source}."):
            return None  # not a conductor's own
        for trap in self.traps:
            if trap.server == server and what in trap.asks:
                self.traps.remove(trap)
                return trap
        return None

    def _carry(
        self, source: str, target: str, late_s: float, then: Callable[..., object], *args: Any
    ) -> None:
        """Send one message; what is cut off or lost is dropped without a word."""
        chance, weather = self._loop.random, self.weather
        low_s, high_s = weather.latency_s
        delay_s = late_s + low_s + (high_s - low_s) * chance.random()
        if weather.only is None or weather.only in (source, target):
            if weather.lost_chance and chance.random() < weather.lost_chance:
                return
            if weather.late_chance and chance.random() < weather.late_chance:
                delay_s += 0.0 if target in self.prompt else chance.random() * weather.late_s
        if (source, target) not in self._cut:
            self._loop.call_outside(delay_s, then, *args)

    def _arrive(self, request: _Request) -> None:
        server = request.server
        if (request.source, server.name) in self._cut:
            return
        if not server.up:
            refused = request.refusal(f"{server.name} refuses connections")
            self._carry(server.name, request.source, 0.0, _settle, request, None, refused)
        elif server.process is None:
            self._finish(request, server.life, *_at_once(request.call()))
        else:
            self._loop.spawn(server.process, self._serve(request, server.life))

    async def _serve(self, request: _Request, life: int) -> None:
        result, error = await _outcome(request.call())
        self._finish(request, life, result, error)

    def _finish(self, request: _Request, life: int, result: Any, error: Exception | None) -> None:
        if request.server.life == life:
            name, source = request.server.name, request.source
            self._carry(name, source, 0.0, self._answer, request, life, result, error)

    def _answer(self, request: _Request, life: int, result: Any, error: Exception | None) -> None:
        if (request.server.name, request.source) in self._cut:
            return
        if request.server.life != life:  # the connection broke while the reply was under way
            result, error = None, request.refusal(f"{request.server.name} broke the connection")
        _settle(request, result, error)


def _settle(request: _Request, result: Any, error: Exception | None) -> None:
    if request.answer.done() or (request.caller and request.caller.life is Life.DEAD):
        return
    if error is not None:
        request.answer.set_exception(error)
    else:
        request.answer.set_result(result)


def _give_up(answer: Any, refusal: Callable[[str], HoldfastError]) -> None:
    if not answer.done():
        answer.set_exception(refusal("no answer came in time"))


async def _outcome(call: Awaitable[T]) -> tuple[T | None, Exception | None]:
    try:
        return await call, None
    except Exception as error:  # noqa: BLE001 - it travels to the caller
        return None, error


def _at_once(call: Coroutine[Any, Any, T]) -> tuple[T | None, Exception | None]:
    """Run a coroutine that never waits."""
    try:
        call.send(None)
    except StopIteration as done:
        return cast("T", done.value), None
    except Exception as error:  # noqa: BLE001 - it travels to the caller
        return None, error
    raise AssertionError(f"{call!r} waited, though its server executes at one instant")


def _no_database(why: str) -> StoreUnavailableError:
    return StoreUnavailableError(f"the database did not answer: {why}")


def _no_gateway(why: str) -> GatewayUnavailableError:
    return GatewayUnavailableError(f"the gateway did not answer: {why}")


class _RemoteStore:
    """Every method of the store, carried over the network."""

    def __init__(
        self, network: Network, source: str, server: Server, store: object, timeout_s: float
    ) -> None:
        self._network = network
        self._source = source
        self._server = server
        self._store = store
        self._timeout_s = timeout_s

    def __getattr__(self, name: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        method: Callable[..., Coroutine[Any, Any, Any]] = getattr(self._store, name)

        def ask(*args: Any, **named: Any) -> Coroutine[Any, Any, Any]:
            return self._network.ask(
                self._source,
                self._server,
                lambda: method(*args, **named),
                what=name,
                timeout_s=self._timeout_s,
                refusal=_no_database,
            )

        setattr(self, name, ask)
        return ask


def remote_store(network: Network, source: str, server: Server, store: T, timeout_s: float) -> T:
    """``store``, or another face of the database, as ``source`` reaches it over the network."""
    return cast("T", _RemoteStore(network, source, server, store, timeout_s))


class RemoteGateway:
    """``bmc.commands.Gateway`` as a conductor reaches it over the network."""

    def __init__(
        self,
        network: Network,
        source: str,
        server: Server,
        gateway: Callable[[], Gateway],
        timeout_s: float,
    ) -> None:
        self._network = network
        self._source = source
        self._server = server
        self._gateway = gateway
        self._timeout_s = timeout_s

    async def identity(self) -> GatewayIdentity:
        """Who answers here."""
        return await self._ask("identity", lambda: self._gateway().identity(), self._timeout_s)

    async def floor(self, bmc: UUID, *, incarnation: UUID, term: int, floor: int) -> None:
        """Tell the gateway a BMC's term and floor."""
        await self._ask(
            "floor",
            lambda: self._gateway().floor(bmc, incarnation=incarnation, term=term, floor=floor),
            self._timeout_s,
        )

    async def command(self, command: Command) -> dict[str, Json]:
        """Have one command executed."""
        return await self._ask(
            command.action,
            lambda: self._gateway().command(command),
            command.deadline_s + self._timeout_s,
        )

    async def _ask(
        self, what: str, call: Callable[[], Coroutine[Any, Any, T]], timeout_s: float
    ) -> T:
        return await self._network.ask(
            self._source, self._server, call, what=what, timeout_s=timeout_s, refusal=_no_gateway
        )
