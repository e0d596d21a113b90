"""The stack that is the body of a resource, as the resource's type handles it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol, cast
from uuid import UUID, uuid5

import msgspec
from msgspec.structs import replace

from holdfast.stacks.model import Action, Resource, Source, Stack, Status, nested_id
from holdfast.stacks.parts import Parts
from holdfast.stacks.resource import (
    NestedStack,
    Progress,
    Ready,
    ResourceFailedError,
    Wait,
)
from holdfast.store.model import Hold, Json

ASK_AGAIN_S = 15.0  # the body tells when it is done; this is for the word that was lost


class Looking(Protocol):
    """What is asked of a stack from outside (``contexts.Contexts``)."""

    async def outputs(
        self, rows: Sequence[Resource], names: Collection[str] | None = None
    ) -> tuple[dict[str, Json], dict[str, str]]: ...

    async def attribute_of(
        self, rows: Sequence[Resource], name: str, path: Sequence[Json]
    ) -> Json: ...


def _nothing_to_guard() -> None:
    return None


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """When, and on whose behalf, something of a resource is done or merely looked at.

    ``hold`` and ``job`` None: looked at, by somebody who may change nothing. ``now``: the
    database's clock.
    """

    now: float
    hold: Hold | None = None
    job: UUID | None = None
    resumed: bool = False
    guard: Callable[[], None] = _nothing_to_guard

    @property
    def doing(self) -> tuple[Hold, UUID]:
        """The job that acts, and what it runs under; ``LookupError`` for a mere look."""
        if self.hold is None or self.job is None:
            raise LookupError("whoever looks at a resource cannot change it")
        return self.hold, self.job


class Body:
    """``resource.Nesting``. What it asks for belongs to the job that runs: asked again by
    the same job it is the same thing, and by another job a new one.
    """

    def __init__(
        self,
        parts: Parts,
        moment: Moment,
        around: Stack,
        row: Resource,
        facade: dict[str, Json],
        looking: Callable[[Stack], Looking],
    ) -> None:
        self._parts = parts
        self._moment = moment
        self._around = around
        self._row = row
        self._facade = facade
        self._looking = looking

    async def converge(
        self,
        template: Json,
        *,
        parameters: Mapping[str, Json],
        files: Mapping[str, str] | None = None,
        environment: Mapping[str, Json] | None = None,
        timeout_s: float | None = None,
    ) -> Progress:
        source = await self._source(template, parameters, files, environment)
        there = await self._parts.store.nested(self._row.id)
        hold, job = self._moment.doing
        if there is not None and there.tell == job and there.source == source.id:
            return self._progress(there)
        await self._check_limits(source, there)
        fresh = there is None or there.action in (Action.INIT, Action.DELETE)
        action = Action.CREATE if fresh else Action.UPDATE
        begun = self._begin(there, action, source.id, timeout_s)
        self._moment.guard()
        await self._parts.store.converge(hold, job, begun, source)
        return Wait(seconds=ASK_AGAIN_S, physical_id=str(begun.id))

    async def _check_limits(self, source: Source, there: Stack | None) -> None:
        """The limits of a request hold for what its resources ask for, too (X20)."""
        if self._around.depth + 1 > self._parts.depth_max:
            raise ResourceFailedError(
                f"stacks may be nested {self._parts.depth_max} deep at most", kind="Forbidden"
            )
        resources = _resources_of(source.template)
        others = await self._parts.store.count_resources(self._around.root)
        own = 0 if there is None else len(await self._parts.store.rows(there.id))
        if others - own + resources > self._parts.resources_max:
            raise ResourceFailedError(
                f"the stack would have {others - own + resources} resources, nested ones included; "
                f"at most {self._parts.resources_max} are allowed",
                kind="RequestLimitExceeded",
            )

    async def act(self, action: str) -> Progress:
        there = await self._parts.store.nested(self._row.id)
        if there is None:
            return Ready()
        hold, job = self._moment.doing
        if there.tell == job and there.action == action:
            return self._progress(there)
        begun = self._begin(there, Action(action), there.source, None)
        self._moment.guard()
        await self._parts.store.converge(hold, job, begun, None)
        return Wait(seconds=ASK_AGAIN_S, physical_id=str(begun.id))

    async def look(self) -> NestedStack | None:
        there = await self._parts.store.nested(self._row.id)
        if there is None:
            return None
        rows = await self._parts.store.rows(there.id)
        outputs, _ = await self._looking(there).outputs(rows)
        return NestedStack(stack=there, outputs=outputs, rows=tuple(rows))

    async def attribute(self, name: str, path: Sequence[Json]) -> Json:
        there = await self._parts.store.nested(self._row.id)
        if there is None:
            raise LookupError(name)
        rows = await self._parts.store.rows(there.id)
        return await self._looking(there).attribute_of(rows, name, path)

    async def _source(
        self,
        template: Json,
        parameters: Mapping[str, Json],
        files: Mapping[str, str] | None,
        environment: Mapping[str, Json] | None,
    ) -> Source:
        """What the body is to be, under an id that is made of just that."""
        compiled = await self._parts.plans.of(self._around)
        if environment is None:
            child = compiled.plan.environment.child(self._row.type, self._row.name)
            environment = {
                name: value for name, value in child.document().items() if name != "parameters"
            }
        source = Source(
            id=self._row.id,
            template=template,
            files=dict(compiled.source.files if files is None else files),
            environment={**environment, "parameters": dict(parameters)},
            facade=self._facade,
            secret=compiled.hides,
        )
        digest = hashlib.sha256(msgspec.json.encode(source, order="sorted")).hexdigest()
        return replace(source, id=uuid5(nested_id(self._row.id), digest))

    def _begin(
        self, there: Stack | None, action: Action, source: UUID, timeout_s: float | None
    ) -> Stack:
        """The next traversal of the body, for this job."""
        around, now = self._around, self._moment.now
        limit_s = around.timeout_s if timeout_s is None else timeout_s
        deadline = now + limit_s
        if around.deadline is not None:
            # A little before what is around it, which then can name what was late.
            early_s = min(2.0, 0.05 * max(0.0, around.deadline - now))
            deadline = min(around.deadline - early_s, deadline)
        body = there or Stack(
            id=nested_id(self._row.id),
            name=f"{around.name}-{self._row.name}-{self._row.id.hex[:12]}",
            project=around.project,
            source=source,
            action=action,
            status=Status.IN_PROGRESS,
            reason="",
            traversal=0,
            convergence=around.convergence,
            root=around.root,
            depth=around.depth + 1,
            owner=self._row.id,
            delegation=around.delegation,
            created_at=now,
        )
        return replace(
            body,
            source=source,
            previous=None if there is None else there.source,
            action=action,
            status=Status.IN_PROGRESS,
            reason=f"Stack {action} started",
            traversal=body.traversal + 1,
            timeout_s=limit_s,
            deadline=deadline,
            tell=self._moment.job,
            around=around.traversal,
            updated_at=None if there is None else now,
        )

    def _progress(self, there: Stack) -> Progress:
        if there.status is Status.COMPLETE:
            return Ready(physical_id=str(there.id))
        if there.status is Status.FAILED:
            kind, text = inner_failure(there.reason)
            raise ResourceFailedError(text, kind=kind)
        return Wait(seconds=ASK_AGAIN_S, physical_id=str(there.id))


def _resources_of(template: Json) -> int:
    """How many resources a template has that was made by a type; of a text: not known yet."""
    if not isinstance(template, dict):
        return 0
    made = cast("dict[str, Json]", template).get("resources")
    return len(cast("dict[str, Json]", made)) if isinstance(made, dict) else 0


def inner_failure(reason: str) -> tuple[str, str]:
    """The kind and the text of what failed within, out of the reason of a stack's failure.

    ``Resource CREATE failed: ValueError: resources.a: it broke`` says ``ValueError`` and
    ``resources.a: it broke``, which whoever is around it puts its own name before.
    """
    head, said, rest = reason.partition(" failed: ")
    kind, colon, text = rest.partition(": ")
    if said and colon and head.startswith("Resource ") and text.startswith("resources."):
        return kind, text
    return "StackFailed", reason
