"""Parameters of a template: their schemata, and the values that come of what users give."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from holdfast.stacks.hot.constraints import (
    NO_CHECKERS,
    AllowedPattern,
    AllowedValues,
    Checkers,
    Constraint,
    CustomConstraint,
    Length,
    Modulo,
    Range,
    constraint_of,
    first_fault,
    shown,
)
from holdfast.stacks.hot.documents import check_document
from holdfast.stacks.hot.errors import (
    HotError,
    ImmutableParameterError,
    ParameterMissingError,
    ParameterSchemaError,
    ParameterUnknownError,
)
from holdfast.stacks.hot.scope import UNRESOLVED, is_unresolved
from holdfast.stacks.hot.shapes import is_list, is_map, is_number, kind_of

ParameterType = Literal["string", "number", "comma_delimited_list", "json", "boolean"]

TYPES: tuple[str, ...] = get_args(ParameterType)
TYPES_SHOWN = {
    "string": "String",
    "number": "Number",
    "comma_delimited_list": "CommaDelimitedList",
    "json": "Json",
    "boolean": "Boolean",
}
PSEUDO_PARAMETERS = ("OS::stack_id", "OS::stack_name", "OS::project_id", "OS::region")
HIDDEN_TEXT = "******"
KEYS = (
    "type",
    "description",
    "default",
    "schema",
    "constraints",
    "hidden",
    "label",
    "immutable",
    "tags",
)
CONSTRAINED: Mapping[type, frozenset[str]] = {
    Range: frozenset({"number"}),
    Modulo: frozenset({"number"}),
    Length: frozenset({"string", "comma_delimited_list", "json"}),
    AllowedValues: frozenset({"string", "number", "boolean", "comma_delimited_list"}),
    AllowedPattern: frozenset({"string"}),
    CustomConstraint: frozenset({"string", "number", "boolean", "comma_delimited_list"}),
}
TRUE_WORDS = frozenset({"1", "t", "true", "on", "y", "yes"})
FALSE_WORDS = frozenset({"0", "f", "false", "off", "n", "no"})


@dataclass(frozen=True, slots=True)
class ParameterSchema:
    """One entry of ``parameters:``. ``default`` is as written; None: there is none."""

    name: str
    type: ParameterType
    description: str = ""
    default: Any = field(default=None, repr=False)
    hidden: bool = False
    constraints: tuple[Constraint, ...] = ()
    label: str | None = None
    immutable: bool = False
    tags: tuple[str, ...] = field(default=())

    @property
    def required(self) -> bool:
        """Whether the user has to give a value."""
        return self.default is None

    def value_of(self, given: Any, checkers: Checkers = NO_CHECKERS) -> Any:
        """``given`` as this type, all constraints checked.

        Raises: HotError, kind StackValidationFailed: ``Parameter 'x' is invalid: …``.
        """
        try:
            value = converted(self.type, given)
            check_document(value, f"value of parameter {self.name}")
        except ValueError as fault:
            reason = str(fault)
        else:
            reason = first_fault(self.typed_constraints(), value, checkers)
            if reason is None:
                return value
        raise HotError(f"Parameter '{self.name}' is invalid: {reason}")

    def typed_constraints(self) -> tuple[Constraint, ...]:
        """The constraints with allowed values of the parameter's type: ``1`` allows ``"1"``."""
        return tuple(
            one
            if not isinstance(one, AllowedValues) or self.type == "comma_delimited_list"
            else AllowedValues(tuple(self._allowed(one)), one.description)
            for one in self.constraints
        )

    def _allowed(self, constraint: AllowedValues) -> Iterator[Any]:
        for one in constraint.allowed:
            try:
                yield converted(self.type, one)
            except ValueError:
                continue  # what cannot be of the type can never be the value


def converted(kind: str, value: Any) -> Any:
    """A value as this parameter type.

    Raises: ValueError with a sentence.
    """
    if kind == "string":
        if is_map(value) or is_list(value):
            raise ValueError(f"a string is needed, {shown(value)} is a {kind_of(value)}")
        return str(value)
    if kind == "number":
        return number_from(value)
    if kind == "boolean":
        word = str(value).strip().lower()
        if word not in TRUE_WORDS | FALSE_WORDS:
            raise ValueError(f"Unrecognized value {shown(value)}, acceptable are true and false")
        return word in TRUE_WORDS
    if kind == "comma_delimited_list":
        if is_list(value):
            return [str(item) for item in value]
        if not isinstance(value, str):
            raise ValueError(
                f"Value must be a comma-delimited list string or a list: {shown(value)} "
                f"is a {kind_of(value)}"
            )
        return value.split(",") if value else []
    return json_from(value)


def number_from(value: Any) -> int | float:
    """A finite number, or a string of one."""
    if is_number(value):
        return value
    if isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            pass
        try:
            number = float(value)
        except ValueError:
            pass
        else:
            if math.isfinite(number):
                return number
    raise ValueError(f"{shown(value)} is not a number")


def json_from(value: Any) -> Any:
    """A JSON document: parsed if it is text."""
    if not isinstance(value, str) or not value:
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as fault:
        raise ValueError(f"Value must be valid JSON: {fault}") from None


# ---- reading schemata ---------------------------------------------------------------------------


def read_schema(
    name: str, definition: Any, *, with_modulo: bool = True, with_tags: bool = True
) -> ParameterSchema:
    """One entry of a template's ``parameters`` section, its default validated.

    Raises: ParameterSchemaError.
    """
    if not is_map(definition):
        raise ParameterSchemaError(f"Invalid parameter ({name}), expected a mapping")
    for key in definition:
        if key not in KEYS or (key == "tags" and not with_tags):
            raise ParameterSchemaError(f"Invalid key '{key}' for parameter ({name})")
    kind = definition.get("type")
    if kind is None:
        raise ParameterSchemaError(f"Missing parameter type for parameter: {name}")
    if kind not in TYPES:
        raise ParameterSchemaError(
            f"Parameter '{name}' is invalid: Invalid type ({kind}), it must be one of "
            f"{', '.join(TYPES)}"
        )
    schema = ParameterSchema(
        name=name,
        type=kind,
        description=text_of(name, "description", definition) or "",
        default=definition.get("default"),
        hidden=flag_of(name, "hidden", definition),
        constraints=read_constraints(name, definition.get("constraints"), with_modulo),
        label=text_of(name, "label", definition),
        immutable=flag_of(name, "immutable", definition),
        tags=read_tags(name, definition.get("tags")),
    )
    check_schema(schema)
    return schema


def text_of(name: str, key: str, definition: Mapping[str, Any]) -> str | None:
    """A text of the schema; numbers and dates are taken for text, as YAML makes them of it."""
    value = definition.get(key)
    if is_map(value) or is_list(value):
        raise ParameterSchemaError(f"The {key} of parameter {name} must be a string")
    return None if value is None else str(value)


def flag_of(name: str, key: str, definition: Mapping[str, Any]) -> bool:
    """A truth value of the schema, false where it is missing."""
    value = definition.get(key)
    if value is None:
        return False
    try:
        return bool(converted("boolean", value))
    except ValueError:
        raise ParameterSchemaError(f"{key} of parameter {name} must be true or false") from None


def read_constraints(name: str, definition: Any, with_modulo: bool) -> tuple[Constraint, ...]:
    """The ``constraints`` of a parameter."""
    if definition is None:
        return ()
    if not is_list(definition):
        raise ParameterSchemaError(
            f"Invalid parameter constraints for parameter {name}, expected a list"
        )
    try:
        return tuple(constraint_of(one, with_modulo=with_modulo) for one in definition)
    except ParameterSchemaError as fault:
        raise ParameterSchemaError(f"Parameter '{name}' is invalid: {fault.reason}") from None


def read_tags(name: str, definition: Any) -> tuple[str, ...]:
    """The ``tags`` of a parameter (since 2018-03-02)."""
    if definition is None:
        return ()
    if not is_list(definition):
        raise ParameterSchemaError(f"Tags property should be a list for parameter: {name}")
    return tuple(str(tag) for tag in definition)


def check_schema(schema: ParameterSchema) -> None:
    """Constraints fit the type, and the default fits the constraints (custom ones apart)."""
    for constraint in schema.constraints:
        if schema.type not in CONSTRAINED[type(constraint)]:
            raise ParameterSchemaError(
                f"Parameter '{schema.name}' is invalid: {type(constraint).__name__} constraint "
                f"invalid for {schema.type}"
            )
    if schema.default is None:
        return
    trusting: Checkers = {
        one.name: lambda _value: None
        for one in schema.constraints
        if isinstance(one, CustomConstraint)
    }
    try:
        schema.value_of(schema.default, trusting)
    except HotError as fault:
        why = fault.reason.removeprefix(f"Parameter '{schema.name}' is invalid: ")
        raise ParameterSchemaError(
            f"Parameter '{schema.name}' is invalid: Invalid default {shown(schema.default)} ({why})"
        ) from None


# ---- values -------------------------------------------------------------------------------------


def _value_of(schema: ParameterSchema, value: Any, checkers: Checkers) -> Any:
    """``ParameterSchema.value_of``, whose fault does not quote what is hidden."""
    try:
        return schema.value_of(value, checkers)
    except HotError:
        if not schema.hidden:
            raise
    raise HotError(
        f"Parameter '{schema.name}' is invalid: its value, which is hidden, does not fit its type "
        "or its constraints"
    )


def resolve_parameters(
    schemata: Mapping[str, ParameterSchema],
    given: Mapping[str, Any],
    defaults: Mapping[str, Any],
    checkers: Checkers = NO_CHECKERS,
    *,
    strict: bool = True,
) -> dict[str, Any]:
    """The value of every parameter: given, or the environment's default, or the schema's.

    A given null counts as not given. Without ``strict`` what is missing is UNRESOLVED; so is
    what a nested template is given that is not known yet.

    Raises: ParameterUnknownError, ParameterMissingError, HotError (a value breaks its schema).
    """
    for name in given:
        if name not in schemata:
            raise ParameterUnknownError(f"The Parameter ({name}) was not defined in template.")
    values: dict[str, Any] = {}
    for name, schema in schemata.items():
        for source in (given.get(name), defaults.get(name), schema.default):
            if source is not None:
                unknown = is_unresolved(source)
                values[name] = UNRESOLVED if unknown else _value_of(schema, source, checkers)
                break
        else:
            if strict:
                raise ParameterMissingError(f"The Parameter ({name}) was not provided.")
            values[name] = UNRESOLVED
    return values


def check_custom(schemata: Mapping[str, ParameterSchema], checkers: Checkers) -> None:
    """Refuse custom constraints that nobody supplies; the message names those that exist.

    Raises: ParameterSchemaError.
    """
    for schema in schemata.values():
        for constraint in schema.constraints:
            if isinstance(constraint, CustomConstraint) and constraint.name not in checkers:
                known = ", ".join(sorted(checkers)) or "none"
                raise ParameterSchemaError(
                    f"Parameter '{schema.name}' is invalid: custom constraint "
                    f'"{constraint.name}" does not exist here (available: {known})',
                    ("parameters", schema.name, "constraints"),
                )


def refuse_immutable(
    schemata: Mapping[str, ParameterSchema], before: Mapping[str, Any], after: Mapping[str, Any]
) -> None:
    """Refuse an update that changes an immutable parameter; one that is new may have any value.

    ``schemata`` are the new template's; ``before`` and ``after`` are resolved values.

    Raises: ImmutableParameterError naming all of them.
    """
    changed = sorted(
        name
        for name, schema in schemata.items()
        if schema.immutable and name in before and before[name] != after.get(name)
    )
    if changed:
        raise ImmutableParameterError(
            "The following parameters are immutable and may not be updated: " + ", ".join(changed)
        )


def as_text(schema: ParameterSchema, value: Any) -> str:
    """A value as ``stack show`` prints it: always a string, hidden ones starred."""
    if schema.hidden:
        return HIDDEN_TEXT
    if schema.type == "comma_delimited_list":
        return ",".join(value)
    if schema.type == "json":
        return json.dumps(value)
    return str(value)


def described(schema: ParameterSchema, defaults: Mapping[str, Any], given: Any) -> dict[str, Any]:
    """The schema as ``template-validate`` prints it: keys of CloudFormation's casing."""
    shape: dict[str, Any] = {
        "Type": TYPES_SHOWN[schema.type],
        "Description": schema.description,
        "NoEcho": "true" if schema.hidden else "false",
        "Label": schema.label or schema.name,
    }
    default = defaults.get(schema.name, schema.default)
    if default is not None:
        shape["Default"] = default
    if given:
        shape["Value"] = given
    if schema.tags:
        shape["Tags"] = list(schema.tags)
    for constraint in schema.constraints:
        shape.update(constraint_described(constraint))
    why = [one.description for one in schema.constraints if one.description]
    if why:
        shape["ConstraintDescription"] = " ".join(why)
    return shape


def constraint_described(constraint: Constraint) -> dict[str, Any]:
    """The keys that a constraint adds to :func:`described`."""
    if isinstance(constraint, Length):
        pairs: dict[str, Any] = {"MinLength": constraint.min, "MaxLength": constraint.max}
    elif isinstance(constraint, Range):
        pairs = {"MinValue": constraint.min, "MaxValue": constraint.max}
    elif isinstance(constraint, Modulo):
        pairs = {"Step": constraint.step, "Offset": constraint.offset}
    elif isinstance(constraint, AllowedValues):
        pairs = {"AllowedValues": list(constraint.allowed)}
    elif isinstance(constraint, AllowedPattern):
        pairs = {"AllowedPattern": constraint.pattern}
    elif isinstance(constraint, CustomConstraint):
        pairs = {"CustomConstraint": constraint.name}
    else:
        pairs = {}
    return {key: value for key, value in pairs.items() if value is not None}
