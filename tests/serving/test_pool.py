"""When a pool has started: with the workers of its floor, as far as they can be had."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from holdfast.serving.errors import LoadError
from holdfast.serving.packages.manifest import FunctionSpec, Service
from holdfast.serving.packages.manifest import Pool as PoolSpec
from holdfast.serving.pool.pool import Pool
from holdfast.serving.workers.frames import (
    FRAME_BYTES_MAX,
    Failed,
    Limits,
    Load,
    Ready,
    Splitter,
    pack,
    unpack_query,
)

FLOOR = 3
LOAD = Load(
    service=msgspec.json.encode(
        Service("sums", [FunctionSpec(id="add", file="f.py", function="add")])
    ),
    generation="v1",
    content="",
    derived="",
    scratch="",
    allow_pickle=False,
    run_tests=True,
    connections={},
    limits=Limits(),
)


class Worker:
    """A process that is none: the test says what it sends."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self.line, self._far = socket.socketpair()
        for end in (self.line, self._far):
            end.setblocking(False)
        self._splitter = Splitter(FRAME_BYTES_MAX)
        self.told: Load | None = None

    def hears(self) -> bool:
        """Whether it was told what to load."""
        try:
            for frame in self._splitter.feed(self._far.recv(1 << 16)):
                self.told = cast("Load", unpack_query(frame))
        except BlockingIOError:
            pass
        return self.told is not None

    def says(self, frame: Any) -> None:
        self._far.send(pack(frame))

    def kill(self) -> None:
        self._far.close()

    def close(self) -> None:
        return None


class Rig:
    """A pool, and the workers that were started for it."""

    def __init__(self, folder: Path, room: int = FLOOR) -> None:
        self.workers: list[Worker] = []
        self._room = room
        self._folder = folder
        spec = PoolSpec(floor=FLOOR, cruise=FLOOR, ceil=FLOOR)
        self.pool = Pool("sums/v1", spec, LOAD, cast("Any", self))
        self.starting = asyncio.create_task(self.pool.start())

    @property
    def has_room(self) -> bool:
        return len(self.workers) < self._room

    async def spawn(self, service: str, generation: str) -> Worker:
        self.workers.append(Worker(self._folder / str(len(self.workers))))
        return self.workers[-1]

    async def close(self) -> None:
        self.starting.cancel()
        self.pool.close()
        await asyncio.gather(self.starting, return_exceptions=True)

    async def loading(self, count: int = FLOOR) -> list[Worker]:
        """The workers, once so many were told what to load."""
        await turns(lambda: sum(one.hears() for one in self.workers) == count)
        return self.workers


async def turns(holds: Callable[[], bool]) -> None:
    """Let others run until it holds."""
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0)


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    made = Rig(tmp_path)
    yield made
    await made.close()


READY = Ready({"add": (False, ["run"])})


async def test_all_of_the_floor_load_at_once_and_are_there_when_it_has_started(rig: Rig):
    """The generation before answers until then (D13), with as many."""
    workers = await rig.loading()
    assert [one.told.run_tests for one in workers if one.told] == [True, False, False]
    for count, worker in enumerate(workers, 1):
        assert not rig.starting.done()
        worker.says(READY)
        await turns(lambda: sum(one.ready for one in rig.pool.workers) == count)  # noqa: B023
    await rig.starting


async def test_if_the_one_that_runs_the_tests_fails_nothing_is_started(rig: Rig):
    first, *others = await rig.loading()
    for worker in others:
        worker.says(READY)
    await turns(lambda: sum(one.ready for one in rig.pool.workers) == len(others))
    first.says(Failed("endpoint 'add' is wrong"))
    first.kill()
    with pytest.raises(LoadError, match="endpoint 'add' is wrong"):
        await rig.starting


async def test_another_that_dies_is_left_for_later(rig: Rig):
    first, second, third = await rig.loading()
    second.kill()
    third.says(READY)
    await turns(lambda: len(rig.pool.workers) == 2 and rig.pool.ready)
    assert not rig.starting.done()
    first.says(READY)
    await rig.starting


async def test_where_there_is_room_for_two_it_starts_with_two(tmp_path: Path):
    rig = Rig(tmp_path, room=2)
    for worker in await rig.loading(2):
        worker.says(READY)
    await rig.starting
    assert len(rig.workers) == 2
    await rig.close()
