"""Compiled values: what of a template still waits for resources, as a tree.

A subtree without references is a :class:`Literal`: functions of it were computed when the
template was compiled. What is left are references, and calls of functions on them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from holdfast.stacks.hot.errors import HotError, Path
from holdfast.stacks.hot.scope import UNRESOLVED, Ref, Scope, is_unresolved

NO_REFS: Final[frozenset[Ref]] = frozenset()

Evaluate = Callable[[str, Any], Any]
"""A pure function: its name (for messages) and its resolved arguments to its result."""


class Value(Protocol):
    """A node of the tree. Immutable, hashable by identity, free of I/O."""

    def dependencies(self) -> frozenset[Ref]:
        """Every use of a resource in this value and below it."""
        ...

    def resolve(self, scope: Scope) -> Any:
        """The value as JSON. Not to be changed in place: parts of it are shared.

        UNRESOLVED stands where ``scope`` does not know yet.

        Raises: HotError with the path of the function that did not accept its arguments.
        """
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Literal:
    """JSON that depends on nothing. Its text does not show it: hidden parameters are folded in."""

    value: Any = field(repr=False)

    def dependencies(self) -> frozenset[Ref]:
        return NO_REFS

    def resolve(self, scope: Scope) -> Any:
        return self.value


NULL: Final = Literal(None)
OMITTED: Final = Literal(None)
"""What an ``if`` without an else leaves: the item that holds it is not there."""


def refs_of(values: list[Value]) -> frozenset[Ref]:
    """The references of several values together."""
    found = [refs for value in values if (refs := value.dependencies())]
    return frozenset[Ref]().union(*found) if found else NO_REFS


@dataclass(frozen=True, slots=True, eq=False)
class MapValue:
    """A map, some of whose values wait for resources."""

    items: tuple[tuple[str, Value], ...]
    refs: frozenset[Ref]

    def dependencies(self) -> frozenset[Ref]:
        return self.refs

    def resolve(self, scope: Scope) -> Any:
        return {key: value.resolve(scope) for key, value in self.items}


@dataclass(frozen=True, slots=True, eq=False)
class ListValue:
    """A list, some of whose items wait for resources."""

    items: tuple[Value, ...]
    refs: frozenset[Ref]

    def dependencies(self) -> frozenset[Ref]:
        return self.refs

    def resolve(self, scope: Scope) -> Any:
        return [value.resolve(scope) for value in self.items]


def map_value(items: dict[str, Value]) -> Value:
    """A map of these, as plain as it can be; omitted items leave it."""
    kept = {key: value for key, value in items.items() if value is not OMITTED}
    plain: dict[str, Any] = {}
    for key, value in kept.items():
        if not isinstance(value, Literal):
            return MapValue(tuple(kept.items()), refs_of(list(kept.values())))
        plain[key] = value.value
    return Literal(plain)


def list_value(items: list[Value]) -> Value:
    """A list of these, as plain as it can be; omitted items leave it."""
    kept = [value for value in items if value is not OMITTED]
    plain: list[Any] = []
    for value in kept:
        if not isinstance(value, Literal):
            return ListValue(tuple(kept), refs_of(kept))
        plain.append(value.value)
    return Literal(plain)


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """A function whose arguments wait for resources."""

    name: str
    evaluate: Evaluate
    arguments: Value
    path: Path

    def dependencies(self) -> frozenset[Ref]:
        return self.arguments.dependencies()

    def resolve(self, scope: Scope) -> Any:
        arguments = self.arguments.resolve(scope)
        if is_unresolved(arguments):
            return UNRESOLVED
        return evaluated(self.name, self.evaluate, arguments, self.path)


def evaluated(name: str, evaluate: Evaluate, arguments: Any, path: Path) -> Any:
    """The function's result; a fault of it is placed at ``path``."""
    try:
        return evaluate(name, arguments)
    except HotError as fault:
        if not fault.path:
            fault.place(path, fault.position)
        raise
    except RecursionError:
        raise HotError("values are nested too deep", path) from None


@dataclass(frozen=True, slots=True, eq=False)
class ReferenceTo:
    """``get_resource``."""

    resource: str

    def dependencies(self) -> frozenset[Ref]:
        return frozenset((Ref(self.resource),))

    def resolve(self, scope: Scope) -> Any:
        return scope.reference(self.resource)


@dataclass(frozen=True, slots=True, eq=False)
class AttributeOf:
    """``get_attr`` whose attribute and path are known."""

    resource: str
    path: tuple[str | int, ...]

    def dependencies(self) -> frozenset[Ref]:
        return frozenset((Ref(self.resource, self.path),))

    def resolve(self, scope: Scope) -> Any:
        return scope.attribute(self.resource, self.path)


@dataclass(frozen=True, slots=True, eq=False)
class AttributeAt:
    """``get_attr`` whose path itself waits for resources. What it may need: all attributes."""

    resource: str
    parts: Value
    place: Path

    def dependencies(self) -> frozenset[Ref]:
        return self.parts.dependencies() | {Ref(self.resource, ())}

    def resolve(self, scope: Scope) -> Any:
        parts = self.parts.resolve(scope)
        if is_unresolved(parts):
            return UNRESOLVED
        if any(isinstance(part, bool) or not isinstance(part, str | int) for part in parts):
            raise HotError("get_attr: each part of the path is a string or a number", self.place)
        return scope.attribute(self.resource, tuple(parts))
