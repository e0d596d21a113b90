"""A compiled template: everything decided that can be decided before a resource exists."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from holdfast.stacks.hot.environment import Environment
from holdfast.stacks.hot.errors import AttributeUnknownError, Path
from holdfast.stacks.hot.parameters import ParameterSchema
from holdfast.stacks.hot.scope import Ref
from holdfast.stacks.hot.values import Value

DeletionPolicy = Literal["Delete", "Retain", "Snapshot"]


@dataclass(frozen=True, slots=True)
class NestedTemplate:
    """A resource's type is a template: its key in ``files`` and its text."""

    name: str
    text: str = field(repr=False)


def inclusion(trail: Sequence[tuple[str, str]]) -> str:
    """Which templates lie within which, and whether one of them includes itself.

    ``trail``: the names of the resource and of its template, from the outermost.
    """
    names = [template for _, template in trail]
    again = next((name for at, name in enumerate(names) if name in names[:at]), None)
    if again is not None:
        first = names.index(again)
        names = names[first : names.index(again, first + 1) + 1]
    circle = " -> ".join(names)
    resources = ".".join(resource for resource, _ in trail)
    said = f"the template {again} includes itself ({circle})" if again else f"templates: {circle}"
    return f"{said}, by the resources {resources}"


@dataclass(frozen=True, slots=True)
class Facade:
    """What a nested template sees of the resource it implements (``resource_facade``)."""

    metadata: Any = None
    deletion_policy: DeletionPolicy = "Delete"
    update_policy: Any = None


@dataclass(frozen=True, slots=True)
class Pseudo:
    """The values behind ``OS::stack_id``, ``OS::stack_name`` and the like."""

    stack_id: str = ""
    stack_name: str = ""
    project_id: str = ""
    region: str = ""

    def values(self) -> dict[str, str]:
        """By their names in templates."""
        return {
            "OS::stack_id": self.stack_id,
            "OS::stack_name": self.stack_name,
            "OS::project_id": self.project_id,
            "OS::region": self.region,
        }


@dataclass(frozen=True, slots=True, eq=False)
class CompiledResource:
    """A resource in effect (its condition holds).

    ``type`` is what the template says, ``target`` what the environment makes of it: the name of
    a resource type, or a nested template. ``requires`` names the resources that must be there
    first: ``depends_on`` and every reference, disabled ones left out.
    """

    name: str
    type: str
    target: str | NestedTemplate
    properties: Value
    metadata: Value
    update_policy: Value
    deletion_policy: DeletionPolicy
    external_id: str | None
    description: str
    depends_on: tuple[str, ...]
    references: frozenset[Ref]
    requires: frozenset[str]

    @property
    def path(self) -> Path:
        """Where the resource stands in its template."""
        return ("resources", self.name)


@dataclass(frozen=True, slots=True, eq=False)
class CompiledOutput:
    """An output. ``value`` is None when its condition does not hold: the output is null."""

    name: str
    description: str | None
    value: Value | None


@dataclass(frozen=True, slots=True, eq=False)
class CompiledTemplate:
    """The plan that an engine follows. Immutable; compiling the same input gives an equal plan.

    ``resources`` come in an order in which each stands after all it requires.
    ``parameters`` holds every value, pseudo parameters included, hidden ones in clear.
    ``disabled`` names the resources whose condition does not hold.
    """

    version: str
    description: str
    parameters: Mapping[str, Any] = field(repr=False)
    schemata: Mapping[str, ParameterSchema]
    parameter_groups: tuple[Mapping[str, Any], ...]
    conditions: Mapping[str, bool]
    resources: Mapping[str, CompiledResource]
    disabled: frozenset[str]
    outputs: Mapping[str, CompiledOutput]
    environment: Environment = field(repr=False)
    files: Mapping[str, str] = field(repr=False)

    def required_by(self) -> dict[str, tuple[str, ...]]:
        """For each resource those that require it, in the template's order."""
        found: dict[str, list[str]] = {name: [] for name in self.resources}
        for resource in self.resources.values():
            for name in resource.requires:
                found[name].append(resource.name)
        return {name: tuple(names) for name, names in found.items()}

    def check_attributes(self, known: Callable[[CompiledResource], Collection[str] | None]) -> None:
        """Refuse ``get_attr`` of an attribute that the resource's type does not have.

        ``known`` gives a resource's attribute names, or None where any may be (a stack's own).

        Raises: AttributeUnknownError.
        """
        users: list[tuple[Path, frozenset[Ref]]] = [
            (resource.path, resource.references) for resource in self.resources.values()
        ]
        users += [
            (("outputs", output.name), output.value.dependencies())
            for output in self.outputs.values()
            if output.value is not None
        ]
        allowed: dict[str, Collection[str] | None] = {}
        for path, refs in users:
            for ref in refs:
                if ref.attribute is None:
                    continue
                if ref.resource not in allowed:
                    allowed[ref.resource] = known(self.resources[ref.resource])
                names = allowed[ref.resource]
                if names is not None and ref.attribute not in names:
                    raise AttributeUnknownError(
                        f"The Referenced Attribute ({ref.resource} {ref.attribute}) is incorrect.",
                        path,
                    )
