"""An event loop on virtual time that replays bit for bit from a seed.

Real asyncio code runs on it unchanged (sleep, timeouts, queues, task groups). It
does no I/O and knows no threads: time stands still while something is ready and
jumps to the next timer when nothing is.

Every handle belongs to a simulated ``Process``, found in its context. Among the
processes that have something ready the loop picks by its seed; within a process
the order is asyncio's own. A process may be paused (as by SIGSTOP) and resumed,
or crashed (as by ``kill -9``: nothing of it runs any more, no ``finally`` either),
and its clock may run fast, slow or ahead.
"""

from __future__ import annotations

import asyncio
import heapq
import random
from asyncio import Handle, Task
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextvars import Context, ContextVar, copy_context
from enum import Enum
from typing import Any, TypeAlias, TypeVar, cast
from uuid import UUID

T = TypeVar("T")
Coro: TypeAlias = Coroutine[Any, Any, T]


class Life(Enum):
    """What a simulated process is doing."""

    RUNNING = 1
    PAUSED = 2
    DEAD = 3


class Process:
    """One simulated process: what it has ready, and how its clock runs.

    ``rate`` is local seconds per true second, ``offset_s`` what its clock read at
    the start.
    """

    __slots__ = ("held", "life", "name", "offset_s", "rate", "ready")

    def __init__(self, name: str, *, rate: float = 1.0, offset_s: float = 0.0) -> None:
        self.name = name
        self.rate = rate
        self.offset_s = offset_s
        self.life = Life.RUNNING
        self.ready: deque[SimHandle] = deque()
        self.held: list[SimHandle] = []  # timers that came due while paused, by time

    def __repr__(self) -> str:
        return f"<Process {self.name} {self.life.name.lower()}>"


PROCESS: ContextVar[Process | None] = ContextVar("holdfast_sim_process", default=None)


class StalledError(AssertionError):
    """Nothing is ready, no timer is set, and what was waited for has not happened."""


class SimHandle(asyncio.TimerHandle):
    """A callback, the context it runs in, and the process it belongs to."""

    __slots__ = ("arguments", "callback", "context", "dropped", "local_when", "process")

    def __init__(
        self,
        when: float,
        callback: Callable[..., object],
        arguments: tuple[Any, ...],
        context: Context,
        process: Process,
    ) -> None:
        # The parent's constructor is left out on purpose: it looks for debug mode each time.
        self.local_when = when
        self.callback = callback
        self.arguments = arguments
        self.context = context
        self.process = process
        self.dropped = False

    def cancel(self) -> None:
        self.dropped = True
        self.callback = _nothing
        self.arguments = ()

    def cancelled(self) -> bool:
        return self.dropped

    def when(self) -> float:
        return self.local_when

    def __repr__(self) -> str:
        return f"<SimHandle {self.process.name} {self.callback!r}>"


def _nothing() -> None:
    """Stands in for a cancelled callback, to let go of what it held."""


class SimTask(Task[T]):
    """A task with a hash that does not depend on its address, so that sets of tasks replay."""

    def __init__(
        self,
        coro: Generator[Any, None, T] | Coroutine[Any, Any, T],
        *,
        loop: SimLoop,
        name: str,
        context: Context,
        process: Process,
        number: int,
    ) -> None:
        self.number = number  # before the parent's constructor, which asks for the hash
        self.process = process
        self._log_destroy_pending = True
        super().__init__(coro, loop=loop, name=name, context=context)

    def __hash__(self) -> int:
        return self.number

    def abandon(self) -> None:
        """Unwind quietly, once nobody looks any more."""
        self._log_destroy_pending = False
        try:
            cast("Coroutine[Any, Any, T]", self.get_coro()).close()
        except BaseException:  # noqa: BLE001 - whatever a ``finally`` of a dead process raises
            return


class SimLoop(asyncio.BaseEventLoop):
    """The loop. ``random`` is the world's seeded source; scheduling draws from its own.

    ``now`` is the true time in seconds since the start; ``time()`` is that of the
    calling process's clock.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.seed = seed
        self.random = random.Random(f"world {seed}")
        self.world = Process("world")
        self.now = 0.0
        self.handles_run = 0
        self.errors: list[BaseException] = []  # raised by tasks and callbacks, and not caught
        self._pick = random.Random(f"schedule {seed}").random
        self._runnable: list[Process] = []
        self._timers: list[tuple[float, int, SimHandle]] = []
        self._numbers = 0
        self._halt = False
        self._kept: list[SimTask[Any]] = []  # tasks of the dead: kept, or they would unwind
        self.outside = Context()  # of no process: the world's own
        self.set_exception_handler(_collect)

    # -- time ---------------------------------------------------------------

    def time(self) -> float:
        process = PROCESS.get()
        if process is None:
            return self.now
        return self.now * process.rate + process.offset_s

    def set_clock(self, process: Process, rate: float) -> None:
        """Let the process's clock run at ``rate`` from now on, without a jump.

        Timers already set keep the true time they were set for.
        """
        process.offset_s += self.now * (process.rate - rate)
        process.rate = rate

    # -- scheduling ---------------------------------------------------------

    def call_soon(
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Handle:
        if context is None:
            context = copy_context()
        process = context.get(PROCESS) or self.world
        handle = SimHandle(self.now, callback, args, context, process)
        if process.life is Life.DEAD:
            return handle
        if not process.ready and process.life is Life.RUNNING:
            self._runnable.append(process)
        process.ready.append(handle)
        return handle

    def call_soon_threadsafe(
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Handle:
        return self.call_soon(callback, *args, context=context)

    def call_later(
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        if context is None:
            context = copy_context()
        process = context.get(PROCESS) or self.world
        handle = SimHandle(when, callback, args, context, process)
        if process.life is not Life.DEAD:
            self._numbers += 1
            true_when = (when - process.offset_s) / process.rate
            heapq.heappush(self._timers, (true_when, self._numbers, handle))
        return handle

    def call_outside(
        self,
        delay_s: float,
        callback: Callable[..., object],
        *args: Any,
        process: Process | None = None,
    ) -> Handle:
        """Call after ``delay_s`` true seconds, for no process: nobody's pause or death stops it.

        With ``process`` it is that process's own timer, though in the world's context.
        """
        when = self.now + delay_s
        handle = SimHandle(when, callback, args, self.outside, process or self.world)
        self._numbers += 1
        heapq.heappush(self._timers, (when, self._numbers, handle))
        return handle

    def create_task(
        self,
        coro: Generator[Any, None, T] | Coroutine[Any, Any, T],
        *,
        name: object = None,
        context: Context | None = None,
    ) -> Task[T]:
        if context is None:
            context = copy_context()
        process = context.get(PROCESS) or self.world
        self._numbers += 1
        label = f"{process.name}/{self._numbers}" if name is None else str(name)
        task = SimTask(
            coro, loop=self, name=label, context=context, process=process, number=self._numbers
        )
        if process.life is Life.DEAD:
            self._kept.append(task)
        return task

    # -- processes ----------------------------------------------------------

    def spawn(self, process: Process, coro: Coro[T], *, name: str | None = None) -> Task[T]:
        """Start a task that belongs to ``process``, as does all that it starts."""
        context = copy_context()
        context.run(PROCESS.set, process)
        return self.create_task(coro, name=name, context=context)

    def pause(self, process: Process) -> None:
        """Stop the process where it stands; its clock goes on."""
        if process.life is Life.RUNNING:
            process.life = Life.PAUSED
            if process.ready:
                self._runnable.remove(process)

    def resume(self, process: Process) -> None:
        """Let a paused process go on; timers that came due meanwhile fire at once."""
        if process.life is not Life.PAUSED:
            return
        process.life = Life.RUNNING
        # Which a real loop would see first, timers or replies, is anybody's guess.
        if self._pick() < 0.5:
            process.ready.extend(process.held)
        else:
            process.ready.extendleft(reversed(process.held))
        process.held.clear()
        if process.ready:
            self._runnable.append(process)

    def crash(self, process: Process) -> None:
        """Kill the process. A handle of its own that is running now still ends."""
        if process.life is Life.DEAD:
            return
        if process.life is Life.RUNNING and process.ready:
            self._runnable.remove(process)
        process.life = Life.DEAD
        tasks = [
            task
            for task in asyncio.all_tasks(self)
            if isinstance(task, SimTask) and task.process is process
        ]
        self._kept += sorted(tasks, key=hash)
        process.ready.clear()
        process.held.clear()

    def uuid(self) -> UUID:
        """A random UUID (version 4) from the seed."""
        return UUID(int=self.random.getrandbits(128), version=4)

    # -- running ------------------------------------------------------------

    def run(self, main: Awaitable[T]) -> T:
        """Run until ``main`` (of the world itself) is done."""
        return self.run_until_complete(main)

    def stop(self) -> None:
        self._halt = True
        super().stop()

    def close(self) -> None:
        """End the world: whatever still waits is unwound without a word."""
        if self.is_closed():
            return
        self._timers.clear()
        self._runnable.clear()
        asyncio.set_event_loop(None)
        pending = [task for task in asyncio.all_tasks(self) if isinstance(task, SimTask)]
        for task in pending:
            task.process.life = Life.DEAD
        self.world.life = Life.DEAD
        for task in sorted(pending, key=hash):
            task.abandon()
        super().close()

    def _run_once(self) -> None:
        """Run handles until told to stop: ``run_forever`` calls this in turn."""
        self._halt = False
        runnable = self._runnable
        pick = self._pick
        while not self._halt:
            count = len(runnable)
            if count == 0:
                self._jump()
                continue
            index = int(pick() * count) if count > 1 else 0
            process = runnable[index]
            ready = process.ready
            handle = ready.popleft()
            if not ready:
                runnable[index] = runnable[-1]
                runnable.pop()
            if handle.dropped:
                continue
            self.handles_run += 1
            try:
                handle.context.run(handle.callback, *handle.arguments)
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as error:  # noqa: BLE001 - as asyncio's own loop does
                self.errors.append(error)

    def _jump(self) -> None:
        """Go to the time of the next timer and make ready all that is due then."""
        timers = self._timers
        pop = heapq.heappop
        now = -1.0
        while timers:
            when, _, handle = timers[0]
            if now >= 0.0 and when > now:
                break
            pop(timers)
            process = handle.process
            if handle.dropped or process.life is Life.DEAD:
                continue
            if now < 0.0:
                now = self.now = max(self.now, when)
            if process.life is Life.PAUSED:
                process.held.append(handle)
                continue
            if not process.ready:
                self._runnable.append(process)
            process.ready.append(handle)
        if now < 0.0:
            raise StalledError(f"at {self.now:.3f} s nothing is left that could happen")


def _collect(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Keep what nobody caught, for the verdict; asyncio would log it."""
    error = context.get("exception")
    if isinstance(loop, SimLoop) and isinstance(error, BaseException):
        loop.errors.append(error)
