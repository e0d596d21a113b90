"""The resource registry of an environment: what a resource's type stands for.

Entries map a type to another type or to a template (``*.yaml``, ``*.template``), types by prefix
(``OS::Old::*``) too; under ``resources`` the same for resources by name or pattern, with hooks
and restricted actions. More specific entries win: by name before by type, exact before prefix,
longer prefix before shorter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from holdfast.stacks.hot.errors import EnvironmentFaultError, HotError, Path
from holdfast.stacks.hot.shapes import is_list, is_map, kind_of

TEMPLATE_SUFFIXES = (".yaml", ".template")
HOOKS = ("pre-create", "pre-update", "pre-delete", "post-create", "post-update", "post-delete")
RESTRICTED_ACTIONS = ("update", "replace")
MARKS: Mapping[str, tuple[str, ...]] = {"hooks": HOOKS, "restricted_actions": RESTRICTED_ACTIONS}
BASE_URL = "base_url"  # clients resolve relative names with it, and leave it in
MAPPINGS_MAX = 32


def is_template_name(name: str) -> bool:
    """Whether a type names a template rather than a resource type."""
    return name.endswith(TEMPLATE_SUFFIXES)


@dataclass(frozen=True, slots=True)
class Target:
    """What a type comes to, and the registry entry that named a template (for children)."""

    type: str
    entry: tuple[str, ...] = ()

    @property
    def is_template(self) -> bool:
        """Whether ``type`` is the key of a template in ``files``."""
        return is_template_name(self.type)


@dataclass(frozen=True, slots=True)
class Registry:
    """``types`` maps types and prefixes; ``resources`` is the section of that name, as written."""

    types: Mapping[str, str] = field(default_factory=dict[str, str])
    resources: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def target(self, type_name: str, resource_name: str) -> Target:
        """What ``type_name`` stands for, for this resource.

        Raises: HotError for entries that lead back to themselves.
        """
        seen: list[str] = []
        entry: tuple[str, ...] = ()
        while not is_template_name(type_name):
            found = self._entry(type_name, resource_name)
            if found is None or found[1] == type_name:
                break
            seen.append(type_name)
            entry, type_name = found
            if type_name in seen or len(seen) > MAPPINGS_MAX:
                raise HotError(
                    "The resource registry maps types in a circle: "
                    + " -> ".join([*seen, type_name]),
                    ("resources", resource_name, "type"),
                )
        return Target(type_name, entry if is_template_name(type_name) else ())

    def _entry(self, type_name: str, resource_name: str) -> tuple[tuple[str, ...], str] | None:
        """The path of the entry for a type, and what it maps to."""
        own = self.resources.get(resource_name)
        if is_map(own):
            found = mapped({key: to for key, to in own.items() if key not in MARKS}, type_name)
            if found is not None:
                return ("resources", resource_name, found[0]), found[1]
        found = mapped(self.types, type_name)
        return None if found is None else ((found[0],), found[1])

    def marks(self, kind: str, resource_name: str) -> frozenset[str]:
        """The ``hooks`` or ``restricted_actions`` of a resource, from all patterns that fit."""
        return frozenset(
            mark
            for pattern, entry in self.resources.items()
            if is_map(entry) and fnmatchcase(resource_name, pattern)
            for mark in words(entry.get(kind))
        )

    def child(self, resource_name: str, entry: tuple[str, ...]) -> Registry:
        """The registry inside the nested template of a resource.

        Entries for that resource's own resources come up a level, and the entry that led to the
        template is gone, so that the type it replaced can be used inside.
        """
        inner: dict[str, Any] = {}
        for pattern, own in self.resources.items():
            if is_map(own) and fnmatchcase(resource_name, pattern):
                inner |= {name: one for name, one in own.items() if is_map(one)}
        types = {name: to for name, to in self.types.items() if (name,) != entry}
        return Registry(types, inner)

    def merged(self, other: Registry) -> Registry:
        """This one with ``other``'s entries over it."""
        return Registry(
            dict(self.types) | dict(other.types), deep_merged(self.resources, other.resources)
        )

    def document(self) -> dict[str, Any]:
        """As ``environment show`` prints it."""
        return {**self.types, "resources": dict(self.resources)}


def words(marks: Any) -> list[str]:
    """One word or a list of words, as a list."""
    if isinstance(marks, str):
        return [marks]
    return list(marks) if is_list(marks) else []


def mapped(entries: Mapping[str, Any], type_name: str) -> tuple[str, str] | None:
    """The most specific entry for a type, and what it makes of it."""
    exact = entries.get(type_name)
    if isinstance(exact, str):
        return type_name, exact
    prefixes = [
        key
        for key, to in entries.items()
        if key.endswith("*")
        and isinstance(to, str)
        and to != type_name
        and type_name.startswith(key[:-1])
    ]
    if not prefixes:
        return None
    best = max(prefixes, key=len)
    to = str(entries[best])
    return best, to[:-1] + type_name[len(best) - 1 :] if to.endswith("*") else to


def deep_merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Maps into maps, everything else replaced."""
    merged = dict(old)
    for key, value in new.items():
        before = merged.get(key)
        merged[key] = deep_merged(before, value) if is_map(before) and is_map(value) else value
    return merged


# ---- reading ------------------------------------------------------------------------------------


def read_registry(section: Any) -> Registry:
    """The ``resource_registry`` of an environment. A null entry takes earlier ones away.

    Raises: EnvironmentFaultError.
    """
    top: Path = ("resource_registry",)
    if not is_map(section):
        raise EnvironmentFaultError("resource_registry must be a map", top)
    types: dict[str, str] = {}
    resources: dict[str, Any] = {}
    for key, to in section.items():
        if key == BASE_URL:
            continue
        if key == "resources":
            check_resources(to, (*top, key))
            resources = to or {}
        elif to is None:
            remove(types, key)
        elif isinstance(to, str):
            types[key] = to
        else:
            raise EnvironmentFaultError(
                f"a type is mapped to a type or a template, not to a {kind_of(to)}", (*top, key)
            )
    return Registry(types, resources)


def remove(types: dict[str, str], key: str) -> None:
    """Take away an entry, or all that a prefix covers."""
    for name in [
        name for name in types if name == key or (key.endswith("*") and name.startswith(key[:-1]))
    ]:
        del types[name]


def check_resources(section: Any, path: Path) -> None:
    """The ``resources`` of a registry, at whatever depth of nesting.

    Raises: EnvironmentFaultError.
    """
    if section is None:
        return
    if not is_map(section):
        raise EnvironmentFaultError("resources must be a map of resource names", path)
    for name, entry in section.items():
        here = (*path, name)
        if name in MARKS:
            check_marks(name, entry, here)
        elif is_map(entry):
            check_resources(entry, here)
        elif not isinstance(entry, str) and entry is not None:
            raise EnvironmentFaultError(
                f"expected a type, a template or a map, not a {kind_of(entry)}", here
            )


def check_marks(kind: str, marks: Any, path: Path) -> None:
    """``hooks`` and ``restricted_actions``: words, each of a known kind."""
    wrong = [word for word in words(marks) if word not in MARKS[kind]]
    if wrong or not (isinstance(marks, str) or is_list(marks)):
        what = "hook type" if kind == "hooks" else "restricted_action type"
        raise EnvironmentFaultError(
            f'Invalid {what} "{", ".join(map(str, wrong)) or marks}", acceptable are: '
            f"{', '.join(MARKS[kind])}",
            path,
        )
