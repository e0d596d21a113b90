"""Plans are compiled once, whoever asks for them at the same time."""

from __future__ import annotations

import asyncio
from typing import cast
from uuid import UUID

from tests.stacks.rows import a_stack

from holdfast.stacks.compiling import Plans
from holdfast.stacks.model import Source
from holdfast.stacks.port import StackStore


class Sources:
    """Gives a source after a while, and counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    async def source(self, source: UUID) -> Source:
        self.asked += 1
        await asyncio.sleep(0)
        return Source(id=source, template={"heat_template_version": "2021-04-16"})


async def test_a_source_that_all_operations_ask_for_at_once_is_read_once() -> None:
    sources, stack = Sources(), a_stack()
    plans = Plans(cast("StackStore", sources))
    first, *others = await asyncio.gather(*(plans.of(stack) for _ in range(100)))
    assert sources.asked == 1
    assert all(other is first for other in others)
