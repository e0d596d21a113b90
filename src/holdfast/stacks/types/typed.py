"""Values in the type that they are said to be; ``OS::Heat::Value`` is told its type."""

from __future__ import annotations

import json
from typing import Any, Final

from holdfast.errors import InvalidInputError
from holdfast.stacks.hot.constraints import shown
from holdfast.stacks.hot.scope import is_unresolved
from holdfast.stacks.hot.shapes import is_list, is_map, is_number
from holdfast.store.model import Json

TYPES: Final = ("string", "number", "comma_delimited_list", "json", "boolean")
_TRUE: Final = ("t", "true", "on", "y", "yes", "1")
_FALSE: Final = ("f", "false", "off", "n", "no", "0")


def typed(value: Json, kind: str | None) -> Json:
    """The value in the type of that name; as it is for None, or while it is not known.

    Raises ``InvalidInputError`` if it cannot be one.
    """
    if kind is None or is_unresolved(value):
        return value
    try:
        return _CONVERTERS[kind](value)
    except (ValueError, TypeError):
        raise InvalidInputError(f"value: {shown(value)} is no {kind}") from None


def _string(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return str(value)
    raise TypeError


def _number(value: Any) -> int | float:
    if is_number(value):
        return value
    if not isinstance(value, str):
        raise TypeError
    try:
        return int(value)
    except ValueError:
        return float(value)


def _boolean(value: Any) -> bool:
    word = str(value).strip().lower()
    if word not in _TRUE + _FALSE:
        raise ValueError
    return word in _TRUE


def _listed(value: Any) -> list[Any]:
    if is_list(value):
        return list(value)
    if not isinstance(value, str):
        raise TypeError
    return [item.strip() for item in value.split(",")] if value else []


def _mapped(value: Any) -> Any:
    found: Any = json.loads(value) if isinstance(value, str) else value
    if not (is_map(found) or is_list(found)):
        raise TypeError
    return found


def entries(value: Json) -> dict[str, Json]:
    """A map that may not have been given."""
    return value if is_map(value) else {}


def items(value: Json) -> list[Json]:
    """A list that may not have been given."""
    return value if is_list(value) else []


_CONVERTERS: Final = {
    "string": _string,
    "number": _number,
    "comma_delimited_list": _listed,
    "json": _mapped,
    "boolean": _boolean,
}
