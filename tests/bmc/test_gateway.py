"""The gateway on virtual time: order, deadlines, restarts, the breaker, the stop."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import pytest
from tests.bmc.fakes import BMC, GATEWAY, Machine, Memory, command

from holdfast.bmc.breaker import BreakerState
from holdfast.bmc.errors import (
    AgentError,
    BmcAuthError,
    BmcError,
    BmcTimeoutError,
    BmcUnreachableError,
    BreakerOpenError,
    FloorNeededError,
    GatewayUnavailableError,
    StaleTermError,
    StaleTokenError,
)
from holdfast.bmc.gateway import GatewayCore
from holdfast.bmc.settings import BmcSettings, BreakerSettings
from holdfast.errors import InvalidInputError
from holdfast.sim.loop import SimLoop

SETTINGS = BmcSettings(
    commands_per_bmc_max=4,
    breaker=BreakerSettings(failures=2, backoff_first_s=10, backoff_max_s=40, jitter=0),
)


class World:
    """One gateway with its ports, and a floor of term 5, token 1 for the one BMC."""

    def __init__(self) -> None:
        self.memory = Memory()
        self.machine = Machine(self.memory)
        self.core: GatewayCore

    async def start(self) -> None:
        self.core = await GatewayCore.open(
            memory=self.memory,
            device=self.machine,
            unseal=lambda sealed, context: {"sealed": sealed, "context": context},
            settings=SETTINGS,
            chance=random.Random(1),
        )

    async def floor(self, term: int = 5, floor: int = 1) -> None:
        await self.core.floor(BMC, incarnation=GATEWAY.incarnation, term=term, floor=floor)

    def send(self, *args: object, **kwargs: object) -> asyncio.Task[dict[str, object]]:
        sent = command(*args, **kwargs)  # pyright: ignore[reportArgumentType]
        return asyncio.get_running_loop().create_task(self.core.command(sent))

    def hold(self, token: int) -> asyncio.Event:
        event = self.machine.gates[token] = asyncio.Event()
        return event


@pytest.fixture
def play():
    """Run a scene to its end on virtual time; nothing may be left unhandled."""

    def run(scene: Callable[[World], Awaitable[None]]) -> None:
        loop = SimLoop(1)

        async def main() -> None:
            world = World()
            await world.start()
            await world.floor()
            await scene(world)

        loop.run(main())
        assert loop.errors == []
        loop.close()

    return run


async def settle() -> None:
    """Let everything that can run, run (a timer fires only when nothing else can)."""
    await asyncio.sleep(0.001)  # virtual


def test_a_command_goes_through_with_what_was_sealed_for_this_bmc_and_address(play):
    async def scene(world: World) -> None:
        assert await world.send(7, sealed=b"x") == {"token": 7}
        assert world.machine.secrets == [
            {"sealed": b"x", "context": BMC.bytes + b"http://192.0.2.1"}
        ]

    play(scene)


def test_one_command_at_a_time_first_come_first_served(play):
    async def scene(world: World) -> None:
        hold = world.hold(7)
        tasks = [world.send(7, action=action) for action in ("observe", "set_power", "verify")]
        await settle()
        assert world.machine.begun == [("observe", 7)]
        hold.set()
        await asyncio.gather(*tasks)
        assert [action for action, _ in world.machine.begun] == ["observe", "set_power", "verify"]

    play(scene)


def test_a_long_agent_command_does_not_starve_an_operators_observation(play):
    async def scene(world: World) -> None:
        hold = world.hold(7)
        agent = world.send(7, action="agent_command", deadline_s=500)
        await settle()
        del world.machine.gates[7]
        await world.send(7, action="observe")
        assert not agent.done()
        hold.set()
        await agent

    play(scene)


def test_a_higher_token_drops_what_waits_and_awaits_what_is_in_flight(play):
    async def scene(world: World) -> None:
        hold = world.hold(7)
        old = [world.send(7, action="set_power"), world.send(7), world.send(7)]
        await settle()
        new = world.send(8)
        await settle()
        for task in old[1:]:
            with pytest.raises(StaleTokenError):
                await task
        assert world.machine.begun == [("set_power", 7)]
        hold.set()
        await asyncio.gather(old[0], new)
        assert world.machine.done == [("set_power", 7), ("observe", 8)]
        with pytest.raises(StaleTokenError):
            await world.send(7)

    play(scene)


def test_a_new_owner_waits_for_the_old_owners_agent_command_too(play):
    async def scene(world: World) -> None:
        hold = world.hold(7)
        old = world.send(7, action="agent_command")
        await settle()
        new = world.send(8, action="set_power")
        await settle()
        assert world.machine.begun == [("agent_command", 7)]
        hold.set()
        await asyncio.gather(old, new)
        assert world.machine.done == [("agent_command", 7), ("set_power", 8)]

    play(scene)


def test_a_floor_drops_what_waits_below_it_or_under_an_older_term(play):
    async def scene(world: World) -> None:
        hold = world.hold(7)
        first, second = world.send(7), world.send(7)
        await settle()
        await world.floor(floor=9)
        with pytest.raises(StaleTokenError):
            await second
        third = world.send(9)
        await settle()
        await world.floor(term=6, floor=9)
        with pytest.raises(StaleTermError):
            await third
        hold.set()
        await first

    play(scene)


def test_a_token_that_rises_while_a_lower_one_is_being_recorded_voids_it(play):
    async def scene(world: World) -> None:
        world.memory.hold = asyncio.Event()
        old = world.send(7)
        await settle()
        new = world.send(8)
        await settle()
        world.memory.hold.set()
        with pytest.raises(StaleTokenError):
            await old
        await new
        assert world.machine.begun == [("observe", 8)]

    play(scene)


def test_nothing_is_executed_while_the_state_cannot_be_written(play):
    async def scene(world: World) -> None:
        world.memory.fault = OSError("disk full")
        with pytest.raises(GatewayUnavailableError, match="disk full"):
            await world.send(7)
        assert world.machine.begun == []
        world.memory.fault = None
        await world.send(7)  # not taken for recorded because it was seen before

    play(scene)


def test_a_token_is_written_once_not_with_every_command(play):
    async def scene(world: World) -> None:
        before = world.memory.records
        for _ in range(5):
            await world.send(7)
        assert world.memory.records == before + 1

    play(scene)


def test_after_a_restart_lower_tokens_are_still_refused(play):
    async def scene(world: World) -> None:
        await world.send(7)
        await world.start()
        with pytest.raises(StaleTokenError):
            await world.send(6)
        await world.send(7)

    play(scene)


def test_after_the_loss_of_its_state_it_does_nothing_before_a_floor(play):
    async def scene(world: World) -> None:
        await world.send(7)
        world.memory.marks.clear()
        await world.start()
        with pytest.raises(FloorNeededError):
            await world.send(7)

    play(scene)


def test_a_command_ends_at_its_deadline_and_the_next_one_goes_on(play):
    async def scene(world: World) -> None:
        loop = asyncio.get_running_loop()
        world.hold(7)
        start = loop.time()
        slow = world.send(7, deadline_s=30)
        with pytest.raises(BmcTimeoutError) as caught:
            await slow
        assert loop.time() - start == pytest.approx(30)
        assert caught.value.details["begun"] is True
        del world.machine.gates[7]
        await world.send(7)

    play(scene)


def test_a_new_owner_waits_until_a_command_cut_off_can_no_longer_take_effect(play):
    async def scene(world: World) -> None:
        loop = asyncio.get_running_loop()
        world.hold(7)
        with pytest.raises(BmcTimeoutError):
            await world.send(7, action="set_power", deadline_s=30)
        cut_off_at = loop.time()
        del world.machine.gates[7]
        await world.send(7, action="set_power")  # the same owner's repetition is absolute
        assert loop.time() == pytest.approx(cut_off_at)
        await world.send(9)
        assert loop.time() == pytest.approx(cut_off_at + SETTINGS.late_s)
        await world.send(11)
        assert loop.time() == pytest.approx(cut_off_at + SETTINGS.late_s)

    play(scene)


def test_no_deadline_exceeds_the_settings_bound(play):
    async def scene(world: World) -> None:
        loop = asyncio.get_running_loop()
        world.hold(7)
        with pytest.raises(BmcTimeoutError):
            await world.send(7, deadline_s=1e6)
        assert loop.time() == pytest.approx(SETTINGS.deadline_max_s)

    play(scene)


def test_a_command_whose_deadline_passes_in_line_was_not_begun_and_says_so(play):
    async def scene(world: World) -> None:
        hold = world.hold(7)
        first = world.send(7)
        second = world.send(7, action="set_power", deadline_s=5)
        with pytest.raises(BmcTimeoutError) as caught:
            await second
        assert caught.value.details["begun"] is False
        hold.set()
        await first
        assert world.machine.begun == [("observe", 7)]

    play(scene)


def test_an_agents_time_out_is_the_agents_not_the_bmcs(play):
    async def scene(world: World) -> None:
        world.hold(7)
        with pytest.raises(AgentError):
            await world.send(7, action="agent_command", deadline_s=5)
        assert world.core.breaker_counts()[BreakerState.OPEN] == 0

    play(scene)


def test_a_caller_that_goes_away_leaves_the_line_but_what_was_begun_goes_on(play):
    async def scene(world: World) -> None:
        hold = world.hold(7)
        first, second, third = world.send(7), world.send(7, action="verify"), world.send(7)
        await settle()
        first.cancel()
        second.cancel()
        await settle()
        assert world.machine.done == []
        hold.set()
        await third
        assert world.machine.done == [("observe", 7), ("observe", 7)]
        assert world.core.open_commands() == 0

    play(scene)


def test_the_line_of_one_bmc_is_bounded(play):
    async def scene(world: World) -> None:
        hold = world.hold(7)
        tasks = [world.send(7) for _ in range(6)]
        await settle()
        with pytest.raises(GatewayUnavailableError, match="Too many"):
            await tasks[-1]
        hold.set()
        await asyncio.gather(*tasks[:-1])

    play(scene)


def test_a_driver_that_breaks_answers_an_error_and_blocks_nobody(play):
    async def scene(world: World) -> None:
        def broken(_: object) -> None:
            raise KeyError("a bug")

        world.machine.behave = broken
        with pytest.raises(BmcError, match="KeyError"):
            await world.send(7)
        world.machine.behave = lambda _: None
        await world.send(7)

    play(scene)


def test_a_dead_bmc_is_left_alone_and_then_probed(play):
    async def scene(world: World) -> None:
        def dead(_: object) -> None:
            raise BmcUnreachableError("no")

        world.machine.behave = dead
        for _ in range(2):
            with pytest.raises(BmcUnreachableError):
                await world.send(7)
        with pytest.raises(BreakerOpenError) as caught:
            await world.send(7)
        assert caught.value.details["retry_after_s"] == 10
        assert len(world.machine.begun) == 2
        await asyncio.sleep(10)  # virtual
        world.machine.behave = lambda _: None
        await world.send(7)
        await world.send(7)

    play(scene)


def test_time_outs_open_the_breaker_and_refusals_do_not(play):
    async def scene(world: World) -> None:
        def refuses(_: object) -> None:
            raise BmcAuthError("wrong password")

        world.machine.behave = refuses
        for _ in range(5):
            with pytest.raises(BmcAuthError):
                await world.send(7)
        world.machine.behave = lambda _: None
        world.hold(7)
        for _ in range(2):
            with pytest.raises(BmcTimeoutError):
                await world.send(7, deadline_s=1)
        with pytest.raises(BreakerOpenError):
            await world.send(7)

    play(scene)


def test_a_new_owners_token_counts_even_when_the_breaker_refuses_its_command(play):
    async def scene(world: World) -> None:
        def dead(_: object) -> None:
            raise BmcUnreachableError("no")

        world.machine.behave = dead
        for _ in range(2):
            with pytest.raises(BmcUnreachableError):
                await world.send(7)
        with pytest.raises(BreakerOpenError):
            await world.send(8)
        with pytest.raises(StaleTokenError):
            await world.send(7)

    play(scene)


def test_a_stop_finishes_what_was_accepted_and_refuses_the_rest(play):
    async def scene(world: World) -> None:
        hold = world.hold(7)
        first, second = world.send(7), world.send(7)
        await settle()
        closing = asyncio.get_running_loop().create_task(world.core.close(30))
        await settle()
        with pytest.raises(GatewayUnavailableError, match="stopping"):
            await world.send(7)
        hold.set()
        await closing
        assert await first == await second == {"token": 7}

    play(scene)


def test_a_stop_gives_up_after_its_grace_and_everybody_gets_an_answer(play):
    async def scene(world: World) -> None:
        world.hold(7)
        tasks = [world.send(7), world.send(7)]
        await settle()
        await world.core.close(30)
        for task in tasks:
            with pytest.raises(GatewayUnavailableError):
                await task
        assert world.core.open_commands() == 0

    play(scene)


@pytest.mark.parametrize(
    "wrong",
    [
        {"deadline_s": 0},
        {"deadline_s": float("nan")},
        {"deadline_s": float("inf")},
        {"token": -1},
        {"token": 2**63},
        {"term": 2**70},
        {"step": "a\r\nX-Evil: 1"},
        {"step": "a\n"},
    ],
)
def test_a_command_that_nobody_could_execute_is_refused(play, wrong):
    async def scene(world: World) -> None:
        with pytest.raises(InvalidInputError):
            await world.send(**wrong)
        await world.send(7)  # and it has not raised the token

    play(scene)


def test_the_status_shows_each_bmc_and_the_highest_number_seen(play):
    async def scene(world: World) -> None:
        hold = world.hold(7)
        task = world.send(7, action="set_power", sealed=b"secret")
        await asyncio.sleep(2)  # virtual
        status = world.core.status()
        assert status["highest"] == 7
        (line,) = status["bmcs"]
        assert line["running"] == [{"action": "set_power", "token": 7, "since_s": 2.0}]
        hold.set()
        await task
        assert world.core.status()["bmcs"][0]["last"] == "ok"

    play(scene)
