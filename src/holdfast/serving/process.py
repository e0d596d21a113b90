"""A node as a process: TERM drains, a second TERM stops, USR2 puts a successor in its place."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sys
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Final

import uvloop

from holdfast.serving.handover import (
    ACCEPTS,
    AGAIN,
    GO,
    Inherited,
    Line,
    Succession,
    SuccessionError,
    Successor,
    inherited,
    listening_of,
    lock,
    what_is_lost,
)
from holdfast.serving.node import Node
from holdfast.serving.settings import NodeSettings

_ACCEPT_S: Final = 30.0


def run(
    data: Path, settings: NodeSettings, argv: Sequence[str], ready: Callable[[Node], None]
) -> None:
    """Run until drained or stopped; ``ready`` is called once it listens and has loaded.

    ``argv``: the words after ``holdfast`` that start a node like this one. Raises
    ``ConfigError`` if another node has the data directory, or the port; ``SuccessionError`` if
    this was to succeed an older process, and could not.
    """
    data.mkdir(parents=True, exist_ok=True)
    left = inherited()
    held = lock(data, left)
    try:
        _raise_open_files()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_run(data, settings, argv, held, left, ready))
    finally:
        os.close(held)


async def _run(
    data: Path,
    settings: NodeSettings,
    argv: Sequence[str],
    held: int,
    left: Inherited | None,
    ready: Callable[[Node], None],
) -> None:
    await _Process(Node(data, settings), argv, held).run(left, ready)


class _Process:
    def __init__(self, node: Node, argv: Sequence[str], held: int) -> None:
        self._node = node
        self._argv = argv
        self._held = held
        self._tasks: set[asyncio.Task[None]] = set()
        self._succeeding: asyncio.Task[None] | None = None

    async def run(self, left: Inherited | None, ready: Callable[[Node], None]) -> None:
        node = self._node
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._stop)
        loop.add_signal_handler(signal.SIGINT, self._stop)
        loop.add_signal_handler(signal.SIGUSR2, self._succeed)
        node.replace = self._succeed
        try:
            if left is None:
                await node.start()
            else:
                await self._take_over(left)
            if not node.stopped.is_set():
                ready(node)
            await node.stopped.wait()
        finally:
            await node.stop()
            if self._tasks:
                await asyncio.wait(self._tasks)  # a successor that waits ends with us

    def _stop(self) -> None:
        if self._succeeding is not None:
            self._succeeding.cancel()
        if self._node.presence.draining or not self._node.accepting:
            self._later(self._node.stop())
        else:
            self._node.begin_drain()

    # ---- as the older one ----------------------------------------------------------------------

    def _succeed(self) -> None:
        node = self._node
        if self._succeeding is None and node.accepting and not node.presence.draining:
            node.succession = Succession("loading")
            self._succeeding = self._later(self._hand_over())

    async def _hand_over(self) -> None:
        node = self._node
        timeout_s = node.settings.successor_max_s
        known = node.registry.changes  # what it reads is at least as new
        successor = None
        try:
            async with asyncio.timeout(timeout_s):
                successor = await Successor.start(self._argv, node.listening_fd(), self._held)
                await self._agree(successor.line, known)
            node.succession = Succession("done")
            node.begin_drain(succeeded=True)
            return
        except TimeoutError:
            reason = f"It was not ready within {timeout_s:g} s."
        except OSError as error:
            reason = f"It cannot be started: {error}."
        except SuccessionError as error:
            reason = error.message
        finally:
            if successor is not None and node.succession.state != "done":
                node.registry.thaw()
                await successor.end()
            self._succeeding = None
        node.succession = Succession("failed", reason)
        sys.stderr.write(f"holdfast: the successor did not take over. {reason} We go on.\n")

    async def _agree(self, line: Line, known: int) -> None:
        """Returns once the successor accepts; raises ``SuccessionError`` if it is not fit."""
        registry = self._node.registry
        while True:
            loaded = await line.hear_loaded()
            if registry.changes == known:
                if lost := what_is_lost(registry.serving(), loaded):
                    raise SuccessionError(lost)
                await registry.freeze()
                if registry.changes == known:
                    break
                registry.thaw()
            known = registry.changes
            await line.say(AGAIN)
        async with asyncio.timeout(_ACCEPT_S):
            await line.say(GO)
            if await line.hear() != ACCEPTS:
                raise SuccessionError("It ended before it accepted queries: its log says why.")

    # ---- as the successor ----------------------------------------------------------------------

    async def _take_over(self, left: Inherited) -> None:
        """Load, and accept once the older process says so; raises ``SuccessionError``."""
        node = self._node
        loop = asyncio.get_running_loop()
        line = await Line.to_the_older(left)
        stopped = loop.create_task(node.stopped.wait())
        try:
            while True:
                word = loop.create_task(line.hear())
                loading = loop.create_task(node.load())
                await asyncio.wait({loading, word, stopped}, return_when=asyncio.FIRST_COMPLETED)
                if not loading.done():
                    loading.cancel()
                    raise SuccessionError("The older process went on, or ended: this one ends.")
                loading.result()
                await line.say(node.registry.loaded())
                await asyncio.wait({word, stopped}, return_when=asyncio.FIRST_COMPLETED)
                told = word.result() if word.done() else ""
                if told == GO:
                    break
                if told != AGAIN:
                    raise SuccessionError("The older process goes on, and says why: this one ends.")
            await node.accept(listening_of(left))
            await line.say(ACCEPTS)
        finally:
            stopped.cancel()
            line.close()

    def _later(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _raise_open_files() -> None:
    """A connection is a file: as many as this process may have."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    except (ValueError, OSError) as error:
        sys.stderr.write(f"holdfast: open files stay limited: {error}\n")
