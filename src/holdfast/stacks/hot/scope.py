"""What a compiled template's values are resolved against: the resources, as they are by now.

Everything else a template refers to (parameters, files, conditions, the facade) is known when it
is compiled and is folded in then.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple, Protocol

from holdfast.stacks.hot.shapes import is_list, is_map


class Unresolved:
    """Not known yet: of a resource that does not exist. Every function of it is unresolved too."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "UNRESOLVED"

    def __reduce__(self) -> str:
        return "UNRESOLVED"


UNRESOLVED: Final = Unresolved()


class Ref(NamedTuple):
    """One use of a resource in a value.

    ``path`` is None for ``get_resource``; for ``get_attr`` it is the attribute's name and what
    is selected from it (``()``: all attributes).
    """

    resource: str
    path: tuple[str | int, ...] | None = None

    @property
    def attribute(self) -> str | None:
        """The attribute's name; None for a plain reference or all attributes."""
        return str(self.path[0]) if self.path else None


class Scope(Protocol):
    """What the resources of a stack are at this moment. The engine implements it."""

    def reference(self, name: str) -> str | Unresolved:
        """The reference id (``get_resource``): physical id, or whatever the type says."""
        ...

    def attribute(self, name: str, path: tuple[str | int, ...]) -> Any:
        """The value of attribute ``path[0]`` at ``path[1:]`` (see :func:`select`), or None.

        With an empty path a dict of all attributes. UNRESOLVED while not known.
        """
        ...


class NothingYet:
    """No resource exists yet: for validation ahead of creation."""

    def reference(self, name: str) -> str | Unresolved:
        return UNRESOLVED

    def attribute(self, name: str, path: tuple[str | int, ...]) -> Any:
        return UNRESOLVED


NOTHING_YET: Final = NothingYet()


def select(value: Any, path: tuple[str | int, ...]) -> Any:
    """Follow ``path`` through maps and lists; None where it leads nowhere (as Heat).

    A list takes an integer, or a string of one; a map takes a key.
    """
    for part in path:
        if isinstance(value, Unresolved):
            return value
        if is_map(value):
            value = value.get(str(part))
        elif is_list(value) or isinstance(value, str):
            try:
                value = value[int(part)]
            except (ValueError, IndexError):
                return None
        else:
            return None
    return value


def is_unresolved(value: Any) -> bool:
    """Whether something in this value is not known yet."""
    if isinstance(value, Unresolved):
        return True
    if is_map(value):
        return any(is_unresolved(item) for item in value.values())
    if is_list(value):
        return any(is_unresolved(item) for item in value)
    return False
