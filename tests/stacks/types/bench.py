"""A bench for one resource type: virtual time, a body that is a model, crashes at every call.

``Bench`` does what an engine does with a resource, and as badly as an engine may: every call is
made twice, the first one's answer lost with the engine that made it. What a type makes outside
is counted by what stands in for the outside.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID, uuid5

from msgspec.structs import replace

from holdfast.stacks.hot import NOTHING_YET
from holdfast.stacks.hot.properties import validate_and_resolve
from holdfast.stacks.hot.values import Literal
from holdfast.stacks.model import Action, Delegation, Resource, Stack, Status, nested_id
from holdfast.stacks.resource import (
    Change,
    NestedStack,
    Peer,
    Progress,
    Ready,
    Replace,
    ResourceContext,
    ResourceFailedError,
    ResourceType,
    Wait,
)

CALLS_MAX = 300
T0 = 1_000_000.0
HOUSE = UUID(int=4)
DELEGATION = Delegation(
    user_id="u", user_name="ann", project_id="p", project_name="proj", roles=("member",)
)
STACK = Stack(
    id=uuid5(HOUSE, "stack"),
    name="app",
    project="p",
    source=uuid5(HOUSE, "source"),
    action=Action.CREATE,
    status=Status.IN_PROGRESS,
    reason="",
    traversal=1,
    root=uuid5(HOUSE, "stack"),
    delegation=DELEGATION,
    created_at=T0,
)


class Clock:
    """The database's clock, moved by hand."""

    def __init__(self) -> None:
        self.now = T0


class Crash(BaseException):
    """The process died."""


class BodyModel:
    """``Nesting`` over a dict. Converging takes ``takes_s``; members are counted."""

    def __init__(self, clock: Clock, owner: UUID) -> None:
        self._clock = clock
        self._id = nested_id(owner)
        self.members: dict[str, Resource] = {}
        self.made: list[str] = []
        self.templates: list[Any] = []
        self.parameters: dict[str, Any] = {}
        self.actions: list[str] = []
        self.takes_s = 10.0
        self.fails = ""
        self.sizes: list[int] = []
        self.updated_at_once: list[int] = []
        self.attributes: dict[tuple[str, str], Any] = {}
        self._until: float | None = None

    async def converge(
        self,
        template: Any,
        *,
        parameters: Mapping[str, Any],
        files: Mapping[str, str] | None = None,
        environment: Mapping[str, Any] | None = None,
        timeout_s: float | None = None,
    ) -> Progress:
        self.timeout_s = timeout_s
        if not self.templates or self.templates[-1] != template or parameters != self.parameters:
            self.templates.append(template)
            self.parameters = dict(parameters)
            self._until = self._clock.now + self.takes_s
        assert self._until is not None
        if self._clock.now < self._until:
            return Wait(seconds=self._until - self._clock.now, physical_id=str(self._id))
        if self.fails:
            raise ResourceFailedError(self.fails)
        if isinstance(template, dict):
            self._take(template["resources"])
        return Ready(physical_id=str(self._id))

    def _take(self, wanted: dict[str, Any]) -> None:
        now = {name: self.members[name] for name in wanted if name in self.members}
        changed = 0
        for name, definition in wanted.items():
            if name not in now:
                self.made.append(name)
                now[name] = self._row(name, definition)
                changed += 1
            elif now[name].properties != definition:
                now[name] = replace(now[name], properties=definition)
                changed += 1
        if now != self.members:
            self.sizes.append(len(now))
            self.updated_at_once.append(changed)
        self.members = now

    def _row(self, name: str, definition: Any) -> Resource:
        identity = uuid5(self._id, name)
        return Resource(
            id=identity,
            stack=self._id,
            name=name,
            type=definition["type"],
            action=Action.CREATE,
            properties=definition,
            attributes={"ip": f"10.0.0.{name}", "deep": {"key": [name]}},
            physical_id=f"id-{name}",
            created_at=self._clock.now,
        )

    async def act(self, action: str) -> Progress:
        self.actions.append(action)
        return Ready()

    async def look(self) -> NestedStack | None:
        if not self.templates:
            return None
        stack = replace(STACK, id=self._id, name="app-body", root=STACK.root)
        outputs = {"refs_map": {name: f"ref-{name}" for name in self.members}}
        if isinstance(self.templates[-1], str):
            outputs = {"answer": 42}
        return NestedStack(stack=stack, outputs=outputs, rows=tuple(self.members.values()))

    async def attribute(self, name: str, path: Sequence[Any]) -> Any:
        found = self.attributes.get((name, path[0]))
        if found is None:
            raise LookupError(path[0])
        return found


def resolved(kind: ResourceType, given: dict[str, Any]) -> dict[str, Any]:
    """Properties as the engine hands them to a type."""
    properties = validate_and_resolve(kind.properties, Literal(given), NOTHING_YET)
    kind.check(properties)
    return properties


class Bench:
    """One resource and its engine."""

    def __init__(
        self,
        kind: ResourceType,
        properties: dict[str, Any] | None = None,
        *,
        clock: Clock | None = None,
        call: Mapping[str, Any] | None = None,
        policy: dict[str, Any] | None = None,
        peers: Callable[[str], Peer | None] = lambda _: None,
        name: str = "thing",
        stack: Stack = STACK,
    ) -> None:
        self.kind = kind
        self.clock = clock or Clock()
        self.stack = stack
        self.properties = resolved(kind, properties or {})
        identity = uuid5(HOUSE, name)
        self.row = Resource(id=identity, stack=stack.id, name=name, type=kind.name)
        self.body = BodyModel(self.clock, identity)
        self.policy = policy or {}
        self.signals: list[dict[str, Any]] = []
        self.calls = 0
        self.waits: list[Wait] = []
        self.guards_left: int | None = None
        self._call = dict(call or {})
        self._peers = peers

    def guard(self) -> None:
        """Where an engine may find that it must not act any more."""
        if self.guards_left is not None:
            if self.guards_left == 0:
                self.guards_left = None
                raise Crash
            self.guards_left -= 1

    def context(
        self,
        *,
        data: dict[str, Any] | None = None,
        before: dict[str, Any] | None = None,
        started_at: float | None = None,
        resumed: bool = False,
    ) -> ResourceContext:
        async def peer(reference: str) -> Peer | None:
            return self._peers(reference)

        return ResourceContext(
            key=str(self.row.id),
            row=self.row,
            stack=self.stack,
            properties=self.properties,
            before=self.properties if before is None else before,
            metadata={},
            update_policy=self.policy,
            data=self.row.data if data is None else data,
            now=self.clock.now,
            started_at=self.clock.now if started_at is None else started_at,
            resumed=resumed,
            delegation=DELEGATION,
            guard=self.guard,
            nested=self.body,
            signals=tuple(self.signals),
            peer=peer,
            call=self._call,
        )

    async def create(self, **meanwhile: Any) -> Ready:
        return self._ready(await self.do("create", Action.CREATE, **meanwhile))

    async def update(self, given: dict[str, Any], **meanwhile: Any) -> Change:
        before, self.properties = self.properties, resolved(self.kind, given)
        return await self.do("update", Action.UPDATE, before=before, **meanwhile)

    async def delete(self, **meanwhile: Any) -> Ready:
        return self._ready(await self.do("delete", Action.DELETE, **meanwhile))

    async def heed(self) -> Ready:
        return self._ready(await self.do("heed", Action.UPDATE))

    async def do(
        self,
        what: str,
        action: Action,
        *,
        before: dict[str, Any] | None = None,
        each: Callable[[], Any] | None = None,
        crash_at: int | None = None,
    ) -> Change:
        """Call until it is done; every answer is lost once. ``each``: done between calls.

        ``crash_at``: the process also dies just before the effect of this number.
        """
        self.waits.clear()
        data: dict[str, Any] | None = None
        started: float | None = None
        self.guards_left = crash_at
        for _ in range(CALLS_MAX):
            outcome: Any = None
            for attempt in range(2):
                ctx = self.context(
                    data=data, before=before, started_at=started, resumed=attempt > 0
                )
                started = ctx.started_at
                self.calls += 1
                try:
                    outcome = await getattr(self.kind, what)(ctx)
                except Crash:
                    outcome = await getattr(self.kind, what)(ctx)
                if each is not None:
                    await each()
            if isinstance(outcome, Replace):
                return outcome
            if outcome.physical_id is not None:
                self.row = replace(self.row, physical_id=outcome.physical_id)
            if outcome.data is not None:
                data = outcome.data
            if isinstance(outcome, Wait):
                self.waits.append(outcome)
                self.row = replace(self.row, action=action, status=Status.IN_PROGRESS)
                self.clock.now += outcome.seconds
                continue
            self._keep(outcome, action)
            return outcome
        raise AssertionError(f"{what} was never done: {self.waits[-3:]}")

    def _keep(self, ready: Ready, action: Action) -> None:
        kept = {} if ready.data is None else {"data": ready.data}
        if ready.attributes is not None:
            kept["attributes"] = ready.attributes
        self.row = replace(self.row, action=action, status=Status.COMPLETE, **kept)

    def _ready(self, outcome: Change) -> Ready:
        assert isinstance(outcome, Ready)
        return outcome

    async def attribute(self, *path: Any) -> Any:
        """As a template reads it."""
        if path[0] in self.row.attributes and len(path) == 1:
            return self.row.attributes[path[0]]
        return await self.kind.attribute(self.context(), path)
