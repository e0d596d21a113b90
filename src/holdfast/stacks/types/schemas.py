"""Shorthand for the schemas of properties: one call a property, in the words of the docs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from holdfast.stacks.hot.constraints import Constraint
from holdfast.stacks.hot.properties import PropertySchema, PropertyType

MEMBERS_MAX = 10_000
"""Members of one group: what a template asks for in four digits must not cost gigabytes."""


def _schema(
    kind: PropertyType,
    description: str,
    *,
    default: Any = None,
    required: bool = False,
    updates: bool = False,
    constraints: tuple[Constraint, ...] = (),
    schema: PropertySchema | Mapping[str, PropertySchema] | None = None,
) -> PropertySchema:
    return PropertySchema(
        type=kind,
        description=description,
        default=default,
        required=required,
        update_allowed=updates,
        constraints=constraints,
        schema=schema,
    )


def string(
    description: str,
    *constraints: Constraint,
    default: str | None = None,
    required: bool = False,
    updates: bool = False,
) -> PropertySchema:
    """A text. ``updates``: it can be changed in place."""
    return _schema(
        "string",
        description,
        default=default,
        required=required,
        updates=updates,
        constraints=constraints,
    )


def integer(
    description: str,
    *constraints: Constraint,
    default: int | None = None,
    required: bool = False,
    updates: bool = False,
) -> PropertySchema:
    """A whole number."""
    return _schema(
        "integer",
        description,
        default=default,
        required=required,
        updates=updates,
        constraints=constraints,
    )


def number(
    description: str,
    *constraints: Constraint,
    default: float | None = None,
    required: bool = False,
    updates: bool = False,
) -> PropertySchema:
    """A number."""
    return _schema(
        "number",
        description,
        default=default,
        required=required,
        updates=updates,
        constraints=constraints,
    )


def boolean(
    description: str,
    *,
    default: bool | None = None,
    required: bool = False,
    updates: bool = False,
) -> PropertySchema:
    """A truth value."""
    return _schema("boolean", description, default=default, required=required, updates=updates)


def anything(description: str, *, required: bool = False, updates: bool = False) -> PropertySchema:
    """Any JSON."""
    return _schema("any", description, required=required, updates=updates)


def mapping(
    description: str,
    keys: Mapping[str, PropertySchema] | None = None,
    *,
    default: dict[str, Any] | None = None,
    required: bool = False,
    updates: bool = False,
) -> PropertySchema:
    """A map, of these keys or of any."""
    return _schema(
        "map", description, default=default, required=required, updates=updates, schema=keys
    )


def listing(
    description: str,
    *constraints: Constraint,
    of: PropertySchema | None = None,
    default: list[Any] | None = None,
    required: bool = False,
    updates: bool = False,
) -> PropertySchema:
    """A list, of such items or of any."""
    return _schema(
        "list",
        description,
        default=default,
        required=required,
        updates=updates,
        constraints=constraints,
        schema=of,
    )
