"""What a piece of a parsed document is: a map, a list, or neither."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, TypeGuard


def is_map(value: object) -> TypeGuard[dict[str, Any]]:
    """A JSON object. Its keys are strings: the loader sees to that."""
    return isinstance(value, dict)


def is_list(value: object) -> TypeGuard[list[Any]]:
    """A JSON array."""
    return isinstance(value, list | tuple)


def is_number(value: object) -> TypeGuard[int | float]:
    """A number that is not a truth value."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def kind_of(value: object) -> str:
    """A word for messages: what a reader of YAML would call this value."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, str):
        return "string"
    if isinstance(value, int | float):
        return "number"
    return "map" if isinstance(value, dict) else "list"


def frozen(value: Any) -> Hashable:
    """A JSON value as something hashable: equal when the values are, and true is not 1."""
    if isinstance(value, bool):
        return ("truth", value)  # nothing else holds a bare bool, so no list freezes to this
    if is_map(value):
        return frozenset((key, frozen(item)) for key, item in value.items())
    if is_list(value):
        return tuple(frozen(item) for item in value)
    return value
