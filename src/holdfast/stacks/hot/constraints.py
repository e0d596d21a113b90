"""What values may be: the constraints that parameters and properties share (HOT specification).

A constraint finds a fault in a value (a sentence) or none; it never raises over a value.
Regular expressions come from users, so they run under a time limit: hence ``regex``, whose
matcher can be interrupted, in place of ``re``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import regex

from holdfast.stacks.hot.errors import ParameterSchemaError
from holdfast.stacks.hot.limits import PATTERN_SECONDS_MAX
from holdfast.stacks.hot.shapes import frozen, is_list, is_map, is_number, kind_of

Checkers = Mapping[str, Callable[[Any], str | None]]
"""Custom constraints by name: each tells a value's fault, or None."""

NO_CHECKERS: Checkers = {}
SHOWN_CHARS = 200
SHOWN_ITEMS = 50
CONSTRAINT_KEYS = (
    "description",
    "length",
    "range",
    "modulo",
    "allowed_values",
    "allowed_pattern",
    "custom_constraint",
)


def shown(value: Any) -> str:
    """A value as JSON for a message, cut short."""
    try:
        text = json.dumps(value, default=repr, ensure_ascii=False)
    except (ValueError, RecursionError):
        text = repr(value)
    return text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS]}…"


class Constraint(Protocol):
    """One condition on a value that is already of its type."""

    @property
    def description(self) -> str | None:
        """What the author says instead of the built-in sentence."""
        ...

    def fault(self, value: Any, checkers: Checkers) -> str | None:
        """What is wrong with ``value``."""
        ...

    def document(self) -> dict[str, Any]:
        """As the APIs show it, without the description: ``{"range": {"min": 1}}``."""
        ...


def bounds(low: float | None, high: float | None) -> dict[str, Any]:
    """``{"min": …, "max": …}`` of those that are set."""
    return {key: edge for key, edge in (("min", low), ("max", high)) if edge is not None}


@dataclass(frozen=True, slots=True)
class Range:
    """A number between two bounds, both included."""

    min: float | None = None
    max: float | None = None
    description: str | None = None

    def fault(self, value: Any, checkers: Checkers) -> str | None:
        low = self.min is not None and value < self.min
        high = self.max is not None and value > self.max
        if low or high:
            return f"{value} is out of range (min: {self.min}, max: {self.max})"
        return None

    def document(self) -> dict[str, Any]:
        return {"range": bounds(self.min, self.max)}


@dataclass(frozen=True, slots=True)
class Length:
    """The length of a string, list or map."""

    min: int | None = None
    max: int | None = None
    description: str | None = None

    def fault(self, value: Any, checkers: Checkers) -> str | None:
        if not (isinstance(value, str) or is_list(value) or is_map(value)):
            return f"a {kind_of(value)} has no length"
        size = len(value)
        if (self.min is not None and size < self.min) or (self.max is not None and size > self.max):
            return f"length ({size}) is out of range (min: {self.min}, max: {self.max})"
        return None

    def document(self) -> dict[str, Any]:
        return {"length": bounds(self.min, self.max)}


@dataclass(frozen=True, slots=True)
class Modulo:
    """A number that leaves ``offset`` when divided by ``step``."""

    step: int
    offset: int
    description: str | None = None

    def fault(self, value: Any, checkers: Checkers) -> str | None:
        if value % self.step != self.offset:
            return f"{value} is not a multiple of {self.step} with an offset of {self.offset}"
        return None

    def document(self) -> dict[str, Any]:
        return {"modulo": {"step": self.step, "offset": self.offset}}


@dataclass(frozen=True, slots=True)
class AllowedValues:
    """One of these values; of a list, every item."""

    allowed: tuple[Any, ...]
    description: str | None = None

    def fault(self, value: Any, checkers: Checkers) -> str | None:
        items: Sequence[Any] = value if is_list(value) else [value]
        known = frozenset(map(frozen, self.allowed))
        if all(frozen(item) in known for item in items):
            return None
        allowed = ", ".join(shown(one) for one in self.allowed[:SHOWN_ITEMS])
        allowed += ", …" if len(self.allowed) > SHOWN_ITEMS else ""
        return f"{shown(value)} is not an allowed value [{allowed}]"

    def document(self) -> dict[str, Any]:
        return {"allowed_values": list(self.allowed)}


@dataclass(frozen=True, slots=True)
class AllowedPattern:
    """A string that a regular expression matches as a whole."""

    pattern: str
    description: str | None = None

    def fault(self, value: Any, checkers: Checkers) -> str | None:
        try:
            if regex.fullmatch(self.pattern, str(value), timeout=PATTERN_SECONDS_MAX):
                return None
        except TimeoutError:
            return f"matching pattern {shown(self.pattern)} took over {PATTERN_SECONDS_MAX} s"
        return f"{shown(value)} does not match pattern {shown(self.pattern)}"

    def document(self) -> dict[str, Any]:
        return {"allowed_pattern": self.pattern}


@dataclass(frozen=True, slots=True)
class CustomConstraint:
    """A check that whoever compiles the template supplies, by its name."""

    name: str
    description: str | None = None

    def fault(self, value: Any, checkers: Checkers) -> str | None:
        checker = checkers.get(self.name)
        if checker is None:
            return f"{shown(value)} does not validate {self.name} (constraint not found)"
        return checker(value)

    def document(self) -> dict[str, Any]:
        return {"custom_constraint": self.name}


def first_fault(
    constraints: Sequence[Constraint], value: Any, checkers: Checkers = NO_CHECKERS
) -> str | None:
    """The sentence of the first constraint that ``value`` breaks: its description if it has one."""
    for constraint in constraints:
        fault = constraint.fault(value, checkers)
        if fault is not None:
            return constraint.description or fault
    return None


# ---- reading them from templates ----------------------------------------------------------------


def number_of(key: str, value: Any) -> int | float | None:
    """A bound as a template gives it: a number, or a string of one."""
    if value is None or is_number(value):
        return value
    if isinstance(value, str):
        for convert in (int, float):
            try:
                return convert(value)
            except ValueError:
                continue
    raise ParameterSchemaError(f"{key} must be a number, not {shown(value)}")


def edges_of(name: str, definition: Any, keys: tuple[str, str]) -> list[int | float | None]:
    """The two numbers of a range, length or modulo."""
    if not is_map(definition):
        raise ParameterSchemaError(
            f"Invalid {name} constraint, expected a mapping with {keys[0]} and {keys[1]}"
        )
    for key in definition:
        if key not in keys:
            raise ParameterSchemaError(f"Invalid key '{key}' for {name} constraint")
    return [number_of(f"{name} {key}", definition.get(key)) for key in keys]


def range_of(definition: Any, description: str | None) -> Range:
    """``range: {min, max}``."""
    low, high = edges_of("range", definition, ("min", "max"))
    if low is None and high is None:
        raise ParameterSchemaError("A range constraint needs a min value, a max value or both")
    return Range(low, high, description)


def length_of(definition: Any, description: str | None) -> Length:
    """``length: {min, max}``, whole numbers."""
    edges = edges_of("length", definition, ("min", "max"))
    if edges == [None, None]:
        raise ParameterSchemaError("A length constraint needs a min value, a max value or both")
    if any(isinstance(edge, float) for edge in edges):
        raise ParameterSchemaError("min and max of a length constraint are whole numbers")
    low, high = (None if edge is None else int(edge) for edge in edges)
    return Length(low, high, description)


def modulo_of(definition: Any, description: str | None) -> Modulo:
    """``modulo: {step, offset}``: of one sign, the offset the smaller."""
    step, offset = edges_of("modulo", definition, ("step", "offset"))
    if step is None or offset is None:
        raise ParameterSchemaError("A modulo constraint needs a step and an offset")
    if int(step) != step or int(offset) != offset:
        raise ParameterSchemaError("step and offset of a modulo constraint are whole numbers")
    step, offset = int(step), int(offset)
    if step == 0:
        raise ParameterSchemaError("step of a modulo constraint cannot be 0")
    if abs(offset) >= abs(step) or step * offset < 0:
        raise ParameterSchemaError(
            "offset of a modulo constraint must be nearer to 0 than step, and have its sign"
        )
    return Modulo(step, offset, description)


def values_of(definition: Any, description: str | None) -> AllowedValues:
    """``allowed_values: [...]``."""
    if not is_list(definition):
        raise ParameterSchemaError("allowed_values must be a list")
    return AllowedValues(tuple(definition), description)


def pattern_of(definition: Any, description: str | None) -> AllowedPattern:
    """``allowed_pattern: <regular expression>``, refused here if it is none."""
    if not isinstance(definition, str):
        raise ParameterSchemaError("allowed_pattern must be a string")
    try:
        regex.compile(definition)
    except (regex.error, RecursionError) as fault:
        raise ParameterSchemaError(
            f"allowed_pattern {shown(definition)} is no regular expression: {fault}"
        ) from None
    return AllowedPattern(definition, description)


def custom_of(definition: Any, description: str | None) -> CustomConstraint:
    """``custom_constraint: <name>``."""
    if not isinstance(definition, str):
        raise ParameterSchemaError("custom_constraint must be the name of a constraint")
    return CustomConstraint(definition, description)


READERS: Mapping[str, Callable[[Any, str | None], Constraint]] = {
    "range": range_of,
    "length": length_of,
    "modulo": modulo_of,
    "allowed_values": values_of,
    "allowed_pattern": pattern_of,
    "custom_constraint": custom_of,
}


def constraint_of(definition: Any, *, with_modulo: bool = True) -> Constraint:
    """One entry of ``constraints:``: exactly one constraint, perhaps with a description.

    Raises: ParameterSchemaError.
    """
    if not is_map(definition):
        raise ParameterSchemaError("Invalid parameter constraints, expected a mapping")
    for key in definition:
        if key not in CONSTRAINT_KEYS or (key == "modulo" and not with_modulo):
            raise ParameterSchemaError(f"Invalid key '{key}' for parameter constraints")
    named = [key for key in definition if key != "description"]
    if not named:
        raise ParameterSchemaError("No constraint expressed")
    if len(named) > 1:
        raise ParameterSchemaError(
            f"One constraint has one kind, this one has {', '.join(named)}: write one list "
            "entry for each"
        )
    description = definition.get("description")
    if description is not None and not isinstance(description, str):
        raise ParameterSchemaError("The description of a constraint must be a string")
    return READERS[named[0]](definition[named[0]], description)
