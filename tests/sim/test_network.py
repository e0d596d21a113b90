"""sim.network: what is lost was not done, and what was done may look lost."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from holdfast.errors import ConflictError, HoldfastError, StoreUnavailableError
from holdfast.sim.loop import Process, SimLoop
from holdfast.sim.network import Network, ProcessClock, Server, Trap, Weather


@pytest.fixture
def loop() -> Iterator[SimLoop]:
    made = SimLoop(5)
    yield made
    made.close()


class Counter:
    """A server's work: counts what was executed."""

    def __init__(self, loop: SimLoop) -> None:
        self.loop = loop
        self.done: list[float] = []

    async def work(self) -> int:
        self.done.append(self.loop.now)
        return len(self.done)

    async def refuse(self) -> int:
        raise ConflictError("no")


def _refusal(why: str) -> HoldfastError:
    return StoreUnavailableError(why)


class Bed:
    """A network with one server and one client's process."""

    def __init__(self, loop: SimLoop) -> None:
        self.loop = loop
        self.network = Network(loop)
        self.server = Server(name="db")
        self.counter = Counter(loop)
        self.process = Process("c.1")

    async def ask(self, timeout_s: float = 1.0) -> int:
        return await self.network.ask(
            "c", self.server, self.counter.work, what="work", timeout_s=timeout_s, refusal=_refusal
        )

    def run_client(self) -> int:
        return self.loop.run(self.loop.spawn(self.process, self.ask()))


def test_a_request_is_executed_and_answered(loop: SimLoop) -> None:
    bed = Bed(loop)
    assert bed.run_client() == 1
    assert 0 < loop.now < 0.02


def test_an_error_travels_back(loop: SimLoop) -> None:
    bed = Bed(loop)
    asked = bed.network.ask(
        "c", bed.server, bed.counter.refuse, what="work", timeout_s=1, refusal=_refusal
    )
    with pytest.raises(ConflictError):
        loop.run(asked)


@pytest.mark.parametrize(("source", "target", "executed"), [("c", "db", 0), ("db", "c", 1)])
def test_a_one_way_cut_loses_the_request_or_only_its_answer(
    loop: SimLoop, source: str, target: str, executed: int
) -> None:
    bed = Bed(loop)
    bed.network.cut(source, target, both_ways=False)
    with pytest.raises(StoreUnavailableError):
        bed.run_client()
    assert len(bed.counter.done) == executed
    assert loop.now == pytest.approx(1.0)
    bed.network.mend("c", "db")
    assert bed.run_client() == executed + 1


def test_a_server_that_is_down_refuses_at_once(loop: SimLoop) -> None:
    bed = Bed(loop)
    bed.server.stop()
    with pytest.raises(StoreUnavailableError):
        bed.run_client()
    assert loop.now < 0.1
    assert bed.counter.done == []


def test_an_answer_under_way_is_lost_when_the_server_goes_down(loop: SimLoop) -> None:
    bed = Bed(loop)
    bed.network.weather = Weather(latency_s=(0.1, 0.1))
    loop.call_outside(0.15, bed.server.stop)
    with pytest.raises(StoreUnavailableError):
        bed.run_client()
    assert len(bed.counter.done) == 1


def test_a_late_request_is_executed_after_its_sender_gave_up(loop: SimLoop) -> None:
    bed = Bed(loop)
    bed.network.weather = Weather(late_chance=1.0, late_s=5.0)
    with pytest.raises(StoreUnavailableError):
        bed.run_client()
    assert bed.counter.done == []
    loop.run(asyncio.sleep(6))
    assert len(bed.counter.done) == 1


def test_the_last_words_of_the_dead_still_arrive(loop: SimLoop) -> None:
    bed = Bed(loop)
    bed.network.weather = Weather(latency_s=(0.5, 0.5))

    async def main() -> None:
        loop.spawn(bed.process, bed.ask())
        await asyncio.sleep(0.1)
        loop.crash(bed.process)
        await asyncio.sleep(2)

    loop.run(main())
    assert len(bed.counter.done) == 1


def test_a_trap_stops_a_process_between_its_check_and_its_act(loop: SimLoop) -> None:
    bed = Bed(loop)

    def spring(source: str, process: Process) -> None:
        assert source == "c"
        loop.pause(process)
        loop.call_outside(7, loop.resume, process)

    bed.network.traps.append(
        Trap(server="db", asks=frozenset({"work"}), spring=spring, before=True)
    )
    assert bed.run_client() == 1
    assert bed.counter.done[0] > 7
    assert bed.network.traps == []


def test_requests_to_a_paused_server_wait(loop: SimLoop) -> None:
    bed = Bed(loop)
    bed.server.process = Process("db")
    loop.pause(bed.server.process)
    loop.call_outside(0.5, loop.resume, bed.server.process)
    assert bed.run_client() == 1
    assert loop.now > 0.5


def test_a_process_clock_has_its_own_rate_and_goes_on_while_paused(loop: SimLoop) -> None:
    process = Process("p", rate=1.1, offset_s=100)
    clock = ProcessClock(loop, process)
    loop.pause(process)
    loop.run(asyncio.sleep(10))
    assert clock.now() == pytest.approx(111)


def test_what_is_sent_to_a_machine_arrives_soon_or_never(loop: SimLoop) -> None:
    bed = Bed(loop)
    bed.network.prompt.add("db")
    bed.network.weather = Weather(late_chance=1.0, late_s=5.0)
    loop.spawn(bed.process, bed.ask(10))
    loop.run(asyncio.sleep(0.1))
    assert len(bed.counter.done) == 1
