"""What may be asked of a stack as a whole: to be there, to change, to act, to go."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import cast
from uuid import NAMESPACE_OID, UUID, uuid4, uuid5

from msgspec.structs import replace

from holdfast.errors import InvalidInputError
from holdfast.identity.policy import Caller
from holdfast.stacks.compiling import Plans
from holdfast.stacks.errors import ActionInProgressError, EntityNotFoundError, NotSupportedError
from holdfast.stacks.hot.parameters import refuse_immutable
from holdfast.stacks.model import Action, Resource, Stack, Status, resource_id
from holdfast.stacks.pgstore import PgStacks
from holdfast.stacks.service.preparing import Planner, Prepared
from holdfast.stacks.service.reading import StackReader, not_found
from holdfast.stacks.service.requests import StackRequest
from holdfast.stacks.service.writing import Writer, delegation_of, name_taken, started
from holdfast.stacks.settings import StacksSettings
from holdfast.store.model import Json

REPEATABLE = frozenset({Action.SUSPEND, Action.RESUME})
"""Once done they are not done again."""


class Lifecycle:
    """Every method checks, writes one transaction, and returns the stack as it then is."""

    def __init__(
        self,
        engine: PgStacks,
        reader: StackReader,
        planner: Planner,
        writer: Writer,
        plans: Plans,
        settings: StacksSettings,
    ) -> None:
        self._engine = engine
        self._reader = reader
        self._planner = planner
        self._writer = writer
        self._plans = plans
        self._settings = settings

    async def create(
        self, caller: Caller, project: str, request: StackRequest, key: str | None = None
    ) -> Stack:
        """A new stack, or the one that was made with this idempotency key before.

        Raises ``InvalidInputError``, ``StackExistsError`` or ``StackLimitError``.
        """
        if request.name is None:
            raise InvalidInputError("No stack name specified")
        stack = uuid4() if key is None else uuid5(NAMESPACE_OID, f"stack/{project}/{key}")
        if key is not None and (there := await self._engine.stack(stack)) is not None:
            if there.name != request.name:
                raise name_taken(there.name)
            return there
        await self._refuse_taken(project, request.name)
        prepared = await self._planner.prepare(request, stack, project)
        made = self._new(caller, project, stack, request, prepared)
        adopted = [] if request.adopt is None else _adopted(made, request.adopt, prepared)
        self._plans.keep(made, prepared.compiled)
        return await self._writer.create(made, prepared.source, adopted)

    async def preview(
        self, caller: Caller, project: str, request: StackRequest
    ) -> tuple[Stack, Prepared]:
        """The stack that ``create`` would make, and its plan. Raises what that would."""
        if request.name is None:
            raise InvalidInputError("No stack name specified")
        await self._refuse_taken(project, request.name)
        stack = uuid4()
        prepared = await self._planner.prepare(request, stack, project)
        return self._new(caller, project, stack, request, prepared), prepared

    async def update(
        self, caller: Caller, stack: Stack, request: StackRequest, *, patch: bool
    ) -> Stack:
        """Make a stack what a request says: all of it, or (``patch``) over what it is.

        Raises ``ActionInProgressError`` for one that is being deleted.
        """
        if not patch and request.template is None:
            raise InvalidInputError("No template specified")
        _check_updatable(stack)
        prepared = await self.prepare_update(stack, request, patch=patch)
        self._plans.keep(replace(stack, source=prepared.source.id), prepared.compiled)

        def change(seen: Stack, now: float) -> Stack:
            _check_updatable(seen)
            if patch and seen.source != stack.source:
                raise ActionInProgressError(
                    f"Stack {seen.name} was updated by somebody else at the same time: look at it "
                    "and repeat the update."
                )
            sound = seen.status is Status.COMPLETE or seen.previous is None
            return replace(
                started(seen, Action.UPDATE, now, request.timeout_s),
                source=prepared.source.id,
                previous=seen.source if sound else seen.previous,
                rollback=seen.rollback if request.rollback is None else request.rollback,
                tags=seen.tags if request.tags is None else request.tags,
                updated_at=now,
            )

        return await self._writer.advance(
            self._again(stack.id), change, source=prepared.source, caller=caller
        )

    async def prepare_update(self, stack: Stack, request: StackRequest, *, patch: bool) -> Prepared:
        """What an update would make of a stack. Raises ``InvalidInputError``."""
        before = await self._engine.source(stack.source) if patch else None
        named = replace(request, name=stack.name)
        prepared = await self._planner.prepare(named, stack.id, stack.project, before=before)
        compiled = await self._plans.of(stack)
        refuse_immutable(prepared.plan.schemata, compiled.plan.parameters, prepared.plan.parameters)
        return prepared

    async def delete(self, stack: Stack) -> Stack:
        """Take a stack away. One that is going already goes on."""

        def change(seen: Stack, now: float) -> Stack:
            if seen.action is Action.DELETE and seen.status is not Status.FAILED:
                return seen
            return replace(started(seen, Action.DELETE, now), updated_at=seen.updated_at)

        return await self._writer.advance(self._again(stack.id), change, begun=True)

    async def act(self, caller: Caller, stack: Stack, action: Action) -> Stack:
        """``SUSPEND``, ``RESUME`` or ``CHECK`` every resource of a stack.

        Raises ``ActionInProgressError`` while something else is under way.
        """

        def change(seen: Stack, now: float) -> Stack:
            done = seen.action is action and seen.status is not Status.FAILED
            if done and (action in REPEATABLE or seen.status is Status.IN_PROGRESS):
                return seen
            _refuse_busy(seen)
            if seen.action is Action.DELETE:
                raise not_found(str(seen.id))
            return started(seen, action, now)

        return await self._writer.advance(self._again(stack.id), change, caller=caller)

    async def cancel_update(self, stack: Stack) -> Stack:
        """Break an update off and go back to what was before."""

        def change(seen: Stack, now: float) -> Stack:
            if seen.action is Action.ROLLBACK and seen.status is Status.IN_PROGRESS:
                return seen
            if (seen.action, seen.status) != (Action.UPDATE, Status.IN_PROGRESS):
                raise NotSupportedError(
                    f"Cancelling update when stack is {seen.action}_{seen.status} is not supported."
                )
            return replace(
                started(seen, Action.ROLLBACK, now),
                source=seen.source if seen.previous is None else seen.previous,
                reason="Stack ROLLBACK started: the update was cancelled",
            )

        return await self._writer.advance(
            self._again(stack.id), change, begun=True, what="cancel_update"
        )

    async def cancel_without_rollback(self, stack: Stack) -> None:
        """Break off what is under way, and leave the stack FAILED as it then is."""
        seen = await self._again(stack.id)()
        if seen.status is not Status.IN_PROGRESS or seen.action not in (
            Action.CREATE,
            Action.UPDATE,
        ):
            raise NotSupportedError(
                f"Cancelling when stack is {seen.action}_{seen.status} is not supported."
            )
        await self._writer.cancel(seen)

    def _again(self, stack: UUID) -> Callable[[], Awaitable[Stack]]:
        """Reads the stack as it is by now."""

        async def read() -> Stack:
            found = await self._engine.stack(stack)
            if found is None or found.deleted_at is not None:
                raise not_found(str(stack))
            return found

        return read

    async def _refuse_taken(self, project: str, name: str) -> None:
        """Say so before anything is compiled; the transaction says it again."""
        try:
            found = await self._reader.find(project, name)
        except EntityNotFoundError:
            return
        if found.stack.owner is None and found.stack.name == name:
            raise name_taken(name)

    def _new(
        self, caller: Caller, project: str, stack: UUID, request: StackRequest, prepared: Prepared
    ) -> Stack:
        adopting = request.adopt is not None
        action = Action.ADOPT if adopting else Action.CREATE
        return Stack(
            id=stack,
            name=request.name or "",
            project=project,
            source=prepared.source.id,
            action=action,
            status=Status.IN_PROGRESS,
            reason=f"Stack {action} started",
            traversal=1,
            rollback=bool(request.rollback) and not adopting,
            convergence=self._settings.convergence,
            timeout_s=request.timeout_s or self._settings.timeout_s,
            root=stack,
            tags=request.tags or (),
            delegation=delegation_of(caller, project),
            created_at=0.0,
        )


def _check_updatable(stack: Stack) -> None:
    if stack.action is Action.DELETE:
        raise ActionInProgressError(
            f"Stack {stack.name} already has an action (DELETE) in progress."
        )
    if stack.action is Action.SUSPEND:
        raise NotSupportedError(
            "Updating a stack when it is suspended is not supported: resume it first."
        )
    if not stack.convergence or stack.action in (Action.RESUME, Action.CHECK, Action.ADOPT):
        _refuse_busy(stack)


def _refuse_busy(stack: Stack) -> None:
    if stack.status is Status.IN_PROGRESS:
        raise ActionInProgressError(
            f"Stack {stack.name} already has an action ({stack.action}) in progress."
        )


def _adopted(stack: Stack, data: Mapping[str, Json], prepared: Prepared) -> list[Resource]:
    """What exists of the stack: a row for each resource that has a physical id."""
    given: Json = data.get("resources") or {}
    if not isinstance(given, dict):
        raise InvalidInputError("Invalid adopt data: resources must be a map")
    rows: list[Resource] = []
    for name, resource in prepared.plan.resources.items():
        said = cast("dict[str, Json]", given).get(name)
        if not isinstance(said, dict):
            continue  # the engine says which one lacks its id
        physical = cast("dict[str, Json]", said).get("resource_id")
        if not isinstance(physical, str):
            continue
        rows.append(
            Resource(
                id=resource_id(stack.id, stack.traversal, name),
                stack=stack.id,
                name=name,
                type=resource.type,
                physical_id=physical,
            )
        )
    return rows
