"""Every kind of job of stacks, with a crash at every step in turn and every step run twice."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

import pytest
from msgspec.structs import replace
from tests.core.unbound_rig import Scenario, check
from tests.stacks.house import ALICE, Group, Thing, World, bodies

from holdfast.core.jobs import Handler
from holdfast.sim.memstacks import PRODUCTS, MemStacks
from holdfast.sim.memstore import MemStore
from holdfast.stacks.compiling import Plans
from holdfast.stacks.jobs import handlers
from holdfast.stacks.model import QUEUE, Action, Source, Stack, Status
from holdfast.stacks.parts import Parts
from holdfast.store.model import JobState
from holdfast.store.port import Store

STACK = UUID(int=0xA)


def thing(value: Any, *after: str, **more: Any) -> dict[str, Any]:
    made = {"type": "Test::Thing", "properties": {"value": value, **more}}
    return {**made, "depends_on": list(after)} if after else made


FIRST = {
    "a": thing(1),
    "b": thing({"get_attr": ["a", "value"]}, colour="red", wait=2),
    "g": {"type": "Test::Group", "properties": {"count": 2, "value": 1}, "depends_on": ["a"]},
    "d": thing(4, "b"),
}
SECOND = {
    "a": thing(2),
    "b": thing({"get_attr": ["a", "value"]}, colour="blue"),
    "g": {"type": "Test::Group", "properties": {"count": 3, "value": 2}},
    "e": thing(5, "g"),
}


class Life(Scenario):
    """A stack is created, updated and deleted."""

    queues = {QUEUE: 4}
    products = PRODUCTS
    volatile = ("created_at", "updated_at", "deleted_at", "at", "deadline")
    convergence = True

    def __init__(self) -> None:
        self.world = World()
        self.stacks: MemStacks | None = None

    def handlers(self, store: Store) -> Iterable[Handler]:
        assert self.stacks is not None
        parts = Parts(
            jobs=store,  # type: ignore[arg-type]
            store=self.stacks,
            plans=Plans(self.stacks),
            registry={"Test::Thing": Thing(self.world), "Test::Group": Group()},
            bodies=bodies,
        )
        return handlers(parts).values()

    async def begin(self, store: MemStore) -> None:
        self.stacks = MemStacks(store)
        source = self.source(1, FIRST)
        stack = Stack(
            id=STACK,
            name="s",
            project="p1",
            source=source.id,
            action=Action.CREATE,
            status=Status.IN_PROGRESS,
            reason="",
            traversal=1,
            rollback=True,
            convergence=self.convergence,
            root=STACK,
            delegation=ALICE,
            created_at=0.0,
        )
        await self.stacks.begin(stack, source)

    @staticmethod
    def source(number: int, resources: Mapping[str, Any]) -> Source:
        template = {"heat_template_version": "2021-04-16", "resources": dict(resources)}
        return Source(id=UUID(int=number), template=template)

    async def settled(self) -> Stack:
        assert self.stacks is not None
        while (now := await self.stacks.stack(STACK)) is None or now.status == "IN_PROGRESS":
            await asyncio.sleep(0.2)
        return now

    async def ask(self, action: Action, source: Source | None = None) -> Stack:
        assert self.stacks is not None
        now = await self.settled()
        asked = replace(
            now,
            action=action,
            status=Status.IN_PROGRESS,
            traversal=now.traversal + 1,
            source=now.source if source is None else source.id,
            previous=now.source,
        )
        await self.stacks.begin(asked, source)
        return await self.settled()

    async def meanwhile(self, store: MemStore) -> None:
        await self.settled()
        await self.ask(Action.UPDATE, self.source(2, SECOND))
        await self.ask(Action.SUSPEND)
        await self.ask(Action.DELETE)

    def outcome(self, store: MemStore) -> object:
        makes = sorted(key for what, key in self.world.history if what == "make")
        drops = sorted(key for what, key in self.world.history if what == "drop")
        return makes, drops, self.world.things


class Sequential(Life):
    """The same without convergence."""

    convergence = False


@pytest.mark.parametrize("scenario", [Life, Sequential])
def test_a_death_at_any_step_changes_nothing(scenario: type[Life]):
    run = check(scenario)
    makes, drops, left = run.outcome  # type: ignore[misc]
    assert left == {}
    assert makes == drops
    assert run.states() == {JobState.SUCCEEDED}
