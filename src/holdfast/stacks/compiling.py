"""Sources compiled, once per process: what all operations of a stack share."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from uuid import UUID
from weakref import WeakValueDictionary

from holdfast.errors import NotFoundError
from holdfast.stacks.hot import Environment, Facade, Pseudo, compile_template
from holdfast.stacks.hot.plan import CompiledResource, CompiledTemplate
from holdfast.stacks.model import Source, Stack
from holdfast.stacks.plan import Wanted
from holdfast.stacks.port import StackStore

KEPT_RESOURCES_MAX = 50_000  # of all plans that are kept, by their resources


@dataclass(frozen=True, eq=False)
class Compiled:
    """A source and its plan."""

    source: Source
    plan: CompiledTemplate

    @cached_property
    def wishes(self) -> Mapping[str, Wanted]:
        """What ``stacks.plan`` needs of it."""
        return {
            name: Wanted(resource.type, resource.requires)
            for name, resource in self.plan.resources.items()
        }

    @cached_property
    def hides(self) -> bool:
        """Whether any parameter is hidden: then all that is made of it is stored sealed."""
        return self.source.secret or any(one.hidden for one in self.plan.schemata.values())

    def resource(self, name: str) -> CompiledResource:
        """One resource in effect; ``NotFoundError`` if the template has none of that name."""
        found = self.plan.resources.get(name)
        if found is None:
            raise NotFoundError(f"the template has no resource {name!r}, or its condition is off")
        return found


def compile_source(stack: Stack, source: Source, region: str = "") -> Compiled:
    """The plan of a stack's source. Raises ``HotError`` for what cannot be one."""
    facade = source.facade
    plan = compile_template(
        source.template,
        files=source.files,
        environment=Environment.parse(source.environment),
        pseudo=Pseudo(
            stack_id=str(stack.id),
            stack_name=stack.name,
            project_id=stack.project,
            region=region,
        ),
        facade=None if facade is None else Facade(**facade),
    )
    return Compiled(source, plan)


class Plans:
    """The plans this process has compiled, the least used of them forgotten in time."""

    def __init__(self, store: StackStore, region: str = "") -> None:
        self._store = store
        self._region = region
        self._kept: OrderedDict[tuple[UUID, UUID], Compiled] = OrderedDict()
        self._resources = 0
        self._reading: WeakValueDictionary[tuple[UUID, UUID], asyncio.Lock] = WeakValueDictionary()

    def kept(self, stack: UUID, source: UUID) -> Compiled | None:
        """The plan of a source, if it is at hand."""
        found = self._kept.get((stack, source))
        if found is not None:
            self._kept.move_to_end((stack, source))
        return found

    async def of(self, stack: Stack, source: UUID | None = None) -> Compiled:
        """The plan of a stack's source, its present one unless another is named."""
        key = (stack.id, source or stack.source)
        found = self._kept.get(key)
        if found is None:
            # A stack's operations begin all at once: the first reads the source for all.
            async with self._reading.setdefault(key, asyncio.Lock()):
                found = self._kept.get(key) or self._keep(key, await self._read(stack, key[1]))
        self._kept.move_to_end(key)
        return found

    async def _read(self, stack: Stack, source: UUID) -> Compiled:
        stored = await self._store.source(source)
        if stored is None:
            raise NotFoundError(f"the source {source} of stack {stack.id} is gone")
        return compile_source(stack, stored, self._region)

    def keep(self, stack: Stack, compiled: Compiled) -> None:
        """Remember a plan that was compiled elsewhere, as the stack's present source."""
        key = (stack.id, stack.source)
        if key not in self._kept:
            self._keep(key, compiled)

    def _keep(self, key: tuple[UUID, UUID], compiled: Compiled) -> Compiled:
        self._kept[key] = compiled
        self._resources += 1 + len(compiled.plan.resources)
        while self._resources > KEPT_RESOURCES_MAX and len(self._kept) > 1:
            _, old = self._kept.popitem(last=False)
            self._resources -= 1 + len(old.plan.resources)
        return compiled
