"""A simulated house of engines: stacks over a store in memory, on virtual time.

``World`` is the provider that the resources of type ``Test::Thing`` exist in. It keeps its own
history, so that the verdict comes from it and not from what the engines wrote.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar
from uuid import UUID, uuid5

from msgspec.structs import replace
from tests.core.queues import LoopClock, Waker

from holdfast.core.members import Membership
from holdfast.core.queue_worker import QueueWorker
from holdfast.core.settings import CoreSettings
from holdfast.sim.loop import Process, SimLoop
from holdfast.sim.memstacks import PRODUCTS, MemStacks
from holdfast.sim.memstore import MemStore
from holdfast.stacks.compiling import Plans
from holdfast.stacks.hot.plan import NestedTemplate
from holdfast.stacks.hot.properties import PropertySchema
from holdfast.stacks.jobs import handlers
from holdfast.stacks.jobs.hooks import hook_key
from holdfast.stacks.model import (
    QUEUE,
    Action,
    Delegation,
    Op,
    Resource,
    Source,
    Stack,
    Status,
    operation_id,
)
from holdfast.stacks.parts import Parts
from holdfast.stacks.resource import (
    Attribute,
    Base,
    Change,
    Progress,
    Ready,
    ResourceContext,
    ResourceFailedError,
    ResourceType,
    Wait,
)
from holdfast.store.model import MemberSpec

SETTINGS = CoreSettings(lease_s=3.0, lease_margin_s=0.6, drain_s=30.0)
ALICE = Delegation(
    user_id="u1", user_name="alice", project_id="p1", project_name="demo", roles=("member",)
)
T = TypeVar("T")


class World:
    """Things by the key they were asked for with, and everything that was ever done."""

    def __init__(self) -> None:
        self.things: dict[str, dict[str, Any]] = {}
        self.history: list[tuple[str, str]] = []
        self.fails: set[str] = set()  # names of resources whose creation fails
        self.greedy: dict[str, int] = {}  # how often the creation of a name finds no memory

    def make(self, key: str, value: dict[str, Any]) -> None:
        if key not in self.things:
            self.history.append(("make", key))
            self.things[key] = value

    def change(self, key: str, value: dict[str, Any]) -> None:
        self.history.append(("change", key))
        self.things[key] = value

    def drop(self, key: str) -> None:
        if self.things.pop(key, None) is not None:
            self.history.append(("drop", key))


class Thing(Base):
    """Takes ``wait`` seconds to make. A new ``colour`` takes a new thing."""

    name = "Test::Thing"

    def __init__(self, world: World, *, interruptible: bool = True) -> None:
        self._world = world
        self.interruptible = interruptible

    @property
    def properties(self) -> Mapping[str, PropertySchema]:
        return {
            "value": PropertySchema("any", update_allowed=True),
            "colour": PropertySchema("string"),
            "wait": PropertySchema("number", default=0.0, update_allowed=True),
            "hangs": PropertySchema("boolean", default=False, update_allowed=True),
        }

    @property
    def attributes(self) -> Mapping[str, Attribute]:
        return {"value": Attribute(description="what it was given")}

    async def create(self, ctx: ResourceContext) -> Progress:
        waited = ctx.now - ctx.started_at
        if ctx.properties["hangs"] or waited < ctx.properties["wait"]:
            if not ctx.data:
                ctx.guard()
                self._world.make(ctx.key, {**ctx.properties, "done": False})
            return Wait(seconds=ctx.properties["wait"] or 60.0, data={"made": True})
        if ctx.row.name in self._world.fails:
            raise ValueError(f"{ctx.row.name} cannot be")
        if self._world.greedy.get(ctx.row.name, 0):
            self._world.greedy[ctx.row.name] -= 1
            raise MemoryError
        ctx.guard()
        self._world.make(ctx.key, {**ctx.properties})
        self._world.things[ctx.key]["done"] = True
        return Ready(physical_id=ctx.key, attributes={"value": ctx.properties["value"]})

    async def update(self, ctx: ResourceContext) -> Change:
        if ctx.now - ctx.started_at < ctx.properties["wait"]:
            return Wait(seconds=ctx.properties["wait"])
        if ctx.row.name in self._world.fails:
            raise ResourceFailedError(f"{ctx.row.name} cannot change")
        ctx.guard()
        self._world.change(ctx.key, {**ctx.properties, "done": True})
        return Ready(attributes={"value": ctx.properties["value"]})

    async def delete(self, ctx: ResourceContext) -> Progress:
        ctx.guard()
        self._world.drop(ctx.key)
        return Ready()


class Group(Base):
    """A body of so many things (``Test::Thing``), all with one value."""

    name = "Test::Group"

    @property
    def properties(self) -> Mapping[str, PropertySchema]:
        return {
            "count": PropertySchema("integer", default=1, update_allowed=True),
            "value": PropertySchema("any", update_allowed=True),
        }

    async def create(self, ctx: ResourceContext) -> Progress:
        things = {
            f"t{n}": {"type": "Test::Thing", "properties": {"value": ctx.properties["value"]}}
            for n in range(ctx.properties["count"])
        }
        text = {"heat_template_version": "2021-04-16", "resources": things}
        return await ctx.nested.converge(text, parameters={})

    update = create

    async def delete(self, ctx: ResourceContext) -> Progress:
        return await ctx.nested.act("DELETE")


def bodies(target: NestedTemplate) -> ResourceType:
    raise LookupError(target.name)


class House:
    """Engines on one store. ``store_of``: the core's store as one of them sees it."""

    def __init__(
        self,
        *,
        seed: int = 3,
        room: int = 8,
        store_of: Callable[[Any], Any] = lambda store: store,
        interruptible: bool = True,
    ) -> None:
        self.loop = SimLoop(seed)
        self.store = MemStore(self.loop.time, {}, products=PRODUCTS)
        self.stacks = MemStacks(self.store)
        self.world = World()
        self.registry: dict[str, ResourceType] = {
            "Test::Thing": Thing(self.world, interruptible=interruptible),
            "Test::Group": Group(),
        }
        self._room = room
        self._store_of = store_of
        self._sources = 0
        self.workers: dict[str, QueueWorker] = {}
        self.processes: dict[str, Process] = {}

    def start(self, slot: str) -> None:
        """An engine."""
        clock, number = LoopClock(self.loop), len(self.workers)
        spec = MemberSpec(
            id=uuid5(UUID(int=9), f"{slot}/{number}"), role="engine", slot=slot, host=slot
        )
        store, stacks = self._store_of(self.store), self._store_of(self.stacks)
        parts = Parts(
            jobs=store,
            store=stacks,
            plans=Plans(stacks),
            registry=self.registry,
            bodies=bodies,
        )
        membership = Membership(store, spec, SETTINGS, clock)
        worker = QueueWorker(
            store,
            membership,
            lambda: handlers(parts),
            {QUEUE: self._room},
            SETTINGS,
            clock,
            Waker(),
        )
        process = Process(slot)
        self.workers[slot], self.processes[slot] = worker, process
        self.loop.spawn(process, worker.run())

    def source(
        self, resources: Mapping[str, Any], environment: Mapping[str, Any] | None = None
    ) -> Source:
        self._sources += 1
        template = {"heat_template_version": "2021-04-16", "resources": dict(resources)}
        key = uuid5(UUID(int=4), f"source/{self._sources}")
        return Source(id=key, template=template, environment=dict(environment or {}))

    async def create(self, resources: Mapping[str, Any], **fields: Any) -> UUID:
        """Ask for a new stack, as a request does."""
        key = self.loop.uuid()
        source = self.source(resources, fields.pop("environment", None))
        now = self.loop.time()
        timeout_s = fields.get("timeout_s", 3600.0)
        stack = Stack(
            id=key,
            name=f"s-{key.hex[:6]}",
            project="p1",
            source=source.id,
            action=fields.pop("action", Action.CREATE),
            status=Status.IN_PROGRESS,
            reason="",
            traversal=1,
            root=key,
            deadline=now + timeout_s,
            delegation=ALICE,
            created_at=now,
            **fields,
        )
        await self.stacks.begin(stack, source)
        return key

    async def ask(
        self,
        stack: UUID,
        action: Action,
        resources: Mapping[str, Any] | None = None,
        timeout_s: float | None = None,
        environment: Mapping[str, Any] | None = None,
    ) -> None:
        """Ask for something else, whatever is under way."""
        now = await self.now(stack)
        source = None if resources is None else self.source(resources, environment)
        # What to go back to is what was reached last, not what was only asked for.
        reached = now.source if now.status is Status.COMPLETE else now.previous
        asked = replace(
            now,
            action=action,
            status=Status.IN_PROGRESS,
            traversal=now.traversal + 1,
            source=now.source if source is None else source.id,
            previous=reached,
            timeout_s=timeout_s or now.timeout_s,
            deadline=self.loop.time() + (timeout_s or now.timeout_s),
        )
        await self.stacks.begin(asked, source)
        await self.stacks.stop(stack, now.traversal, begun=action is Action.DELETE)

    async def clear_hook(self, stack: UUID, name: str, hook: str) -> None:
        now = await self.now(stack)
        job = operation_id(stack, now.traversal, Op.APPLY, name)
        assert await self.store.signal(job, hook_key(name, hook), {})

    async def roll_back(self, stack: UUID) -> None:
        """Break an update off and go back to what was there before."""
        now = await self.now(stack)
        asked = replace(
            now,
            action=Action.ROLLBACK,
            status=Status.IN_PROGRESS,
            traversal=now.traversal + 1,
            source=now.previous or now.source,
            deadline=self.loop.time() + now.timeout_s,
        )
        await self.stacks.begin(asked)
        await self.stacks.stop(stack, now.traversal, begun=True)

    async def now(self, stack: UUID) -> Stack:
        found = await self.stacks.stack(stack)
        assert found is not None
        return found

    async def settled(self, *stacks: UUID) -> list[Stack]:
        """Wait until none is in progress, and nothing of them runs."""
        while any(not job.state.ended for job in self.store.tables.jobs.values()):
            await asyncio.sleep(0.25)
        return [await self.now(stack) for stack in stacks]

    async def rows(self, stack: UUID) -> dict[str, Resource]:
        return {row.name: row for row in await self.stacks.rows(stack)}

    async def check_reality(self) -> None:
        """No orphan, nothing made twice, and what is COMPLETE is as its template says."""
        rows = {
            str(row.id): row
            for one in self.stacks.stacks()
            for row in await self.stacks.rows(one.id)
            if row.type == "Test::Thing"
        }
        orphans = self.world.things.keys() - rows.keys()
        assert not orphans, f"things that no stack knows: {orphans}"
        made = [key for what, key in self.world.history if what == "make"]
        assert len(made) == len(set(made)), "something was made twice"
        for key, row in rows.items():
            if row.status is Status.COMPLETE and row.exists:
                thing = self.world.things.get(key)
                assert thing is not None, f"{row.name} is not there"
                assert thing["done"]
                assert thing["value"] == row.properties["value"]
        for one in self.stacks.stacks():
            assert one.status is not Status.IN_PROGRESS, f"{one.name}: {one.action} for ever"
            if one.status is Status.COMPLETE:
                await self._check_complete(one)

    async def _check_complete(self, stack: Stack) -> None:
        versions = await self.stacks.rows(stack.id)
        names = sorted(row.name for row in versions)
        gone = stack.action is Action.DELETE
        if gone or (stack.action is Action.ROLLBACK and stack.previous is None):
            assert names == []
            return
        source = await self.stacks.source(stack.source)
        assert source is not None
        wanted = source.template["resources"]
        assert names == sorted(wanted), f"{stack.action}: {names}"
        for row in versions:
            assert row.status is Status.COMPLETE
            said = wanted[row.name].get("properties", {})
            for name in ("colour", "value"):
                if name in said and not isinstance(said[name], dict):
                    assert row.properties[name] == said[name]

    def play(self, main: Coroutine[Any, Any, T]) -> T:
        try:
            result = self.loop.run(main)
            assert self.loop.errors == []
            return result
        finally:
            self.loop.close()
