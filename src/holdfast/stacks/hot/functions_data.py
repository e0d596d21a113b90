"""Functions that make maps, lists and truth values: pure, from resolved arguments to a result."""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Mapping
from typing import Any

from holdfast.stacks.hot.constraints import shown
from holdfast.stacks.hot.errors import HotError
from holdfast.stacks.hot.functions_text import Effort, bounded, bounded_items
from holdfast.stacks.hot.parsing import DYNAMIC
from holdfast.stacks.hot.shapes import frozen, is_list, is_map, kind_of

# ---- maps ---------------------------------------------------------------------------------------


def check_list(name: str, arguments: Any) -> None:
    """The arguments are a list, or a function of which one comes."""
    if arguments is not DYNAMIC and not is_list(arguments):
        raise HotError(f'"{name}" takes a list, not a {kind_of(arguments)}')


def map_merge(name: str, arguments: Any) -> dict[str, Any]:
    """One map of all, the later ones winning. Null is an empty map."""
    check_list(name, arguments)
    merged: dict[str, Any] = {}
    for one in arguments:
        if one is None:
            continue
        if not is_map(one):
            raise HotError(f'Items to merge with "{name}" must be maps, {shown(one)} is none')
        merged.update(one)
    bounded_items(name, len(merged))
    return merged


def check_map_replace(name: str, arguments: Any) -> None:
    """``[map, {keys: {...}, values: {...}}]``."""
    if arguments is DYNAMIC:
        return
    example = f'"{name}" takes [map, {{keys: {{old: new}}, values: {{old: new}}}}]'
    if not is_list(arguments) or len(arguments) != 2:
        raise HotError(example)
    for one in arguments:
        if one is not None and one is not DYNAMIC and not is_map(one):
            raise HotError(example)
    rules = arguments[1]
    if is_map(rules) and not set(rules) <= {"keys", "values"}:
        raise HotError(example)


def map_replace(name: str, arguments: Any) -> dict[str, Any]:
    """A map with keys and values replaced; no two keys may become one."""
    check_map_replace(name, arguments)
    source: dict[str, Any] = arguments[0] or {}
    rules: dict[str, Any] = arguments[1] or {}
    keys: Any = rules.get("keys") or {}
    values: Any = rules.get("values") or {}
    if not is_map(keys) or not is_map(values):
        raise HotError(f'keys and values of "{name}" must be maps')
    made: dict[str, Any] = {}
    for key, value in source.items():
        new: Any = keys.get(key)
        if new is None:
            new = key
        elif not isinstance(new, str):
            raise HotError(f'"{name}" can only replace a key by a string, not by {shown(new)}')
        elif (new in source and new != key) or new in made:
            raise HotError(f"key replacement {new} collides with another key of the map")
        made[new] = by_value(values, value)
    return made


def by_value(values: Mapping[str, Any], value: Any) -> Any:
    """What a value is replaced by. Keys of JSON are strings, so other scalars match by text."""
    if isinstance(value, str):
        return values.get(value, value)
    if is_map(value) or is_list(value) or value is None:
        return value
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return values.get(text, value)


# ---- lists --------------------------------------------------------------------------------------


def list_concat(name: str, arguments: Any) -> list[Any]:
    """One list of all. Null is an empty list."""
    check_list(name, arguments)
    for one in arguments:
        if one is not None and not is_list(one):
            raise HotError(f'Items to concat with "{name}" must be lists, {shown(one)} is none')
    bounded_items(name, sum(len(one) for one in arguments if one is not None))
    return [item for one in arguments if one is not None for item in one]


def list_concat_unique(name: str, arguments: Any) -> list[Any]:
    """One list of all, each value once."""
    firsts: dict[Hashable, Any] = {}
    for item in list_concat(name, arguments):
        firsts.setdefault(frozen(item), item)
    return list(firsts.values())


def check_filter(name: str, arguments: Any) -> None:
    """``[values, list]``."""
    if not is_list(arguments):
        raise HotError(f'Argument to "{name}" must be a list')
    if len(arguments) != 2:
        raise HotError(f'"{name}" takes [values, list], it has {len(arguments)} arguments')


def filter_list(name: str, arguments: Any) -> Any:
    """The list without the values."""
    check_filter(name, arguments)
    values, items = arguments
    if not items:
        return items
    if not is_list(items):
        raise HotError(f'"{name}" only works with lists, not with a {kind_of(items)}')
    if not values:
        return items
    if not is_list(values):
        raise HotError(f'"{name}" filters out a list of values, not a {kind_of(values)}')
    unwanted = frozenset(map(frozen, values))
    return [item for item in items if frozen(item) not in unwanted]


# ---- repeat -------------------------------------------------------------------------------------


def check_repeat(name: str, arguments: Any) -> None:
    """``{template, for_each, permutations?}``."""
    if arguments is DYNAMIC:
        return
    if not is_map(arguments):
        raise HotError(f'Arguments to "{name}" must be a map')
    if "template" not in arguments or "for_each" not in arguments:
        raise HotError(
            f'"{name}" syntax is {{template: this is %var%, for_each: {{"%var%": [a, b]}}}}; '
            "both are needed"
        )
    for_each = arguments["for_each"]
    if for_each is not DYNAMIC and not is_map(for_each):
        raise HotError(f'The "for_each" argument to "{name}" must contain a map')
    permutations = arguments.get("permutations", True)
    if permutations is not DYNAMIC and not isinstance(permutations, bool):
        raise HotError(f'"permutations" should be boolean type for "{name}" function')


def repeat_lists(name: str, arguments: Any) -> list[Any]:
    """``repeat`` of the versions before 2016-10-14: over lists, all combinations."""
    check_repeat(name, arguments)
    return repeat(name, arguments, maps_too=False)


def repeat_maps(name: str, arguments: Any) -> list[Any]:
    """``repeat`` over lists and the keys of maps, all combinations."""
    check_repeat(name, arguments)
    return repeat(name, arguments, maps_too=True)


def repeat_permutations(name: str, arguments: Any) -> list[Any]:
    """``repeat`` since 2017-09-01: ``permutations: false`` walks the lists side by side."""
    check_repeat(name, arguments)
    together = not arguments.get("permutations", True)
    return repeat(name, arguments, maps_too=not together, together=together)


def repeat(name: str, arguments: Any, *, maps_too: bool, together: bool = False) -> list[Any]:
    """Copies of the template with the variables replaced, for every combination of values."""
    for_each: dict[str, Any] = arguments["for_each"]
    if not for_each:
        raise HotError(f'The "for_each" argument to "{name}" names no variable')
    lists: list[list[Any]] = []
    for values in for_each.values():
        if not (values is None or is_list(values) or (maps_too and is_map(values))):
            kinds = "lists or maps" if maps_too else "lists"
            raise HotError(f'The values of the "for_each" argument to "{name}" must be {kinds}')
        lists.append(list(values or []))
    if together and len({len(values) for values in lists}) > 1:
        raise HotError(f'For "{name}" without permutations the for_each lists are of one length')
    count = min(map(len, lists)) if together else math.prod(map(len, lists))
    bounded_items(name, count * nodes_of(arguments["template"]))
    combine = zip(*lists, strict=True) if together else itertools.product(*lists)
    copier = Copier(name, list(for_each))
    return [copier.copy(arguments["template"], values) for values in combine]


def nodes_of(template: Any) -> int:
    """How many values a template has."""
    if is_map(template):
        return 1 + sum(map(nodes_of, template.values()))
    if is_list(template):
        return 1 + sum(map(nodes_of, template))
    return 1


class Copier:
    """Makes copies of a template, and keeps count of how much text they have together."""

    def __init__(self, name: str, variables: list[str]) -> None:
        self.name = name
        self.variables = variables
        self.size = 0
        self.effort = Effort(name)
        if "" in variables:
            raise HotError(f'a variable of "{name}" is the empty string')

    def copy(self, template: Any, values: tuple[Any, ...]) -> Any:
        """One copy with the variables replaced by these values, in keys and texts."""
        if isinstance(template, str):
            return self.text(template, values)
        if is_list(template):
            return [self.copy(item, values) for item in template]
        if is_map(template):
            return {
                str(self.text(key, values)): self.copy(item, values)
                for key, item in template.items()
            }
        return template

    def text(self, template: str, values: tuple[Any, ...]) -> Any:
        """A text that is just a variable becomes the value; inside other text it must be text."""
        for variable, value in zip(self.variables, values, strict=True):
            if template == variable and not isinstance(value, str):
                return value
            self.effort.add(1 + len(template) // 1000)
            found = template.count(variable)
            if not found:
                continue
            if is_map(value) or is_list(value) or value is None:
                raise HotError(
                    f'"{self.name}" cannot put {shown(value)} into the text {shown(template)}'
                )
            text = str(value)
            bounded(self.name, self.size + len(template) + found * (len(text) - len(variable)))
            template = template.replace(variable, text)
        self.size += len(template)
        bounded(self.name, self.size)
        return template


# ---- truth --------------------------------------------------------------------------------------


def check_equals(name: str, arguments: Any) -> None:
    """``[value, value]``."""
    if not is_list(arguments) or len(arguments) != 2:
        raise HotError(f'Arguments to "{name}" must be of the form: [value_1, value_2]')


def equals(name: str, arguments: Any) -> bool:
    """Whether two values are equal."""
    check_equals(name, arguments)
    return frozen(arguments[0]) == frozen(arguments[1])


def check_contains(name: str, arguments: Any) -> None:
    """``[value, sequence]``."""
    if not is_list(arguments) or len(arguments) != 2:
        raise HotError(f'Arguments to "{name}" must be of the form: [value, [value, …]]')


def contains(name: str, arguments: Any) -> bool:
    """Whether a value is in a list, or a text in a text."""
    check_contains(name, arguments)
    value, sequence = arguments
    if isinstance(sequence, str):
        if not isinstance(value, str):
            raise HotError(f'"{name}" can only look for a string in a string')
        return value in sequence
    if not is_list(sequence):
        raise HotError(f'Second argument to "{name}" should be a sequence')
    wanted = frozen(value)
    return any(frozen(one) == wanted for one in sequence)
