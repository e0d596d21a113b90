"""A node as a process: TERM drains, a second TERM stops, USR2 puts a successor in its place."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sys
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path

import uvloop

from holdfast.serving.handover import (
    Inherited,
    inherited,
    listening_of,
    lock,
    start_successor,
    tell_ready,
)
from holdfast.serving.node import Node
from holdfast.serving.settings import NodeSettings


def run(
    data: Path, settings: NodeSettings, argv: Sequence[str], ready: Callable[[Node], None]
) -> None:
    """Run until drained or stopped; ``ready`` is called once it listens and has loaded.

    ``argv``: the words after ``holdfast`` that start a node like this one. Raises
    ``ConfigError`` if another node has the data directory, or the port.
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
        self._succeeding = False

    async def run(self, left: Inherited | None, ready: Callable[[Node], None]) -> None:
        node = self._node
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._stop)
        loop.add_signal_handler(signal.SIGINT, self._stop)
        loop.add_signal_handler(signal.SIGUSR2, self._succeed)
        node.replace = self._succeed
        try:
            await node.start(listening_of(left) if left is not None else None)
            ready(node)
            if left is not None:
                tell_ready(left)
            await node.stopped.wait()
        finally:
            await node.stop()

    def _stop(self) -> None:
        if self._node.presence.draining:
            self._later(self._node.stop())
        self._node.begin_drain()

    def _succeed(self) -> None:
        if not self._succeeding and not self._node.presence.draining:
            self._succeeding = True
            self._later(self._hand_over())

    async def _hand_over(self) -> None:
        node = self._node
        node.registry.frozen = True
        try:
            if await start_successor(self._argv, node.listening_fd(), self._held):
                node.begin_drain(succeeded=True)
                return
            sys.stderr.write("holdfast: the successor did not start; this process goes on\n")
        except OSError as error:
            sys.stderr.write(f"holdfast: no successor can be started: {error}\n")
        self._succeeding = node.registry.frozen = False

    def _later(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _raise_open_files() -> None:
    """A connection is a file: as many as this process may have."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    except (ValueError, OSError) as error:
        sys.stderr.write(f"holdfast: open files stay limited: {error}\n")
