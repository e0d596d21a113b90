"""How parameters of several environment files become one: ``parameter_merge_strategies``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from holdfast.stacks.hot.constraints import shown
from holdfast.stacks.hot.errors import EnvironmentFaultError
from holdfast.stacks.hot.parameters import json_from
from holdfast.stacks.hot.shapes import is_list, is_map, is_number, kind_of

STRATEGIES = ("overwrite", "merge", "deep_merge")
SECTION = "parameter_merge_strategies"


def read_strategies(section: Any, what: str) -> dict[str, str]:
    """The section of one file: a strategy by parameter, and ``default`` for the others.

    Raises: EnvironmentFaultError.
    """
    if section is None:
        return {}
    if not is_map(section):
        raise EnvironmentFaultError(f"{SECTION} must be a map", (SECTION,))
    for key, strategy in section.items():
        if strategy not in STRATEGIES:
            raise EnvironmentFaultError(
                f"Invalid merge strategy '{strategy}' for parameter '{key}' in file '{what}': "
                f"it must be one of {', '.join(STRATEGIES)}",
                (SECTION, key),
            )
    return dict(section)


class Strategies:
    """The strategies of files read so far. A parameter's must not differ between files."""

    def __init__(self) -> None:
        self._settled: dict[str, str] = {}
        self._current: dict[str, str] = {}

    def read(self, section: dict[str, str], name: str) -> None:
        """The strategies of the next file.

        Raises: EnvironmentFaultError when they contradict an earlier file's.
        """
        self._current = section
        for key, strategy in section.items():
            settled = self._settled.get(key, strategy)
            if key != "default" and settled != strategy:
                raise EnvironmentFaultError(
                    f"Conflicting merge strategy '{strategy}' for parameter '{key}' in file "
                    f"'{name}': an earlier file has '{settled}'."
                )

    def of(self, key: str, name: str) -> str:
        """The strategy for a parameter that the current file ``name`` sets."""
        default = self._current.get("default", "overwrite")
        strategy = self._current.get(key, self._settled.get(key, default))
        return self._settled.setdefault(key, strategy)


def merge_value(key: str, old: Any, new: Any, kind: str | None, how: str) -> Any:
    """What becomes of a parameter with the value ``old`` when a file says ``new``.

    ``kind`` is the parameter's type, None for one that no template defines (overwritten).

    Raises: EnvironmentFaultError.
    """
    if how == "overwrite" or kind is None or old is None:
        return new
    if kind == "json":
        return _merged_json(key, old, new, deep=how == "deep_merge")
    if kind == "comma_delimited_list":
        return _merged_lists(old, new)
    if kind == "string":
        return f"{old}{new}"
    if kind == "number" and is_number(old) and is_number(new):
        return old + new
    raise EnvironmentFaultError(
        f"Invalid merge strategy '{how}' for parameter '{key}': {shown(old)} and {shown(new)} "
        f"({kind}) cannot be merged."
    )


def _merged_json(key: str, old: Any, new: Any, *, deep: bool) -> Any:
    """Two documents, each perhaps still text."""
    try:
        old, new = json_from(old), json_from(new)
    except ValueError as fault:
        raise EnvironmentFaultError(f"Invalid parameter {key} in environment: {fault}") from None
    if is_list(old) and is_list(new):
        return [*old, *new]
    if not is_map(old) or not is_map(new):
        raise EnvironmentFaultError(
            f"Invalid merge of parameter '{key}': a {kind_of(old)} and a {kind_of(new)}."
        )
    return _merged_maps(old, new, deep=deep)


def _merged_maps(old: Mapping[str, Any], new: Mapping[str, Any], *, deep: bool) -> dict[str, Any]:
    """``new`` over ``old``; deep: maps into maps, lists after lists, strings after strings."""
    merged = dict(old)
    for key, value in new.items():
        before = merged.get(key)
        if value is None:
            continue
        if not deep or not before:
            merged[key] = value
        elif is_map(value) and is_map(before):
            merged[key] = _merged_maps(before, value, deep=True)
        elif is_list(value) and is_list(before):
            merged[key] = [*before, *value]
        elif isinstance(value, str) and isinstance(before, str):
            merged[key] = before + value
        else:
            merged[key] = value
    return merged


def _merged_lists(old: Any, new: Any) -> Any:
    """Two lists, each perhaps comma-delimited text."""
    if not old:
        return new
    if isinstance(old, str) and isinstance(new, str):
        return f"{old},{new}"
    one = old.split(",") if isinstance(old, str) else list(old)
    other = new.split(",") if isinstance(new, str) else list(new)
    return [*one, *other]
