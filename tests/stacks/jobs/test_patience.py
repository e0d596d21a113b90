"""Handlers that ignore that their time is over (issue 4: "a resource handler that hangs")."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.stacks.house import House

from holdfast.errors import LeaseLostError
from holdfast.sim.loop import SimLoop
from holdfast.stacks.jobs.patience import GRACE_S, Patience
from holdfast.stacks.model import Status
from holdfast.stacks.resource import Base, Progress, Ready, ResourceContext


def play(main: Any) -> Any:
    loop = SimLoop(1)
    try:
        return loop.run(main)
    finally:
        loop.close()


class Deaf(Base):
    """Takes no cancellation; wakes up after an hour and then wants to have an effect."""

    name = "Test::Deaf"

    def __init__(self) -> None:
        self.refused: list[str] = []

    async def create(self, ctx: ResourceContext) -> Progress:
        end = asyncio.get_running_loop().time() + 3600
        while (left := end - asyncio.get_running_loop().time()) > 0:
            try:
                await asyncio.sleep(left)
            except asyncio.CancelledError:
                continue
        try:
            ctx.guard()
        except LeaseLostError as fault:
            self.refused.append(fault.message)
        return Ready()


def test_a_deaf_handler_keeps_no_stack_past_its_deadline_and_has_no_late_effect():
    house, deaf = House(), Deaf()
    house.registry["Test::Deaf"] = deaf
    house.start("engine-1")

    async def main() -> None:
        began = house.loop.time()
        stack = await house.create({"a": {"type": "Test::Deaf"}}, timeout_s=30.0)
        [done] = await house.settled(stack)
        assert done.status is Status.FAILED
        assert "resources.a: CREATE aborted: the deadline passed" in done.reason
        assert house.loop.time() - began < 30 + GRACE_S + 2
        await asyncio.sleep(3600)

    house.play(main())
    assert len(deaf.refused) == 1


def test_what_ends_in_time_gives_its_result_or_its_fault():
    async def works() -> int:
        return 7

    async def fails() -> int:
        raise ValueError("no")

    async def main() -> None:
        assert await Patience(lambda: None, "a").with_(works()) == 7
        with pytest.raises(ValueError, match="no"):
            await Patience(lambda: None, "a").with_(fails())

    play(main())


def test_whoever_is_cut_short_may_come_to_an_end_first():
    ended: list[float] = []

    async def tidy(patience: Patience) -> None:
        try:
            await asyncio.sleep(100)
        finally:
            await asyncio.sleep(GRACE_S / 2)
            patience.guard()
            ended.append(asyncio.get_running_loop().time())

    async def main() -> None:
        patience = Patience(lambda: None, "a")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(patience.with_(tidy(patience)), 5)
        assert len(ended) == 1

    play(main())
