"""Many observations at once: bounded, answered for one by one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from tests.bmc.fakes import command

from holdfast.bmc.commands import Command, GatewayIdentity, Observed
from holdfast.bmc.errors import BmcTimeoutError, BmcUnreachableError
from holdfast.bmc.observatory import Observations
from holdfast.errors import InvalidInputError
from holdfast.sim.loop import SimLoop
from holdfast.store.model import Json


class Gateway:
    """Answers after as many seconds as the command's token says."""

    def __init__(self) -> None:
        self.at_once = 0
        self.most = 0
        self.abandoned = 0

    async def identity(self) -> GatewayIdentity:
        raise NotImplementedError

    async def floor(self, *_: object, **__: object) -> None:
        raise NotImplementedError

    async def command(self, command: Command) -> dict[str, Json]:
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        try:
            async with asyncio.timeout(command.deadline_s):
                await asyncio.sleep(command.token)
        except TimeoutError:
            raise BmcTimeoutError("too slow", begun=True) from None
        except asyncio.CancelledError:
            self.abandoned += 1
            raise
        finally:
            self.at_once -= 1
        if command.params:
            raise ValueError("a bug")
        if command.token == 13:
            raise BmcUnreachableError("nobody there")
        return {"token": command.token}


def observe(commands: Sequence[Command], limit: int, gateway: Gateway) -> list[list[Observed]]:
    async def main() -> list[list[Observed]]:
        return [together async for together in Observations(gateway, limit).observe(commands)]

    loop = SimLoop(1)
    found = loop.run(main())
    assert loop.errors == []
    loop.close()
    return found


def test_results_come_as_they_are_ready_and_those_of_a_moment_together():
    commands = [command(token, lane="sync") for token in (5, 1, 1, 13)]
    found = observe(commands, 10, Gateway())
    assert [[one.index for one in together] for together in found] == [[1, 2], [0], [3]]
    [one, _], [slow], [failed] = found
    assert (one.result, one.error, one.seconds) == ({"token": 1}, None, pytest.approx(1, abs=0.1))
    assert slow.seconds == pytest.approx(5, abs=0.1)
    assert isinstance(failed.error, BmcUnreachableError)


def test_no_more_than_the_limit_are_under_way_and_their_time_runs_meanwhile():
    gateway = Gateway()
    commands = [command(2, lane="sync", deadline_s=5.0) for _ in range(5)]
    found = [one for together in observe(commands, 1, gateway) for one in together]
    assert gateway.most == 1
    assert [one.result is not None for one in found] == [True, True, False, False, False]
    third, fourth, _ = (one.error for one in found[2:])
    assert isinstance(third, BmcTimeoutError)
    assert third.details["begun"] is True
    assert isinstance(fourth, BmcTimeoutError)
    assert fourth.details["begun"] is False


def test_a_bug_of_one_is_answered_for_like_the_others():
    broken = command(1, lane="sync", params={"bug": True})
    [[one]] = observe([broken], 5, Gateway())
    assert one.error is not None
    assert one.error.code == "bmc_error"


@pytest.mark.parametrize("wrong", [command(1), command(1, action="set_power", lane="sync")])
def test_only_observations_of_power_sync_are_taken(wrong: Command):
    with pytest.raises(InvalidInputError):
        observe([command(1, lane="sync"), wrong], 5, Gateway())


def test_none_are_none():
    assert observe([], 5, Gateway()) == []


def test_who_stops_listening_abandons_the_rest():
    gateway = Gateway()

    async def main() -> None:
        results = Observations(gateway, 10).observe([command(t, lane="sync") for t in (1, 60, 60)])
        await anext(results)
        await results.aclose()

    loop = SimLoop(1)
    loop.run(main())
    loop.close()
    assert gateway.abandoned == 2
