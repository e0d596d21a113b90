"""What the API shows of the language: validated templates, resource types as documents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from holdfast.stacks.hot.compile import EMPTY_ENVIRONMENT, NO_FILES, compile_template
from holdfast.stacks.hot.constraints import NO_CHECKERS, Checkers, Constraint
from holdfast.stacks.hot.environment import Environment
from holdfast.stacks.hot.errors import LimitError
from holdfast.stacks.hot.limits import DEFAULT_LIMITS, Limits
from holdfast.stacks.hot.parameters import described
from holdfast.stacks.hot.plan import CompiledTemplate, NestedTemplate, inclusion
from holdfast.stacks.hot.properties import PropertySchema, Schemata, constraint_document

NO_DESCRIPTION = "No description"
NESTING_MAX = 10
SUPPORTED: Mapping[str, Any] = {
    "status": "SUPPORTED",
    "message": None,
    "version": None,
    "previous_status": None,
}
PARAMETER_TYPES = {
    "string": "string",
    "integer": "number",
    "number": "number",
    "boolean": "boolean",
    "map": "json",
    "list": "comma_delimited_list",
    "any": "json",
}


@dataclass(frozen=True, slots=True)
class AttributeSchema:
    """One attribute of a resource type; ``type`` None: it depends."""

    description: str = ""
    type: str | None = None

    def document(self) -> dict[str, Any]:
        """As ``resource-type-show`` prints it."""
        shape = {"description": self.description} if self.description else {}
        return shape if self.type is None else shape | {"type": self.type}


# ---- template-validate --------------------------------------------------------------------------


def describe_template(
    template: str | Mapping[str, Any],
    *,
    files: Mapping[str, str] = NO_FILES,
    environment: Environment = EMPTY_ENVIRONMENT,
    checkers: Checkers = NO_CHECKERS,
    limits: Limits = DEFAULT_LIMITS,
    show_nested: bool = False,
) -> dict[str, Any]:
    """The answer of ``POST /validate``: the template is compiled, values may be missing.

    Raises: HotError when the template is wrong.
    """
    plan = compile_template(
        template,
        files=files,
        environment=environment,
        checkers=checkers,
        limits=limits,
        strict=False,
    )
    shape: dict[str, Any] = {
        "Description": plan.description or NO_DESCRIPTION,
        "Parameters": parameters_shown(plan),
    }
    if plan.parameter_groups:
        shape["ParameterGroups"] = [dict(group) for group in plan.parameter_groups]
    if show_nested:
        shape |= nested_parameters(plan, checkers, limits)
    return shape | {"Environment": environment.document()}


def parameters_shown(plan: CompiledTemplate) -> dict[str, Any]:
    """Every parameter but the pseudo ones, as ``described``."""
    defaults, given = plan.environment.parameter_defaults, plan.environment.parameters
    return {
        name: described(schema, defaults, given.get(name)) for name, schema in plan.schemata.items()
    }


def nested_parameters(
    plan: CompiledTemplate,
    checkers: Checkers,
    limits: Limits,
    trail: tuple[tuple[str, str], ...] = (),
) -> dict[str, Any]:
    """``NestedParameters`` of the resources whose type is a template, at every depth."""
    if len(trail) >= NESTING_MAX:
        raise LimitError(
            f"Templates are nested deeper than {NESTING_MAX} levels: {inclusion(trail)}"
        )
    nested: dict[str, Any] = {}
    for name, resource in plan.resources.items():
        if not isinstance(resource.target, NestedTemplate):
            continue
        inner = compile_template(
            resource.target.text,
            files=plan.files,
            environment=plan.environment.child(resource.type, name),
            checkers=checkers,
            limits=limits,
            strict=False,
        )
        nested[name] = {
            "Type": resource.type,
            "Description": inner.description or NO_DESCRIPTION,
            "Parameters": parameters_shown(inner),
        } | nested_parameters(inner, checkers, limits, (*trail, (name, resource.target.name)))
    return {"NestedParameters": nested} if nested else {}


# ---- resource types -----------------------------------------------------------------------------


def schema_document(
    type_name: str,
    properties: Schemata,
    attributes: Mapping[str, AttributeSchema],
    *,
    description: str | None = None,
    support_status: Mapping[str, Any] = SUPPORTED,
) -> dict[str, Any]:
    """The answer of ``GET /resource_types/{type}``; with a description only if one is asked for."""
    shape: dict[str, Any] = {
        "resource_type": type_name,
        "properties": {name: schema.document() for name, schema in properties.items()},
        "attributes": {name: schema.document() for name, schema in attributes.items()},
        "support_status": dict(support_status),
    }
    return shape if description is None else shape | {"description": description}


def provider_template(
    type_name: str, properties: Schemata, attributes: Mapping[str, AttributeSchema]
) -> dict[str, Any]:
    """The answer of ``GET /resource_types/{type}/template``: HOT that wraps one resource."""
    name = type_name.rsplit("::", 1)[-1]
    outputs: dict[str, Any] = {
        attribute: {"value": {"get_attr": [name, attribute]}, "description": schema.description}
        for attribute, schema in attributes.items()
    }
    return {
        "heat_template_version": "2016-10-14",
        "description": f"Initial template of {name}",
        "parameters": {key: parameter_of(schema) for key, schema in properties.items()},
        "resources": {
            name: {
                "type": type_name,
                "properties": {key: {"get_param": key} for key in properties},
            }
        },
        "outputs": outputs | {"OS::stack_id": {"value": {"get_resource": name}}},
    }


def parameter_of(schema: PropertySchema) -> dict[str, Any]:
    """A parameter that can carry a property."""
    shape: dict[str, Any] = {"type": PARAMETER_TYPES[schema.type]}
    if schema.description:
        shape["description"] = schema.description
    if schema.default is not None:
        shape["default"] = schema.default
    constraints = [constraint_document(one) for one in schema.constraints if carried(schema, one)]
    return shape | {"constraints": constraints} if constraints else shape


def carried(schema: PropertySchema, constraint: Constraint) -> bool:
    """Whether a parameter of the property's type may have its constraint."""
    return schema.type not in {"map", "any"} or "length" in constraint.document()
