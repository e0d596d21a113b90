"""The pace at which machines are switched on, on the gateway and by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from uuid import UUID

import pytest
from tests.bmc.fakes import GATEWAY, Memory, command

from holdfast.bmc.commands import Command, Lane
from holdfast.bmc.errors import BmcTimeoutError, PacedError
from holdfast.bmc.gateway import GatewayCore
from holdfast.bmc.pace import Pace
from holdfast.bmc.settings import BmcSettings
from holdfast.sim.loop import SimLoop
from holdfast.store.model import Json


def test_a_burst_goes_at_once_and_the_rest_at_the_pace():
    pace: Pace[int] = Pace(2.0, 3)
    for number in range(7):
        pace.join("normal", number)
    assert pace.served(0.0) == [0, 1, 2]
    assert pace.next_s(0.0) == 0.5
    assert pace.served(0.4) == []
    assert pace.served(0.5) == [3]
    assert pace.served(1.6) == [4, 5]
    assert pace.served(60.0) == [6]
    assert pace.next_s(60.0) is None


def test_the_lanes_take_turns_so_that_an_operator_waits_for_few():
    pace: Pace[str] = Pace(1.0, 1)
    for number in range(500):
        pace.join("sync", f"sync-{number}")
    pace.join("normal", "operator-1")
    pace.join("normal", "operator-2")
    order = [who for second in range(5) for who in pace.served(float(second))]
    assert order == ["operator-1", "sync-0", "operator-2", "sync-1", "sync-2"]


def test_one_who_leaves_costs_nothing():
    pace: Pace[str] = Pace(1.0, 1)
    for who in "abc":
        pace.join("normal", who)
    assert pace.served(0.0) == ["a"]
    pace.leave("normal", "b")
    pace.leave("normal", "b")
    assert len(pace) == 1
    assert pace.served(1.0) == ["c"]


@pytest.mark.parametrize(("lane", "wait_s"), [("normal", 3.0), ("sync", 21.0)])
def test_what_a_newcomer_would_wait_is_known(lane: Lane, wait_s: float):
    pace: Pace[int] = Pace(1.0, 1)
    pace.join("normal", 0)
    for number in range(20):
        pace.join("sync", number)
    # A token is there; one normal is ahead, and the lanes take turns.
    assert pace.wait_s(lane, 0.0) == wait_s


class Rack:
    """A gateway over many machines, which notes when each was switched on."""

    def __init__(self) -> None:
        self.on: list[tuple[float, UUID, Lane]] = []
        self.seen: list[UUID] = []
        self.core: GatewayCore

    async def start(self, machines: int, **settings: float) -> None:
        self.core = await GatewayCore.open(
            memory=Memory(),
            device=self,
            unseal=lambda *_: {},
            settings=BmcSettings(**settings),  # pyright: ignore[reportArgumentType]
        )
        for number in range(machines):
            await self.core.floor(
                UUID(int=number), incarnation=GATEWAY.incarnation, term=5, floor=1
            )

    async def execute(self, command: Command, secrets: dict[str, Json]) -> dict[str, Json]:
        if command.params.get("state") == "power on":
            self.on.append((asyncio.get_running_loop().time(), command.bmc, command.lane))
        else:
            self.seen.append(command.bmc)
        return {}

    def switch(self, machine: int, state: str = "power on", **sent: Json) -> asyncio.Task[object]:
        made = command(bmc=UUID(int=machine), action="set_power", params={"state": state}, **sent)
        return asyncio.get_running_loop().create_task(self.core.command(made))


def play(scene: Callable[[Rack], Awaitable[None]]) -> Rack:
    loop, rack = SimLoop(1), Rack()
    loop.run(scene(rack))
    assert loop.errors == []
    loop.close()
    return rack


def test_five_hundred_machines_come_on_at_the_pace_and_operators_among_them():
    async def scene(rack: Rack) -> None:
        await rack.start(502, power_on_per_s=20.0, power_on_burst=10)
        tasks = [rack.switch(n, lane="sync") for n in range(500)]
        await asyncio.sleep(2.0)
        asked_at = asyncio.get_running_loop().time()
        await asyncio.gather(rack.switch(500), rack.switch(501))
        assert asyncio.get_running_loop().time() - asked_at < 0.3
        await asyncio.gather(*tasks)

    rack = play(scene)
    assert len({machine for _, machine, _ in rack.on}) == 502
    times = [at for at, _, _ in rack.on]
    assert times[-1] == pytest.approx((502 - 10) / 20, abs=0.1)
    for second in range(24):
        assert sum(second <= at < second + 1 for at in times) <= 20 + 10


def test_switching_off_and_looking_wait_for_no_turn():
    async def scene(rack: Rack) -> None:
        await rack.start(3, power_on_per_s=0.1, power_on_burst=1)
        await rack.switch(0)
        waiting = rack.switch(1)
        await rack.switch(2, "power off")
        await rack.core.command(command(bmc=UUID(int=1)))
        assert asyncio.get_running_loop().time() < 0.1
        await waiting

    rack = play(scene)
    assert rack.seen == [UUID(int=2), UUID(int=1)]
    assert [round(at) for at, _, _ in rack.on] == [0, 10]


def test_who_would_wait_past_his_deadline_is_told_when_to_come_again():
    async def scene(rack: Rack) -> None:
        await rack.start(9, power_on_per_s=1.0, power_on_burst=1)
        tasks = [rack.switch(n, deadline_s=60.0) for n in range(8)]
        await asyncio.sleep(0.001)
        with pytest.raises(PacedError, match="nothing was executed") as refused:
            await rack.switch(8, deadline_s=5.0)
        assert refused.value.retry_after_s == pytest.approx(8, abs=0.1)
        await asyncio.gather(*tasks)

    play(scene)


def test_a_turn_that_was_waited_for_in_vain_goes_to_the_next():
    async def scene(rack: Rack) -> None:
        await rack.start(4, power_on_per_s=0.5, power_on_burst=1)
        await rack.switch(0)
        first, second, third = (rack.switch(n) for n in (1, 2, 3))
        await asyncio.sleep(0.001)
        second.cancel()
        await asyncio.gather(first, third)
        assert asyncio.get_running_loop().time() == pytest.approx(4, abs=0.1)

    play(scene)


def test_without_a_bound_all_come_on_at_once():
    async def scene(rack: Rack) -> None:
        await rack.start(300, power_on_per_s=0.0)
        await asyncio.gather(*(rack.switch(n) for n in range(300)))

    assert {at for at, _, _ in play(scene).on} == {0.0}


def test_a_ticket_that_expires_in_the_queue_has_executed_nothing():
    async def scene(rack: Rack) -> None:
        await rack.start(3, power_on_per_s=1.0, power_on_burst=1)
        await rack.switch(0, lane="sync")
        hopeful = rack.switch(1, lane="sync", deadline_s=1.5)
        await asyncio.sleep(0.001)
        operator = rack.switch(2)  # whose turn it is
        with pytest.raises(BmcTimeoutError) as late:
            await hopeful
        assert late.value.details["begun"] is False
        await operator

    rack = play(scene)
    assert [machine.int for _, machine, _ in rack.on] == [0, 2]
