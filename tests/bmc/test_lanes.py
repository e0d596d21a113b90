"""The lane of power sync at the gateway: it gives way to all others, and opens no breaker."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import pytest
from tests.bmc.fakes import BMC, GATEWAY, Memory, command

from holdfast.bmc.breaker import BreakerState
from holdfast.bmc.commands import Command, Lane
from holdfast.bmc.errors import (
    BmcTimeoutError,
    BmcUnreachableError,
    BreakerOpenError,
    GatewayUnavailableError,
    GaveWayError,
)
from holdfast.bmc.gateway import GatewayCore
from holdfast.bmc.settings import BmcSettings, BreakerSettings
from holdfast.sim.loop import SimLoop
from holdfast.store.model import Json

GIVE_WAY_S = 0.05
SETTINGS = BmcSettings(
    give_way_s=GIVE_WAY_S,
    breaker=BreakerSettings(failures=2, backoff_first_s=10, backoff_max_s=40, jitter=0),
)


class Slow:
    """A machine whose answers take as long as the test says, by lane."""

    def __init__(self) -> None:
        self.takes_s: dict[Lane, float] = {"normal": 0.0, "sync": 0.0}
        self.refuses = False
        self.begun: list[tuple[float, str, Lane]] = []
        self.cut_off = 0

    async def execute(self, command: Command, secrets: dict[str, Json]) -> dict[str, Json]:
        self.begun.append((asyncio.get_running_loop().time(), command.action, command.lane))
        if self.refuses:
            raise BmcUnreachableError("nobody there")
        try:
            await asyncio.sleep(self.takes_s[command.lane])
        except asyncio.CancelledError:
            self.cut_off += 1
            raise
        return {"power_state": "power on"}


class World:
    def __init__(self) -> None:
        self.machine = Slow()
        self.core: GatewayCore

    async def start(self) -> None:
        self.core = await GatewayCore.open(
            memory=Memory(),
            device=self.machine,
            unseal=lambda *_: {},
            settings=SETTINGS,
            chance=random.Random(1),
        )
        await self.core.floor(BMC, incarnation=GATEWAY.incarnation, term=5, floor=1)

    def send(self, *args: object, **kwargs: object) -> asyncio.Task[dict[str, Json]]:
        sent = command(*args, **kwargs)  # pyright: ignore[reportArgumentType]
        return asyncio.get_running_loop().create_task(self.core.command(sent))


def now() -> float:
    return asyncio.get_running_loop().time()


@pytest.fixture
def play():
    """Run a scene to its end on virtual time; nothing may be left unhandled."""

    def run(scene: Callable[[World], Awaitable[None]]) -> None:
        loop, world = SimLoop(1), World()

        async def main() -> None:
            await world.start()
            await scene(world)

        loop.run(main())
        assert loop.errors == []
        loop.close()

    return run


async def settle() -> None:
    await asyncio.sleep(0.001)  # virtual


def test_an_operators_command_goes_before_observations_that_wait(play):
    async def scene(world: World) -> None:
        world.machine.takes_s["normal"] = 1.0
        first = world.send(action="verify")
        await settle()
        waiting = world.send(lane="sync")
        await settle()
        second = world.send(action="set_power")
        await asyncio.gather(first, waiting, second)
        assert [(action, lane) for _, action, lane in world.machine.begun] == [
            ("verify", "normal"),
            ("set_power", "normal"),
            ("observe", "sync"),
        ]

    play(scene)


def test_an_observation_in_flight_on_a_slow_bmc_is_cut_off_for_an_operator(play):
    async def scene(world: World) -> None:
        world.machine.takes_s["sync"] = 30.0
        observing = world.send(lane="sync")
        await settle()
        began = now()
        await world.send(action="set_power")
        assert now() - began == pytest.approx(GIVE_WAY_S, abs=0.001)
        with pytest.raises(GaveWayError):
            await observing
        assert world.machine.cut_off == 1

    play(scene)


def test_one_that_is_about_to_end_may_end_since_its_connection_is_worth_keeping(play):
    async def scene(world: World) -> None:
        world.machine.takes_s["sync"] = GIVE_WAY_S / 2
        observing = world.send(lane="sync")
        await settle()
        await world.send(action="set_power")
        assert await observing == {"power_state": "power on"}
        assert world.machine.cut_off == 0

    play(scene)


def test_who_went_away_again_cuts_nothing_off(play):
    async def scene(world: World) -> None:
        world.machine.takes_s["sync"] = 1.0
        observing = world.send(lane="sync")
        await settle()
        operator = world.send(action="set_power")
        await settle()
        operator.cancel()
        assert await observing == {"power_state": "power on"}

    play(scene)


def test_only_observations_are_cut_off_never_a_change_that_was_begun(play):
    async def scene(world: World) -> None:
        world.machine.takes_s["sync"] = 5.0
        changing = world.send(action="set_power", params={"state": "power on"}, lane="sync")
        await settle()
        await world.send(action="verify")
        await changing
        assert now() == pytest.approx(5.0, abs=0.01)
        assert world.machine.cut_off == 0

    play(scene)


def test_an_observation_does_not_give_way_to_the_ramdisk_agent(play):
    async def scene(world: World) -> None:
        world.machine.takes_s["sync"] = 5.0
        observing = world.send(lane="sync")
        await settle()
        await world.send(action="agent_command")
        assert now() < 1
        await observing

    play(scene)


def test_power_sync_opens_no_breaker_but_its_success_closes_one(play):
    async def scene(world: World) -> None:
        world.machine.refuses = True
        for _ in range(10):
            with pytest.raises(BmcUnreachableError):
                await world.send(lane="sync")
        assert world.core.breaker_counts()[BreakerState.OPEN] == 0
        for _ in range(2):
            with pytest.raises(BmcUnreachableError):
                await world.send()
        with pytest.raises(BreakerOpenError):
            await world.send(lane="sync")
        await asyncio.sleep(11)
        # Its probe finds nothing, and leaves the next probe to whoever comes.
        with pytest.raises(BmcUnreachableError):
            await world.send(lane="sync")
        with pytest.raises(BmcUnreachableError):
            await world.send()
        world.machine.refuses = False
        await asyncio.sleep(21)
        await world.send(lane="sync")
        assert await world.send() == {"power_state": "power on"}

    play(scene)


def test_an_observation_that_is_too_slow_is_a_timeout_and_opens_no_breaker(play):
    async def scene(world: World) -> None:
        world.machine.takes_s["sync"] = 30.0
        for _ in range(3):
            with pytest.raises(BmcTimeoutError) as slow:
                await world.send(lane="sync", deadline_s=2.0)
            assert slow.value.details["begun"] is True
        assert world.core.breaker_counts()[BreakerState.OPEN] == 0

    play(scene)


def test_an_operators_probe_is_not_kept_waiting_by_that_of_power_sync(play):
    async def scene(world: World) -> None:
        world.machine.refuses = True
        for _ in range(2):
            with pytest.raises(BmcUnreachableError):
                await world.send()
        world.machine.refuses = False
        await asyncio.sleep(11)
        world.machine.takes_s["sync"] = 30.0
        probing = world.send(lane="sync", deadline_s=60.0)
        await settle()
        assert await world.send() == {"power_state": "power on"}
        with pytest.raises(GaveWayError):
            await probing

    play(scene)


def test_a_gateway_that_stops_says_so_to_observations_too(play):
    async def scene(world: World) -> None:
        world.machine.takes_s["sync"] = 30.0
        observing = world.send(lane="sync")
        operator = world.send(action="set_power")
        await settle()
        await world.core.close(0.0)
        for task in (observing, operator):
            with pytest.raises(GatewayUnavailableError):
                await task

    play(scene)
