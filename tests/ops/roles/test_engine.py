"""An engine whose memory fills up hands over its work and is started again."""

from __future__ import annotations

from typing import cast

import pytest

from holdfast.core.queue_worker import QueueWorker
from holdfast.ops.roles import engine


class Worker:
    """What the watch over an engine's memory knows of it."""

    def __init__(self) -> None:
        self.membership = self
        self.told = False

    def request_drain(self) -> None:
        self.told = True


async def test_an_engine_whose_memory_fills_up_drains_while_it_can(monkeypatch: pytest.MonkeyPatch):
    used = iter([100, 850, 901])
    monkeypatch.setattr(engine, "used_mb", lambda: next(used))
    monkeypatch.setattr(engine, "MEMORY_LOOK_S", 0)
    worker = Worker()
    await engine.leave_when_full(cast("QueueWorker", worker), 1000)
    assert worker.told
    assert not list(used)
