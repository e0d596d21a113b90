"""The checker is checked: each of these bugs must be caught by the random stacks.

Switches that live here only; none is in the product.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.stacks import test_random_stacks as random_stacks
from tests.stacks.house import Thing

from holdfast.core.jobs import Fail
from holdfast.stacks import plan
from holdfast.stacks.jobs import settling
from holdfast.stacks.jobs.operations import Operation, ResourceHandler
from holdfast.stacks.resource import Ready

SEEDS_MAX = 120
Patch = pytest.MonkeyPatch


def forgets_what_was_broken_off(patch: Patch) -> None:
    """A job that is cut off leaves its row as if nothing had been begun."""
    patch.setattr(ResourceHandler, "closing", lambda *_: ())


def takes_a_resumed_step_for_a_new_one(patch: Patch) -> None:
    """What a dead engine may have made is not looked for when the work is pointless by now."""

    def stale(self: Operation, view: Any, kind: Any = None) -> Fail | None:
        self._begun = False
        return was(self, view, kind)

    was = Operation._stale
    patch.setattr(Operation, "_stale", stale)


def makes_without_a_key(patch: Patch) -> None:
    """A resource type that makes a new thing at every attempt."""

    async def create(self: Thing, ctx: Any) -> Any:
        ctx.guard()
        key = f"{ctx.key}/{len(self._world.history)}"
        self._world.make(key, {**ctx.properties, "done": True})
        return Ready(physical_id=ctx.key)

    patch.setattr(Thing, "create", create)


def drops_rows_of_what_it_failed_to_delete(patch: Patch) -> None:
    """A stack is said to be deleted, or complete, with resources left."""
    patch.setattr(settling, "_superfluous", lambda *_: [])
    patch.setattr(plan, "_clean", lambda *_: plan.Plan())


@pytest.mark.parametrize(
    "bug",
    [
        forgets_what_was_broken_off,
        takes_a_resumed_step_for_a_new_one,
        makes_without_a_key,
        drops_rows_of_what_it_failed_to_delete,
    ],
)
def test_the_bug_is_caught(bug: Callable[[Patch], None], monkeypatch: Patch):
    bug(monkeypatch)
    for seed in range(SEEDS_MAX):
        try:
            random_stacks.live(seed)
        except BaseException:
            return
    raise AssertionError(f"{bug.__name__} went unnoticed for {SEEDS_MAX} seeds")
