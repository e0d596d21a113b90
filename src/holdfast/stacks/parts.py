"""What the jobs of stacks are given by whoever runs them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

from holdfast.errors import NotFoundError
from holdfast.stacks.compiling import Plans
from holdfast.stacks.hot.plan import CompiledResource, NestedTemplate
from holdfast.stacks.port import StackStore
from holdfast.stacks.resource import Registry, ResourceType
from holdfast.store.model import Json, QueuedJob


class Jobs(Protocol):
    """What stacks' jobs ask of the core's store."""

    async def enqueue(self, jobs: list[QueuedJob], *, parent: UUID | None = None) -> int: ...

    async def signal(self, job: UUID, key: str, payload: Json) -> bool: ...


class Bodies(Protocol):
    """Makes the type of a resource whose type is a template."""

    def __call__(self, target: NestedTemplate) -> ResourceType: ...


@dataclass(frozen=True, kw_only=True)
class Parts:
    """``call``: ports to the outer world by name. ``events_max``: kept of each stack.
    ``resources_max``: of a whole tree of stacks, ``depth_max`` of nesting (X20).
    """

    jobs: Jobs
    store: StackStore
    plans: Plans
    registry: Registry
    bodies: Bodies
    call: Mapping[str, Json] = field(default_factory=dict[str, Json])
    events_max: int = 1000
    resources_max: int = 1000
    depth_max: int = 5

    def type_of(self, resource: CompiledResource) -> ResourceType:
        """The type that the environment makes of a resource's."""
        if isinstance(resource.target, NestedTemplate):
            return self.bodies(resource.target)
        return self.named(resource.target)

    def named(self, name: str) -> ResourceType:
        """A registered type; ``NotFoundError`` for one that nobody brought."""
        found = self.registry.get(name)
        if found is None:
            raise NotFoundError(f"there is no resource type {name!r}: is its plug-in installed?")
        return found
