"""sim.loop: real asyncio code on virtual time, replayed bit for bit."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator

import pytest

from holdfast.sim.loop import Life, Process, SimLoop, StalledError


@pytest.fixture
def loop() -> Iterator[SimLoop]:
    made = SimLoop(7)
    yield made
    made.close()


def test_time_jumps_to_the_next_timer(loop: SimLoop) -> None:
    loop.run(asyncio.sleep(86_400))
    assert loop.now == 86_400


def test_timeouts_queues_events_and_task_groups_work(loop: SimLoop) -> None:
    async def main() -> list[int]:
        queue: asyncio.Queue[int] = asyncio.Queue(maxsize=1)
        done = asyncio.Event()

        async def produce() -> None:
            for number in range(3):
                await asyncio.sleep(1)
                await queue.put(number)
            done.set()

        async with asyncio.TaskGroup() as group:
            group.create_task(produce())
            got = [await queue.get() for _ in range(3)]
            await done.wait()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 5)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2):
                await asyncio.sleep(3)
        return got + list(await asyncio.gather(asyncio.sleep(1, 7), asyncio.sleep(0, 8)))

    assert loop.run(main()) == [0, 1, 2, 7, 8]
    assert loop.now == 11


def test_a_task_group_cancels_its_others_when_one_fails(loop: SimLoop) -> None:
    seen: list[str] = []

    async def wait(name: str) -> None:
        try:
            await asyncio.sleep(10)
        finally:
            seen.append(name)

    async def fail() -> None:
        await asyncio.sleep(1)
        raise ValueError("as asked")

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            for name in "abcd":
                group.create_task(wait(name))
            group.create_task(fail())

    with pytest.raises(ExceptionGroup):
        loop.run(main())
    assert sorted(seen) == list("abcd")
    assert loop.now == 1


def test_nothing_left_to_happen_is_an_error(loop: SimLoop) -> None:
    with pytest.raises(StalledError):
        loop.run(asyncio.Event().wait())


def test_a_paused_process_stands_still_and_its_due_timers_fire_on_resuming(loop: SimLoop) -> None:
    ticks: list[float] = []
    process = Process("p")

    async def tick() -> None:
        while True:
            await asyncio.sleep(1)
            ticks.append(loop.now)

    async def main() -> None:
        loop.spawn(process, tick())
        await asyncio.sleep(2.5)
        loop.pause(process)
        await asyncio.sleep(4)
        loop.resume(process)
        await asyncio.sleep(1.2)

    loop.run(main())
    assert ticks == [1, 2, 6.5, 7.5]


def test_a_process_paused_with_something_ready_runs_it_on_resuming(loop: SimLoop) -> None:
    seen: list[float] = []
    process = Process("p")

    async def once() -> None:
        seen.append(loop.now)

    async def main() -> None:
        loop.pause(process)
        loop.spawn(process, once())
        await asyncio.sleep(3)
        loop.resume(process)
        await asyncio.sleep(1)

    loop.run(main())
    assert seen == [3]


def test_a_crashed_process_runs_nothing_more_not_even_finally(
    loop: SimLoop, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[str] = []
    process = Process("p")

    async def work() -> None:
        child = asyncio.create_task(asyncio.sleep(100))
        try:
            await child
        finally:
            seen.append("unwound")

    async def main() -> None:
        task = loop.spawn(process, work())
        await asyncio.sleep(1)
        loop.crash(process)
        del task
        loop.spawn(process, work()).cancel()
        await asyncio.sleep(200)

    loop.run(main())
    assert seen == []
    assert process.life is Life.DEAD
    loop.close()
    assert capsys.readouterr().err == ""


def test_a_reply_to_a_dead_process_is_dropped(loop: SimLoop) -> None:
    seen: list[str] = []
    process = Process("p")

    async def main() -> None:
        reply: asyncio.Future[None] = loop.create_future()

        async def ask() -> None:
            await reply
            seen.append("answered")

        loop.spawn(process, ask())
        await asyncio.sleep(1)
        loop.crash(process)
        reply.set_result(None)
        await asyncio.sleep(1)

    loop.run(main())
    assert seen == []


def test_a_fast_clock_reaches_its_timers_early(loop: SimLoop) -> None:
    woke: list[tuple[float, float]] = []

    async def nap() -> None:
        begun = loop.time()
        await asyncio.sleep(10)
        woke.append((loop.now, loop.time() - begun))

    async def main() -> None:
        process = Process("fast", rate=1.25, offset_s=1_000)
        await loop.spawn(process, nap())
        loop.set_clock(process, 0.5)
        await loop.spawn(process, nap())

    loop.run(main())
    assert [(round(a, 9), round(b, 9)) for a, b in woke] == [(8, 10), (28, 10)]


def _history(seed: int) -> str:
    """A busy little world, as text: what ran when, in which order."""
    loop = SimLoop(seed)
    lines: list[str] = []

    async def member(name: str, inbox: asyncio.Queue[str], peer: asyncio.Queue[str]) -> None:
        for turn in range(20):
            await asyncio.sleep(loop.random.choice((0, 0, 1)))
            await peer.put(f"{name}{turn}")
            lines.append(f"{loop.now} {name} {await inbox.get()} {loop.uuid()}")

    async def main() -> None:
        first: asyncio.Queue[str] = asyncio.Queue()
        second: asyncio.Queue[str] = asyncio.Queue()
        tasks = {
            loop.spawn(Process("a"), member("a", first, second)),
            loop.spawn(Process("b"), member("b", second, first)),
            loop.spawn(Process("c"), member("c", first, first)),
        }
        done, _ = await asyncio.wait(tasks)
        lines.extend(task.get_name() for task in done)

    loop.run(main())
    loop.close()
    return "\n".join(lines)


def test_a_seed_replays_and_another_seed_differs() -> None:
    assert _history(1) == _history(1)
    assert len({_history(seed) for seed in range(10)}) == 10


def test_a_seed_replays_whatever_the_hash_seed() -> None:
    program = "from tests.sim.test_loop import _history; print(_history(3))"
    printed = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": salt, "PYTHONPATH": ".:src"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for salt in ("1", "2")
    }
    assert len(printed) == 1
    assert printed.pop().strip() == _history(3)


def test_what_nobody_caught_is_kept_for_the_verdict(loop: SimLoop) -> None:
    async def fail() -> None:
        raise ValueError("nobody catches this")

    async def main() -> None:
        loop.spawn(Process("p"), fail())
        loop.call_soon(int, "x")
        await asyncio.sleep(1)

    loop.run(main())
    assert {type(error) for error in loop.errors} == {ValueError}
    assert len(loop.errors) == 2


def test_a_timer_of_the_world_fires_although_everybody_is_paused(loop: SimLoop) -> None:
    process = Process("p")
    seen: list[float] = []

    async def main() -> None:
        loop.pause(process)
        loop.call_outside(1, seen.append, 1.0)
        loop.call_outside(1, seen.append, 2.0, process=process)
        await asyncio.sleep(2)
        assert seen == [1.0]
        loop.resume(process)
        await asyncio.sleep(0.1)

    loop.run(main())
    assert seen == [1.0, 2.0]
