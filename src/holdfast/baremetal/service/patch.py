"""JSON patch (RFC 6902) as the Bare Metal API takes it: add, replace and remove.

Paths have one segment (a field) or more (inside a field that is an object or
list). Removing a field sets it back to its default; that is the caller's business,
who sees ``REMOVED`` as its value.
"""

from __future__ import annotations

from typing import Any, Final, Literal, cast

import msgspec

from holdfast.errors import InvalidInputError
from holdfast.store.model import Json

REMOVED: Final[Any] = msgspec.UNSET
"""The value of a field that a patch removed."""


class Operation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One operation. ``value`` is ignored by ``remove``, as clients send it there too."""

    op: Literal["add", "replace", "remove"]
    path: str
    value: Json = msgspec.UNSET

    @property
    def keys(self) -> list[str]:
        """The path's segments, unescaped (RFC 6901)."""
        return [part.replace("~1", "/").replace("~0", "~") for part in self.path.split("/")[1:]]


def parse(operations: Json) -> list[Operation]:
    """Decode a patch. Raises ``InvalidInputError`` naming what is wrong with it."""
    try:
        parsed = msgspec.convert(operations, list[Operation])
    except msgspec.ValidationError as fault:
        raise InvalidInputError(
            f"The patch is no list of operations add, replace and remove: {fault}"
        ) from None
    for operation in parsed:
        if not operation.path.startswith("/") or "" in operation.keys:
            raise InvalidInputError(
                f"'{operation.path}' is no valid path: a path is /field or /field/key"
            )
        if operation.op != "remove" and operation.value is msgspec.UNSET:
            raise InvalidInputError(f"The operation on '{operation.path}' has no value")
    return parsed


def fields_of(operations: list[Operation]) -> list[str]:
    """The fields a patch touches, each once, in order."""
    return list(dict.fromkeys(operation.keys[0] for operation in operations))


def apply(operations: list[Operation], document: dict[str, Json]) -> dict[str, Json]:
    """The touched fields with their new values; ``document`` has the present ones, unchanged.

    Raises ``InvalidInputError`` when a path leads nowhere.
    """
    touched = {name: document.get(name) for name in fields_of(operations)}
    touched = msgspec.json.decode(msgspec.json.encode(touched))  # a deep copy
    for operation in operations:
        field, *inner = operation.keys
        if inner:
            touched[field] = _inside(operation, touched[field], inner)
        elif operation.op == "remove":
            touched[field] = REMOVED
        else:
            touched[field] = operation.value
    return touched


def _inside(operation: Operation, whole: Json, keys: list[str]) -> Json:
    """Change one place inside a field's value."""
    if whole is None or whole is REMOVED:
        whole = {}
    place = whole
    for key in keys[:-1]:
        place = _step(operation, place, key)
    _change(operation, place, keys[-1])
    return whole


def _step(operation: Operation, place: Json, key: str) -> Json:
    try:
        return cast("Json", place[key] if isinstance(place, dict) else place[int(key)])
    except (KeyError, IndexError, ValueError, TypeError):
        raise _nowhere(operation) from None


def _change(operation: Operation, place: Json, key: str) -> None:
    if isinstance(place, dict):
        if operation.op == "add":
            place[key] = operation.value
        elif key not in place:
            raise _nowhere(operation)
        elif operation.op == "replace":
            place[key] = operation.value
        else:
            del place[key]
    elif isinstance(place, list):
        _change_list(operation, cast("list[Json]", place), key)
    else:
        raise _nowhere(operation)


def _change_list(operation: Operation, place: list[Json], key: str) -> None:
    if operation.op == "add" and key == "-":
        place.append(operation.value)
        return
    if not key.isdecimal() or int(key) >= len(place) + (operation.op == "add"):
        raise _nowhere(operation)
    if operation.op == "add":
        place.insert(int(key), operation.value)
    elif operation.op == "replace":
        place[int(key)] = operation.value
    else:
        del place[int(key)]


def _nowhere(operation: Operation) -> InvalidInputError:
    return InvalidInputError(
        f"Couldn't apply the patch: {operation.op} '{operation.path}': nothing is there"
    )
