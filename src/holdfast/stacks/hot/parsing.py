"""From a template's JSON to values: functions are recognised, checked and, where nothing of
theirs waits for resources, computed at once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from holdfast.stacks.hot.errors import HotError, Path, VersionError
from holdfast.stacks.hot.scope import UNRESOLVED, is_unresolved
from holdfast.stacks.hot.shapes import is_list, is_map
from holdfast.stacks.hot.values import (
    NULL,
    OMITTED,
    Call,
    Evaluate,
    ListValue,
    Literal,
    MapValue,
    Value,
    evaluated,
    list_value,
    map_value,
)

ParseCall = Callable[["Parser", str, Any, Path], Value]
"""Makes a value of a call: parser, function name, raw arguments, the call's path."""


class Dynamic:
    """Stands in an outline where a function's result will be, once resources are there."""

    def __repr__(self) -> str:
        return "DYNAMIC"


DYNAMIC = Dynamic()


@dataclass(frozen=True, slots=True)
class Function:
    """A function of the language: the sentence that ``template_versions`` shows, and its parser."""

    summary: str
    parse: ParseCall


def no_conditions(condition: Any, path: Path) -> bool:
    """The truth of a condition in a template that defines none."""
    if isinstance(condition, bool):
        return condition
    raise HotError(f'Invalid condition "{condition}"', path)


@dataclass(slots=True)
class Facts:
    """All that a template can refer to besides resources.

    ``parameters`` may hold UNRESOLVED (validation without values). ``resources`` names those
    that can be referred to: the ones in effect. ``facade`` is None unless nested. ``holds``
    tells the truth of a condition's name or value.
    """

    parameters: Mapping[str, Any]
    files: Mapping[str, str]
    resources: Collection[str]
    facade: Mapping[str, Any] | None = None
    holds: Callable[[Any, Path], bool] = field(default=no_conditions)


@dataclass(frozen=True, slots=True)
class Parser:
    """Parses values with one version's functions.

    ``refused`` names functions that the version has, but not in this place; ``elsewhere`` maps
    the names of functions that it does not have to a sentence that says so. ``conditions`` is
    the parser for places where a condition is expected (None: this one is it).
    """

    functions: Mapping[str, Function]
    refused: Collection[str]
    elsewhere: Mapping[str, str]
    facts: Facts
    conditions: Parser | None = None

    def parse(self, snippet: Any, path: Path) -> Value:
        """The value of a piece of the template. OMITTED: to be left out.

        Raises: HotError with the path.
        """
        if is_map(snippet):
            if len(snippet) == 1:
                ((name, arguments),) = snippet.items()
                function = self.functions.get(name)
                if function is not None:
                    return function.parse(self, name, arguments, (*path, name))
                if name in self.refused:
                    raise HotError(f'The function "{name}" is invalid in this context', path)
                self._refuse_foreign(name, path)
            return map_value({key: self.parse(item, (*path, key)) for key, item in snippet.items()})
        if is_list(snippet):
            return list_value(
                [self.parse(item, (*path, index)) for index, item in enumerate(snippet)]
            )
        return NULL if snippet is None else Literal(snippet)

    def holds(self, condition: Any, path: Path) -> bool:
        """Whether a condition holds: a name, a truth value, or a function of conditions."""
        parser = self.conditions or self
        value = known_now(parser.parse(condition, path), "A condition", path)
        return self.facts.holds(value, path)

    def _refuse_foreign(self, name: str, path: Path) -> None:
        """A function that exists in some version, and not in this one."""
        why = self.elsewhere.get(name)
        if why is None and name.startswith("Fn::"):
            why = f"The function {name} does not exist in HOT."
        if why is not None:
            raise VersionError(f"The template version is invalid: {why}", path)


def outline(value: Value) -> Any:
    """A value as JSON, with DYNAMIC where it waits for resources: for checks of its shape."""
    if isinstance(value, Literal):
        return value.value
    if isinstance(value, MapValue):
        return {key: outline(item) for key, item in value.items}
    if isinstance(value, ListValue):
        return [outline(item) for item in value.items]
    return DYNAMIC


def make_call(name: str, evaluate: Evaluate, arguments: Value, path: Path) -> Value:
    """A call, computed now when nothing of it waits for resources."""
    if not isinstance(arguments, Literal):
        return Call(name, evaluate, arguments, path)
    if is_unresolved(arguments.value):
        return Literal(UNRESOLVED)
    return Literal(evaluated(name, evaluate, arguments.value, path))


Check = Callable[[str, Any], None]
"""Raises HotError over the outline of arguments that can never be right."""


def no_check(name: str, arguments: Any) -> None:
    """Only the resolved arguments show whether they are right."""


def plain(summary: str, evaluate: Evaluate, check: Check = no_check) -> Function:
    """A function of its resolved arguments alone. Nulls stand for omitted positional ones."""

    def parse(parser: Parser, name: str, raw: Any, path: Path) -> Value:
        arguments = parsed_arguments(parser.parse, raw, path)
        if not isinstance(arguments, Literal):
            evaluated(name, _checked(check), outline(arguments), path)
        return make_call(name, evaluate, arguments, path)

    return Function(summary, parse)


def _checked(check: Check) -> Evaluate:
    def run(name: str, arguments: Any) -> Any:
        check(name, arguments)

    return run


def parsed_arguments(parse: Callable[[Any, Path], Value], raw: Any, path: Path) -> Value:
    """Arguments as a value; an omitted one of a list is null, so that the others keep places."""
    if not is_list(raw):
        arguments = parse(raw, path)
        return NULL if arguments is OMITTED else arguments
    items = [parse(item, (*path, index)) for index, item in enumerate(raw)]
    return list_value([NULL if item is OMITTED else item for item in items])


def known_now(value: Value, what: str, path: Path) -> Any:
    """The value of something that has to be known before any resource is there.

    Raises: HotError.
    """
    if isinstance(value, Literal):
        return value.value
    names = ", ".join(sorted({ref.resource for ref in value.dependencies()}))
    raise HotError(f"{what} cannot depend on a resource, this one depends on {names}", path)
