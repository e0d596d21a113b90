"""Obituaries: told at once, kept while nobody can be told."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest

from holdfast.errors import StoreUnavailableError
from holdfast.ops.children import Incarnation
from holdfast.ops.obituaries import Obituaries


async def test_one_that_cannot_be_sent_in_time_is_left_to_expiry():
    tried = 0

    async def away(*_: object) -> bool:
        nonlocal tried
        tried += 1
        raise StoreUnavailableError("away")

    lines: list[str] = []
    obituaries = Obituaries(away, lines.append)
    obituaries.send("conductor-1", [Incarnation(uuid4(), 3)], "killed by signal 9")
    await obituaries.settle(within_s=0.05)
    assert tried >= 1
    before = tried
    await asyncio.sleep(0)
    assert (tried, lines) == (before, [])


async def test_a_child_that_never_registered_has_none():
    async def never(*_: object) -> bool:
        pytest.fail("nobody died")

    obituaries = Obituaries(never, lambda _: None)
    obituaries.send("api-1", [], "exited with status 1")
    await obituaries.settle(within_s=1)


async def test_a_lease_that_had_ended_before_is_not_announced():
    """A child that drained has ended its own lease."""

    async def over(*_: object) -> bool:
        return False

    lines: list[str] = []
    obituaries = Obituaries(over, lines.append)
    obituaries.send("conductor-1", [Incarnation(uuid4(), 3)], "exited with status 0")
    await obituaries.settle(within_s=1)
    assert lines == []
