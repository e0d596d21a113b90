"""One operation on one resource: ``stack.resource``."""

from __future__ import annotations

import traceback
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from uuid import UUID

import msgspec
import structlog

from holdfast.core.jobs import Done, Fail, Outcome, Sleep, Step, StepContext
from holdfast.core.stepping import LOST
from holdfast.errors import HoldfastError, NotFoundError
from holdfast.stacks.compiling import Compiled
from holdfast.stacks.contexts import Contexts, notes_of, with_target
from holdfast.stacks.hot import HotError
from holdfast.stacks.hot.plan import CompiledResource
from holdfast.stacks.hot.properties import changes, validate_and_resolve
from holdfast.stacks.jobs import hooks
from holdfast.stacks.jobs.kinds import RESOURCE, ItemArgs, Unbound, args_of, moment_of
from holdfast.stacks.jobs.memos import Memo, failed, memo_of
from holdfast.stacks.jobs.patience import Patience, out_of_memory
from holdfast.stacks.model import Action, Op, Resource, Stack, Status, View, resource_id
from holdfast.stacks.parts import Parts
from holdfast.stacks.records import deleted, inserted, told, updated
from holdfast.stacks.resource import (
    Change,
    Ready,
    Replace,
    ResourceContext,
    ResourceType,
    Wait,
)
from holdfast.stacks.scope import scope_of
from holdfast.store.model import Job, JobError, Json, Write

log = structlog.get_logger(__name__)

STEP = "work"
OUTSIDE_S = 7 * 86_400.0  # a step's own limit; the stack's deadline comes long before
_STILL = "state changed"
DOCUMENTS = ("properties", "attributes", "data")  # of a row, that may hold secrets


class ResourceHandler(Unbound):
    """``stack.resource``: apply, delete, check, suspend or resume one resource."""

    kind = RESOURCE

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.steps = (Step(name=STEP, run=self._work, timeout_s=OUTSIDE_S),)

    async def _work(self, ctx: StepContext) -> Outcome:
        item = msgspec.convert(ctx.args, ItemArgs)
        begun = ctx.resumed or ctx.job.attempt > 1
        return await Operation(self._parts, ctx, item, ctx.memo, begun=begun).run()

    def closing(self, job: Job, error: JobError, now: float) -> tuple[Write, ...]:
        item = msgspec.convert(job.args, ItemArgs)
        return failed(job, args_of(job), item, job.memo, error, now)


@dataclass(frozen=True)
class _Target:
    """What an operation makes of a resource."""

    type: ResourceType
    properties: dict[str, Json]
    metadata: dict[str, Json]
    update_policy: dict[str, Json]
    values: dict[str, Json]  # columns of the row once it is done
    sealed: bool = False  # what it stores
    resource: CompiledResource | None = None


class Operation:
    """One run of one operation. ``run`` returns how the step ends."""

    def __init__(
        self,
        parts: Parts,
        ctx: StepContext,
        item: ItemArgs,
        notes: Mapping[str, Json],
        *,
        begun: bool,
    ) -> None:
        self._parts = parts
        self._ctx = ctx
        self._patience = Patience(ctx.guard, item.name)
        self._moment = msgspec.structs.replace(moment_of(ctx), guard=self._patience.guard)
        self._args = args_of(ctx.job)
        self._item = item
        self._memo = memo_of(notes, item)
        self._begun = begun or self._memo.started is not None
        self._hooks: frozenset[str] = frozenset()
        self._making: tuple[Resource, _Target] | None = None  # what a creation was to become

    async def run(self) -> Outcome:
        """One attempt: the row is as it should be, must be asked again, or has failed."""
        try:
            return await self._patience.with_(self._run())
        except LOST:
            raise
        except HoldfastError as fault:
            if fault.transient:
                raise
            return self._fail(fault.code, _kind(fault), fault.message)
        except MemoryError:
            last = out_of_memory(self._ctx.job, self._item.name)
            return self._fail(last.code, "MemoryError", last.message)
        except Exception as fault:  # noqa: BLE001 - it fails its resource, and nothing else
            log.warning(
                "stack.resource_fault",
                resource=self._item.name,
                fault=repr(fault)[:500],
                at=_where(fault),
            )
            return self._fail("resource_failed", type(fault).__name__, str(fault))

    async def _run(self) -> Outcome:
        if self._item.op == Op.APPLY:
            return await self._apply()
        view = await self._parts.store.view(self._args.stack, self._memo.row, ())
        if view is None:
            return Fail(code="stack_gone", message=f"stack {self._args.stack} is not there")
        stale = self._stale(view)
        if stale is not None and self._item.op != Op.SIGNAL:
            return stale
        if view.row is None:
            return Done()  # it went in an earlier attempt
        if self._item.op == Op.DELETE:
            return await self._delete(view.stack, view.row)
        return await self._act(view.stack, view.row)

    def _stale(self, view: View, kind: ResourceType | None = None) -> Fail | None:
        """Whether a newer traversal has made this operation pointless, or a failure.

        What has begun and is not to be broken off goes on (a cancellation ends its job).
        """
        stack = view.stack
        stopped = stack.stopped >= self._args.traversal
        old = stack.traversal != self._args.traversal
        if not self._begun:
            if old or stopped or (view.failed and self._item.op != Op.DELETE):
                return Fail(code="superseded", message="another update of the stack came before it")
        elif (old or stopped) and kind is not None and kind.interruptible:
            why = "it was cancelled" if stopped and not old else "another update came in between"
            return Fail(code="interrupted", message=why)
        return None

    # -- apply ---------------------------------------------------------------------

    async def _apply(self) -> Outcome:
        compiled = await self._compiled()
        if compiled is None:
            return Fail(code="stack_gone", message=f"stack {self._args.stack} is not there")
        resource = compiled.resource(self._item.name)
        view = await self._parts.store.view(self._args.stack, self._memo.row, resource.requires)
        if view is None or view.row is None:
            return Fail(code="stack_gone", message=f"stack {self._args.stack} is not there")
        kind = self._parts.type_of(resource)
        stale = self._stale(view, kind)
        if stale is not None:
            return stale
        self._hooks = compiled.plan.environment.hooks(resource.name)
        held = self._held_before(view.row) or self._held_after(view.row)
        if held is not None:
            return held
        if view.row.action is Action.INIT or self._memo.action is not Action.UPDATE:
            return await self._create(view, compiled, resource, kind)
        return await self._update(view, compiled, resource, kind)

    async def _compiled(self) -> Compiled | None:
        source = UUID(self._ctx.args["source"])
        found = self._parts.plans.kept(self._args.stack, source)
        if found is not None:
            return found
        stack = await self._parts.store.stack(self._args.stack)
        return None if stack is None else await self._parts.plans.of(stack, source)

    async def _target(
        self, view: View, compiled: Compiled, resource: CompiledResource, kind: ResourceType
    ) -> _Target:
        contexts = Contexts(self._parts, self._moment, view.stack)
        types = {name: self._parts.type_of(compiled.resource(name)) for name in view.others}
        scope = await scope_of(resource.references, view.others, types, contexts.attribute)
        path = ("resources", resource.name, "properties")
        if kind.placeholder:
            properties: dict[str, Json] = resource.properties.resolve(scope) or {}
        else:
            schemata = kind.properties
            properties = validate_and_resolve(schemata, resource.properties, scope, path=path)
        kind.check(properties)
        metadata: dict[str, Json] = resource.metadata.resolve(scope) or {}
        requires = sorted(str(row.id) for row in view.others.values() if row.exists)
        sealed = compiled.hides or kind.keeps_secrets
        return _Target(
            type=kind,
            properties=properties,
            metadata=metadata,
            update_policy=resource.update_policy.resolve(scope) or {},
            resource=resource,
            sealed=sealed,
            values={
                "type": resource.type,
                "source": self._ctx.args["source"],
                "traversal": self._args.traversal,
                "properties": properties,
                "metadata": metadata,
                "requires": requires,
                "deletion_policy": "Retain" if resource.external_id else resource.deletion_policy,
            },
        )

    async def _create(
        self, view: View, compiled: Compiled, resource: CompiledResource, kind: ResourceType
    ) -> Outcome:
        row = view.row
        assert row is not None  # noqa: S101 - seen by the caller
        target = await self._target(view, compiled, resource, kind)
        if resource.external_id is not None:
            return self._done(row, target, Ready(physical_id=resource.external_id))
        if self._memo.action is Action.ADOPT:
            if row.physical_id is None:
                return self._fail("resource_failed", "Exception", "Resource ID was not provided.")
            return self._done(row, target, Ready(physical_id=row.physical_id))
        ctx = await Contexts(self._parts, self._moment, view.stack).of(
            msgspec.structs.replace(row, deletion_policy=target.values["deletion_policy"]),
            self._memo,
            target.properties,
            target.metadata,
            target.update_policy,
        )
        self._making = row, target
        return self._after(row, target, await kind.create(ctx))

    async def _update(
        self, view: View, compiled: Compiled, resource: CompiledResource, kind: ResourceType
    ) -> Outcome:
        row = view.row
        assert row is not None  # noqa: S101 - seen by the caller
        target = await self._target(view, compiled, resource, kind)
        before = row.properties
        waiting = self._memo.started is not None
        failed = row.status is Status.FAILED and not waiting and not kind.mends
        barred = compiled.plan.environment.restricted_actions(resource.name)
        if row.type != resource.type or failed:
            return self._replace(row, resource, barred)
        change = changes(kind.properties, before, target.properties)
        if change.refused and not waiting:
            names = ", ".join(sorted(change.refused))
            text = f"Updating immutable properties is not allowed: {names}"
            return self._fail("not_supported", "NotSupported", text)
        same = not change.changed and row.metadata == target.metadata
        if same and not waiting and not kind.always_updates:
            values = {**target.values, "status": Status.COMPLETE, "reason": _STILL}
            values = self._closed(row, target, values)
            return Done(writes=(updated(row.id, **values),))
        if change.replacing and not waiting:
            return self._replace(row, resource, barred)
        if "update" in barred and not waiting:
            return self._restricted("update")
        ctx = await Contexts(self._parts, self._moment, view.stack).of(
            row, self._memo, target.properties, target.metadata, target.update_policy, before
        )
        outcome = await kind.update(ctx)
        if isinstance(outcome, Replace):
            return self._replace(row, resource, barred)
        return self._after(row, target, outcome)

    def _restricted(self, action: str) -> Fail:
        text = f"{action} is restricted for resource."
        return self._fail("restricted", "ResourceActionRestricted", text)

    def _replace(
        self, row: Resource, resource: CompiledResource, barred: frozenset[str]
    ) -> Done | Fail:
        """Go on with a new version; the old one stays until all is well (create before delete)."""
        if "replace" in barred:
            return self._restricted("replace")
        fresh = Resource(
            id=resource_id(row.stack, self._args.traversal, row.name),
            stack=row.stack,
            name=row.name,
            type=resource.type,
            replaces=row.id,
            created_at=self._ctx.now,
        )
        memo = msgspec.to_builtins(Memo(row=fresh.id, action=Action.CREATE))
        return Done(goto=STEP, memo=memo, writes=(inserted(fresh),))

    # -- the others ----------------------------------------------------------------

    async def _delete(self, stack: Stack, row: Resource) -> Outcome:
        kept = row.deletion_policy != "Delete"
        self._hooks = await self._hooks_of_deletion(stack, row)
        held = self._held_before(row)
        if held is not None:
            return held
        if row.exists and not kept:
            contexts = Contexts(self._parts, self._moment, stack)
            ctx = await contexts.of(row, self._memo, row.properties, row.metadata, {})
            kind = contexts.type_of_row(row)
            target = _Target(
                kind, row.properties, row.metadata, {}, {}, sealed=await self._hides(stack)
            )
            outcome = await kind.delete(ctx)
            if isinstance(outcome, Wait):
                return self._wait(row, target, outcome)
        if not row.exists:
            return Done(writes=(deleted(row.id),))
        return Done(writes=(deleted(row.id), *self._told(row, Status.COMPLETE)))

    async def _act(self, stack: Stack, row: Resource) -> Outcome:
        contexts = Contexts(self._parts, self._moment, stack)
        kind = contexts.type_of_row(row)
        ctx = await contexts.of(row, self._memo, row.properties, row.metadata, {})
        # What is signalled belongs to no traversal.
        values = {} if self._item.op == Op.SIGNAL else {"traversal": self._args.traversal}
        hides = await self._hides(stack)
        target = _Target(kind, row.properties, row.metadata, {}, values, sealed=hides)
        run: dict[Op, Callable[[ResourceContext], Awaitable[Change]]] = {
            Op.CHECK: kind.observe,
            Op.SUSPEND: kind.suspend,
            Op.RESUME: kind.resume,
            Op.SIGNAL: kind.heed,
        }
        return self._after(row, target, await run[Op(self._item.op)](ctx))

    # -- hooks ---------------------------------------------------------------------

    async def _hides(self, stack: Stack) -> bool:
        """Whether what is stored of the stack is sealed; of a source that cannot be read it is."""
        try:
            return (await self._parts.plans.of(stack)).hides
        except (HotError, NotFoundError):
            return True

    async def _hooks_of_deletion(self, stack: Stack, row: Resource) -> frozenset[str]:
        """Those of the stack's environment; a source that cannot be read keeps nothing alive."""
        try:
            compiled = await self._parts.plans.of(stack)
        except (HotError, NotFoundError):
            return frozenset()
        return compiled.plan.environment.hooks(row.name)

    def _held_before(self, row: Resource) -> Sleep | None:
        """A ``pre`` hook that nobody has cleared: the row says that it waits, once."""
        action, job = self._memo.action, self._ctx.job
        hook = hooks.pending(self._hooks, "pre", action, row.name, job.inbox)
        if hook is None or self._memo.started is not None or self._memo.finished:
            return None
        reason = hooks.waiting_reason(action, hook)
        if row.status is Status.IN_PROGRESS and row.reason == reason:
            return Sleep(seconds=hooks.ASK_AGAIN_S)
        values = {
            "action": action,
            "status": Status.IN_PROGRESS,
            "reason": reason,
            "traversal": self._args.traversal,
        }
        line = hooks.told_waiting(job.id, row, action, hook, self._ctx.now)
        return Sleep(seconds=hooks.ASK_AGAIN_S, writes=(updated(row.id, **values), line))

    def _held_after(self, row: Resource) -> Outcome | None:
        """What is finished but for a ``post`` hook: still waits, or is over now."""
        if not self._memo.finished:
            return None
        inbox = self._ctx.job.inbox
        if hooks.pending(self._hooks, "post", self._memo.action, row.name, inbox):
            return Sleep(seconds=hooks.ASK_AGAIN_S)
        over = updated(row.id, status=Status.COMPLETE, reason=_STILL)
        return Done(writes=(over, *self._told(row, Status.COMPLETE)))

    # -- ends ----------------------------------------------------------------------

    def _after(self, row: Resource, target: _Target, outcome: Change) -> Outcome:
        if isinstance(outcome, Ready):
            return self._done(row, target, outcome)
        if isinstance(outcome, Wait):
            return self._wait(row, target, outcome)
        raise NotFoundError(f"{target.type.name} can only be replaced in an update")

    def _done(self, row: Resource, target: _Target, ready: Ready) -> Done | Sleep:
        data = notes_of(row) if ready.data is None else ready.data
        physical_id = row.physical_id if ready.physical_id is None else ready.physical_id
        values = {
            **target.values,
            "action": self._memo.action,
            "status": Status.COMPLETE,
            "reason": _STILL,
            "physical_id": physical_id,
            "attributes": row.attributes if ready.attributes is None else ready.attributes,
            "data": with_target(data, row, target.resource),
            "updated_at": self._ctx.now,
        }
        shown = msgspec.structs.replace(row, physical_id=physical_id)
        action, job = self._memo.action, self._ctx.job
        hook = hooks.pending(self._hooks, "post", action, row.name, job.inbox)
        if hook is None:
            written = updated(row.id, **self._closed(row, target, values))
            return Done(writes=(written, *self._told(shown, Status.COMPLETE)))
        values |= {"status": Status.IN_PROGRESS, "reason": hooks.waiting_reason(action, hook)}
        written = updated(row.id, **self._closed(row, target, values))
        line = hooks.told_waiting(job.id, shown, action, hook, self._ctx.now)
        started = self._memo.started or self._ctx.now
        memo = msgspec.structs.replace(self._memo, finished=True, started=started)
        return Sleep(
            seconds=hooks.ASK_AGAIN_S,
            memo=msgspec.to_builtins(memo),
            writes=(written, *self._told(shown), line),
        )

    def _closed(self, row: Resource, target: _Target, values: dict[str, Json]) -> dict[str, Json]:
        """Columns as they may be stored: sealed, where there are secrets among them."""
        if values.keys().isdisjoint(DOCUMENTS):
            return values
        documents = {name: values.get(name, getattr(row, name)) for name in DOCUMENTS}
        secret = target.sealed or target.type.keeps_secrets
        return {**values, **self._parts.store.columns(row.id, documents, secret=secret)}

    def _wait(self, row: Resource, target: _Target, wait: Wait) -> Sleep:
        """To sleep; the row says so the first time, and whenever its notes have changed."""
        first = self._memo.started is None
        data = wait.data if wait.data is not None else self._memo.data
        values: dict[str, Json] = {}
        if first:
            values = {
                **target.values,
                "action": self._memo.action,
                "status": Status.IN_PROGRESS,
                "reason": _STILL,
                "updated_at": self._ctx.now,
                "data": with_target(notes_of(row), row, target.resource),
            }
            if self._memo.action is Action.UPDATE:
                # What it was made of stays until the change is done.
                for name in ("properties", "metadata", "source", "requires"):
                    values.pop(name, None)
        if wait.physical_id is not None and wait.physical_id != row.physical_id:
            values["physical_id"] = wait.physical_id
        memo = Memo(
            row=row.id,
            action=self._memo.action,
            started=self._ctx.now if first else self._memo.started,
            data=data,
        )
        shown = msgspec.structs.replace(row, physical_id=wait.physical_id or row.physical_id)
        writes = (updated(row.id, **self._closed(row, target, values)),) if values else ()
        return Sleep(
            seconds=max(0.0, wait.seconds),
            memo=msgspec.to_builtins(memo),
            writes=(*writes, *(self._told(shown) if first else ())),
            progress=wait.reason or None,
        )

    def _told(self, row: Resource, end: Status | None = None) -> tuple[Write, ...]:
        """History: that it began, if not told yet; and its end."""
        job, now = self._ctx.job.id, self._ctx.now
        begun = told(job, row, self._memo.action, Status.IN_PROGRESS, now)
        lines = (begun,) if self._memo.started is None else ()
        if end is None:
            return lines
        return (*lines, told(job, row, self._memo.action, end, now))

    def _fail(self, code: str, kind: str, message: str) -> Fail:
        prefix = f"resources.{self._item.name}"
        text = f"{prefix}.{message}" if message.startswith("resources.") else f"{prefix}: {message}"
        return Fail(code=code, message=f"{kind}: {text}", writes=self._left_behind())

    def _left_behind(self) -> tuple[Write, ...]:
        """What a creation that fails was made of: whoever deletes it may need that."""
        if self._making is None:
            return ()
        row, target = self._making
        data = with_target(notes_of(row), row, target.resource)
        return (updated(row.id, **self._closed(row, target, {**target.values, "data": data})),)


def _where(fault: BaseException) -> str:
    """The line that raised it, for whoever wrote the type."""
    frames = traceback.extract_tb(fault.__traceback__)
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""


def _kind(fault: HoldfastError) -> str:
    said = fault.details.get("kind")
    return said if isinstance(said, str) else type(fault).__name__.removesuffix("Error")
