"""Properties of resources: what a type's schema makes of the values a template gives."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from holdfast.stacks.hot.constraints import (
    NO_CHECKERS,
    Checkers,
    Constraint,
    first_fault,
    shown,
)
from holdfast.stacks.hot.documents import as_document
from holdfast.stacks.hot.errors import HotError, Path
from holdfast.stacks.hot.limits import DEFAULT_LIMITS, Limits
from holdfast.stacks.hot.scope import UNRESOLVED, Scope, Unresolved, is_unresolved
from holdfast.stacks.hot.shapes import is_list, is_map, is_number, kind_of
from holdfast.stacks.hot.template import read_template
from holdfast.stacks.hot.values import Value

PropertyType = Literal["string", "integer", "number", "boolean", "map", "list", "any"]

LABEL = "Property error"
FROM_PARAMETER: Mapping[str, PropertyType] = {
    "string": "string",
    "number": "number",
    "boolean": "boolean",
    "comma_delimited_list": "list",
    "json": "map",
}


@dataclass(frozen=True, slots=True)
class PropertySchema:
    """One property of a resource type.

    ``schema`` describes what is inside: of a list its items, of a map its entries by key; None:
    anything. ``allow_conversion``: a list may be given as comma-delimited text, a map as
    any JSON (properties that feed parameters of a nested template). A change of a property that
    is not ``update_allowed`` replaces the resource; a change of an ``immutable`` one is refused.
    """

    type: PropertyType
    description: str = ""
    required: bool = False
    default: Any = None
    constraints: tuple[Constraint, ...] = ()
    update_allowed: bool = False
    immutable: bool = False
    schema: PropertySchema | Mapping[str, PropertySchema] | None = None
    allow_conversion: bool = False

    def __post_init__(self) -> None:
        if self.update_allowed and self.immutable:
            raise ValueError("a property cannot be both update_allowed and immutable")
        if self.schema is not None and (
            self.type not in {"list", "map"}
            or isinstance(self.schema, PropertySchema) != (self.type == "list")
        ):
            raise ValueError(f"a {self.type} has no such schema inside")

    def document(self) -> dict[str, Any]:
        """As ``resource-type-show`` prints it."""
        shape: dict[str, Any] = {"type": self.type}
        if self.description:
            shape["description"] = self.description
        if self.default is not None:
            shape["default"] = self.default
        if isinstance(self.schema, PropertySchema):
            shape["schema"] = {"*": self.schema.document()}
        elif self.schema is not None:
            shape["schema"] = {name: one.document() for name, one in self.schema.items()}
        shape["required"] = self.required
        if self.constraints:
            shape["constraints"] = [constraint_document(one) for one in self.constraints]
        return shape | {"update_allowed": self.update_allowed, "immutable": self.immutable}


def constraint_document(constraint: Constraint) -> dict[str, Any]:
    """A constraint with its description, if it has one."""
    if constraint.description is None:
        return constraint.document()
    return {"description": constraint.description} | constraint.document()


Schemata = Mapping[str, PropertySchema]


def validate_and_resolve(
    schemata: Schemata,
    tree: Value,
    scope: Scope,
    *,
    path: Path = ("properties",),
    checkers: Checkers = NO_CHECKERS,
) -> dict[str, Any]:
    """Every property of ``schemata`` with its value: as given, or the default, or None.

    A null counts as not given. What ``scope`` does not know yet is UNRESOLVED and unchecked.
    The result is the caller's own; ``path`` is where the tree stands in the template.

    Raises: HotError, ``Property error: resources.x.properties.y: …``.
    """
    given = tree.resolve(scope)
    if isinstance(given, Unresolved):
        return dict.fromkeys(schemata, UNRESOLVED)
    if not is_map(given):
        raise fault(f"must be a map, not a {kind_of(given)}", path)
    return _entries(schemata, given, path, checkers)


def fault(reason: str, path: Path) -> HotError:
    """A fault of a property, labelled as clients know it."""
    return HotError(reason, path, label=LABEL)


def _entries(
    schemata: Schemata, given: Mapping[str, Any], path: Path, checkers: Checkers
) -> dict[str, Any]:
    """A map whose keys have schemata."""
    for key in given:
        if key not in schemata:
            raise fault(f"Unknown Property {key}", path)
    values: dict[str, Any] = {}
    for name, schema in schemata.items():
        value = given.get(name)
        if value is None and schema.default is None:
            if schema.required:
                raise fault(f"Property {name} not assigned", path)
            values[name] = None
            continue
        values[name] = _checked(
            schema, schema.default if value is None else value, (*path, name), checkers
        )
    return values


def _checked(schema: PropertySchema, value: Any, path: Path, checkers: Checkers) -> Any:
    """One value: converted, looked into, and held against the constraints."""
    if isinstance(value, Unresolved):
        return UNRESOLVED
    try:
        made = _converted(schema, value)
    except ValueError as reason:
        raise fault(str(reason), path) from None
    if is_list(made):
        inside = schema.schema if isinstance(schema.schema, PropertySchema) else None
        made = [
            copied(item)
            if inside is None or item is None
            else _checked(inside, item, (*path, index), checkers)
            for index, item in enumerate(made)
        ]
    elif is_map(made):
        if schema.schema is not None and not isinstance(schema.schema, PropertySchema):
            made = _entries(schema.schema, made, path, checkers)
        else:
            made = copied(made)
    if schema.constraints and not is_unresolved(made):
        reason = first_fault(schema.constraints, made, checkers)
        if reason is not None:
            raise fault(reason, path)
    return made


def copied(value: Any) -> Any:
    """A copy of JSON that shares no map or list with the template."""
    if is_map(value):
        return {key: copied(item) for key, item in value.items()}
    if is_list(value):
        return [copied(item) for item in value]
    return value


def _converted(schema: PropertySchema, value: Any) -> Any:
    """The value as the schema's type.

    Raises: ValueError with a sentence.
    """
    if schema.type == "string":
        if is_map(value) or is_list(value):
            raise ValueError(f"Value must be a string; got {shown(value)}")
        return str(value)
    if schema.type == "integer":
        return _integer(value)
    if schema.type == "number":
        return _number(value)
    if schema.type == "boolean":
        if isinstance(value, bool):
            return value
        if isinstance(value, str) and value.lower() in {"true", "false"}:
            return value.lower() == "true"
        raise ValueError(f"{shown(value)} is not a valid boolean")
    if schema.type == "map" and not is_map(value) and not schema.allow_conversion:
        raise ValueError(f"{shown(value)} is not a map")
    if schema.type == "list":
        if schema.allow_conversion and isinstance(value, str):
            return value.split(",") if value else []
        if not is_list(value):
            raise ValueError(f"{shown(value)} is not a list")
    return value


def _integer(value: Any) -> int:
    """A whole number, or a string of one."""
    try:
        if isinstance(value, str):
            return int(value)
        if is_number(value) and int(value) == value:
            return int(value)
    except (ValueError, OverflowError):
        pass
    raise ValueError(f"Value {shown(value)} is not an integer")


def _number(value: Any) -> int | float:
    """A finite number, or a string of one."""
    number = _read_number(value) if isinstance(value, str) else value
    try:
        if is_number(number) and math.isfinite(number):
            return number
    except OverflowError:
        pass  # a whole number that no float can hold
    raise ValueError(f"Value {shown(value)} is not a number")


def _read_number(text: str) -> int | float | None:
    for convert in (int, float):
        try:
            return convert(text)
        except ValueError:
            continue
    return None


# ---- updates ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Changes:
    """What an update changes of a resource's properties.

    ``changed`` has the new values. If ``replacing`` is not empty the resource must be replaced;
    if ``refused`` is not, the update must be refused (NotSupported).
    """

    changed: Mapping[str, Any] = field(default_factory=dict[str, Any])
    replacing: frozenset[str] = frozenset()
    refused: frozenset[str] = frozenset()


def changes(schemata: Schemata, before: Mapping[str, Any], after: Mapping[str, Any]) -> Changes:
    """What differs between two results of :func:`validate_and_resolve`.

    What is UNRESOLVED on either side counts as changed. A property of which the schema knows
    nothing any more is left out.
    """
    changed = {
        name: after.get(name)
        for name in schemata
        if before.get(name) != after.get(name) or is_unresolved(after.get(name))
    }
    return Changes(
        changed=changed,
        replacing=frozenset(
            name
            for name in changed
            if not schemata[name].update_allowed and not schemata[name].immutable
        ),
        refused=frozenset(name for name in changed if schemata[name].immutable),
    )


# ---- nested templates ---------------------------------------------------------------------------


def properties_of_template(
    template: str | Mapping[str, Any], limits: Limits = DEFAULT_LIMITS
) -> dict[str, PropertySchema]:
    """The properties of a resource whose type is this template: its parameters.

    Raises: HotError over the template.
    """
    read = read_template(as_document(template, "template", limits), limits)
    return {
        name: PropertySchema(
            type=FROM_PARAMETER[schema.type],
            description=schema.description,
            required=schema.required,
            constraints=schema.typed_constraints(),
            update_allowed=True,
            allow_conversion=schema.type in {"json", "comma_delimited_list"},
        )
        for name, schema in read.schemata.items()
    }


def attributes_of_template(
    template: str | Mapping[str, Any], limits: Limits = DEFAULT_LIMITS
) -> dict[str, str]:
    """The attributes of a resource whose type is this template: its outputs' descriptions."""
    read = read_template(as_document(template, "template", limits), limits)
    return {name: str(one.get("description") or "") for name, one in read.outputs.items()}
