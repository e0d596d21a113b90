"""From a request to a plan: compiled once, checked whole, before anything is written.

Pure but for the thread: a large template is compiled beside the event loop, not on it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import TypeAlias, TypeVar
from uuid import UUID, uuid4

import msgspec

from holdfast.errors import InvalidInputError
from holdfast.stacks.compiling import Compiled
from holdfast.stacks.errors import (
    PlanningTimeoutError,
    ResourceLimitError,
    ValidationFailedError,
)
from holdfast.stacks.hot.compile import compile_template, parameter_types
from holdfast.stacks.hot.documents import as_document
from holdfast.stacks.hot.environment import Environment
from holdfast.stacks.hot.limits import Limits
from holdfast.stacks.hot.plan import (
    CompiledResource,
    CompiledTemplate,
    NestedTemplate,
    Pseudo,
    inclusion,
)
from holdfast.stacks.hot.properties import properties_of_template, validate_and_resolve
from holdfast.stacks.hot.scope import NOTHING_YET, is_unresolved
from holdfast.stacks.model import Source
from holdfast.stacks.resource import Registry
from holdfast.stacks.service.requests import StackRequest
from holdfast.stacks.settings import StacksSettings
from holdfast.store.model import Json

T = TypeVar("T")

ASIDE_CHARS = 20_000  # a template of this size takes some 50 ms
_ANY = frozenset({"show"})  # every type has this attribute, as Heat has it


class Prepared(msgspec.Struct, frozen=True):
    """A source that makes a stack, and its plan."""

    source: Source
    compiled: Compiled

    @property
    def plan(self) -> CompiledTemplate:
        return self.compiled.plan


class Planner:
    """Compiles and checks requests. ``registry``: the types that there are."""

    def __init__(self, settings: StacksSettings, registry: Registry, region: str) -> None:
        self._settings = settings
        self._registry = registry
        self._region = region

    @property
    def limits(self) -> Limits:
        """What the language may make of a request."""
        return Limits(template_bytes_max=self._settings.template_bytes_max)

    async def prepare(
        self, request: StackRequest, stack: UUID, project: str, *, before: Source | None = None
    ) -> Prepared:
        """The source that a request asks for. Raises ``InvalidInputError`` for what is none.

        ``before``: what a PATCH starts from.
        """
        return await self.aside(
            _size(request), partial(self._prepare, request, stack, project, before)
        )

    async def aside(self, size: int, work: Callable[[], T]) -> T:
        """Do it on a thread if it may take long; not for ever, whatever it is."""
        if size < ASIDE_CHARS:
            return work()
        try:
            async with asyncio.timeout(self._settings.response_timeout_s):
                return await asyncio.to_thread(work)
        except TimeoutError:
            raise PlanningTimeoutError(
                f"the template could not be checked within {self._settings.response_timeout_s:g} s "
                "([stacks] response_timeout_s): make it smaller, or try again later"
            ) from None

    def _prepare(
        self, request: StackRequest, stack: UUID, project: str, before: Source | None
    ) -> Prepared:
        given = request.template if request.template is not None else before and before.template
        if given is None:
            raise InvalidInputError("No template specified")
        files = {**(before.files if before else {}), **request.files}
        environment = self.environment(request, given, files, before)
        pseudo = Pseudo(
            stack_id=str(stack),
            stack_name=request.name or "",
            project_id=project,
            region=self._region,
        )
        plan = compile_template(
            given, files=files, environment=environment, pseudo=pseudo, limits=self.limits
        )
        self.check(plan)
        source = Source(
            id=uuid4(),
            template=as_document(given, "template", self.limits),
            files=files,
            environment=environment.document(),
        )
        return Prepared(source, Compiled(source, plan))

    def environment(
        self,
        request: StackRequest,
        template: str | dict[str, Json],
        files: Mapping[str, str],
        before: Source | None,
    ) -> Environment:
        """All that the request says, over what was there before, parameters over all."""
        if request.environment_files:
            types = parameter_types(template, files, self.limits)
            found = Environment.from_files(request.environment_files, files, types, self.limits)
        else:
            found = Environment.parse(request.environment, self.limits)
        found = found.with_parameters(request.parameters)
        if before is not None:
            old = Environment.parse(before.environment, self.limits)
            known = parameter_types(template, limits=self.limits)
            found = old.with_only(known).updated_by(found, request.clear_parameters)
        return found

    def check(self, plan: CompiledTemplate) -> int:
        """Whether each resource may be what the template says; returns how many there are.

        Raises ``HotError``, ``ValidationFailedError`` or ``ResourceLimitError``.
        """
        count = _Checking(self._registry, self._settings, self.limits).check(plan, ())
        if count > self._settings.resources_per_stack_max:
            raise ResourceLimitError(
                f"the stack would have {count} resources: one may have "
                f"{self._settings.resources_per_stack_max} "
                "([stacks] resources_per_stack_max)"
            )
        return count


Trail: TypeAlias = tuple[tuple[str, str], ...]
"""Resource and template, from the outermost to the innermost."""


class _Checking:
    """One walk through a template and those within it."""

    def __init__(self, registry: Registry, settings: StacksSettings, limits: Limits) -> None:
        self._registry = registry
        self._depth_max = settings.nested_depth_max
        self._limits = limits

    def check(self, plan: CompiledTemplate, trail: Trail) -> int:
        """How many resources there are. ``trail``: what ``plan`` lies within."""
        if len(trail) > self._depth_max:
            raise ResourceLimitError(
                f"stacks may be nested {self._depth_max} deep ([stacks] nested_depth_max), "
                f"and the template goes deeper: {inclusion(trail)}"
            )
        plan.check_attributes(self._attributes)
        return sum(self._resource(plan, one, trail) for one in plan.resources.values())

    def _resource(self, plan: CompiledTemplate, resource: CompiledResource, trail: Trail) -> int:
        target = resource.target
        place = (*resource.path, "properties")
        if isinstance(target, NestedTemplate):
            schemata = properties_of_template(target.text, self._limits)
            properties = validate_and_resolve(
                schemata, resource.properties, NOTHING_YET, path=place
            )
            return 1 + self._nested(plan, resource, target, properties, trail)
        kind = self._registry.get(target)
        if kind is None:
            raise ValidationFailedError(
                f"resources.{resource.name}: The Resource Type ({target}) could not be found."
            )
        if kind.placeholder:
            return 1
        properties = validate_and_resolve(
            kind.properties, resource.properties, NOTHING_YET, path=place
        )
        if not is_unresolved(properties):
            try:
                kind.check(properties)
            except InvalidInputError as fault:
                raise ValidationFailedError(
                    f"resources.{resource.name}.properties: {fault.message}"
                ) from None
        return 1

    def _nested(
        self,
        plan: CompiledTemplate,
        resource: CompiledResource,
        target: NestedTemplate,
        properties: Mapping[str, Json],
        trail: Trail,
    ) -> int:
        """What waits for other resources cannot be checked yet: the engine will."""
        if is_unresolved(dict(properties)):
            return 0
        given = {name: value for name, value in properties.items() if value is not None}
        inner = compile_template(
            target.text,
            files=plan.files,
            environment=plan.environment.child(resource.type, resource.name, given),
            limits=self._limits,
        )
        return self.check(inner, (*trail, (resource.name, target.name)))

    def _attributes(self, resource: CompiledResource) -> Collection[str] | None:
        if isinstance(resource.target, NestedTemplate):
            return None
        kind = self._registry.get(resource.target)
        return None if kind is None or kind.open_attributes else {*kind.attributes, *_ANY}


def _size(request: StackRequest) -> int:
    """About how many characters there are to compile."""
    texts = sum(len(text) for text in request.files.values())
    given = request.template
    if given is None:
        return ASIDE_CHARS  # that of an existing stack: nobody knows
    return texts + (len(given) if isinstance(given, str) else len(msgspec.json.encode(given)))
