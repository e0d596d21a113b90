"""Functions that refer to the stack: parameters, resources, files, conditions, the facade."""

from __future__ import annotations

from typing import Any

from holdfast.stacks.hot.errors import (
    HotError,
    ParameterMissingError,
    Path,
    ReferenceToNothingError,
    render_path,
)
from holdfast.stacks.hot.parsing import Function, Parser, known_now, parsed_arguments
from holdfast.stacks.hot.scope import UNRESOLVED, Unresolved, is_unresolved, select
from holdfast.stacks.hot.shapes import is_list
from holdfast.stacks.hot.values import (
    OMITTED,
    AttributeAt,
    AttributeOf,
    Literal,
    ReferenceTo,
    Value,
)

FACADE_ASPECTS = {
    "metadata": "metadata",
    "deletion_policy": "deletion_policy",
    "update_policy": "update_policy",
}
FACADE_ASPECTS_CFN = {
    "Metadata": "metadata",
    "DeletionPolicy": "deletion_policy",
    "UpdatePolicy": "update_policy",
}


def resource_named(parser: Parser, name: Any, path: Path) -> str:
    """A resource in effect, or the fault that clients know from Heat."""
    if not isinstance(name, str):
        raise HotError("The name of a resource must be a string", path)
    if name not in parser.facts.resources:
        where = render_path(path)
        raise ReferenceToNothingError(
            f'The specified reference "{name}" (in {where}) is incorrect.', path
        )
    return name


def parse_get_param(parser: Parser, name: str, raw: Any, path: Path) -> Value:
    """``get_param: name`` or ``[name, key, …]``: what the path does not lead to is empty text."""
    arguments = known_now(parsed_arguments(parser.parse, raw, path), f'"{name}"', path)
    if is_unresolved(arguments):
        return Literal(UNRESOLVED)
    if not arguments:
        raise HotError(f'Function "{name}" must have arguments', path)
    parameter, *parts = arguments if is_list(arguments) else [arguments]
    if not isinstance(parameter, str):
        raise HotError(f'Parameter name in "{name}" must be string', path)
    if parameter not in parser.facts.parameters:
        raise ParameterMissingError(f"The Parameter ({parameter}) was not provided.", path)
    value = parser.facts.parameters[parameter]
    if not parts or isinstance(value, Unresolved):
        return Literal(value)
    found = select(value, checked_parts(name, parts, path)) if not isinstance(value, str) else None
    return Literal("" if found is None else found)


def parse_get_resource(parser: Parser, name: str, raw: Any, path: Path) -> Value:
    """``get_resource: name``."""
    return ReferenceTo(
        resource_named(parser, known_now(parser.parse(raw, path), f'"{name}"', path), path)
    )


def parse_ref(parser: Parser, _name: str, raw: Any, path: Path) -> Value:
    """``Ref: name`` of 2013-05-23: a resource, or else a parameter."""
    if isinstance(raw, str) and raw in parser.facts.resources:
        return ReferenceTo(raw)
    if isinstance(raw, str) and raw in parser.facts.parameters:
        return Literal(parser.facts.parameters[raw])
    resource_named(parser, raw, path)
    raise AssertionError(raw)  # it is neither, so the line above has raised


def checked_parts(name: str, parts: list[Any], path: Path) -> tuple[str | int, ...]:
    """The parts of a path into a value: strings and whole numbers."""
    for part in parts:
        if isinstance(part, bool) or not isinstance(part, str | int):
            raise HotError(f'Path components in "{name}" must be strings or numbers', path)
    return tuple(parts)


def get_attr(all_too: bool) -> Any:
    """The parser of ``get_attr: [resource, attribute, key, …]``.

    ``all_too``: the attribute may be left out, for a map of all (since 2015-10-15).
    """

    def parse(parser: Parser, name: str, raw: Any, path: Path) -> Value:
        form = "[resource_name, attribute, (path), …]"
        if not is_list(raw) or len(raw) < (1 if all_too else 2):
            forms = f"[resource_name] or {form}" if all_too else form
            raise HotError(f'Arguments to "{name}" must be of the form {forms}', path)
        resource = known_now(parser.parse(raw[0], (*path, 0)), "The name of a resource", path)
        resource_named(parser, resource, path)
        parts = parser.parse(list(raw[1:]), path)
        if not isinstance(parts, Literal):
            return AttributeAt(resource, parts, path)
        if is_unresolved(parts.value):
            return Literal(UNRESOLVED)
        keys = checked_parts(name, parts.value, path)
        if keys and not isinstance(keys[0], str):
            raise HotError(f'The attribute in "{name}" must be a string', path)
        return AttributeOf(resource, keys)

    return parse


def parse_get_file(parser: Parser, name: str, raw: Any, path: Path) -> Value:
    """``get_file: key`` of the ``files`` sent with the template."""
    key = known_now(parser.parse(raw, path), f'"{name}"', path)
    if isinstance(key, Unresolved):
        return Literal(UNRESOLVED)
    if not isinstance(key, str):
        raise HotError(f'Argument to "{name}" must be a string', path)
    content = parser.facts.files.get(key)
    if content is None:
        raise HotError(f'No content found in the "files" section for {name} path: {key}', path)
    return Literal(content)


def facade(aspects: dict[str, str]) -> Any:
    """The parser of ``resource_facade``, by the words a version has for the aspects."""

    def parse(parser: Parser, name: str, raw: Any, path: Path) -> Value:
        if not isinstance(raw, str) or raw not in aspects:
            raise HotError(f'Argument to "{name}" should be one of: {", ".join(aspects)}', path)
        if parser.facts.facade is None:
            raise HotError(
                f'"{name}" has a meaning in a nested template only: it reads the resource that '
                "the template implements",
                path,
            )
        return Literal(parser.facts.facade[aspects[raw]])

    return parse


# ---- conditions ---------------------------------------------------------------------------------


def parse_if(nullable: bool) -> Any:
    """The parser of ``if: [condition, then, else]``: only the branch that counts is looked at.

    ``nullable``: the else may be missing, and then the item is (since 2021-04-16).
    """

    def parse(parser: Parser, name: str, raw: Any, path: Path) -> Value:
        if not is_list(raw) or not (len(raw) == 3 or (nullable and len(raw) == 2)):
            raise HotError(
                f'Arguments to "{name}" must be of the form: '
                "[condition_name, value_if_true, value_if_false]",
                path,
            )
        if parser.holds(raw[0], (*path, 0)):
            return parser.parse(raw[1], (*path, 1))
        return parser.parse(raw[2], (*path, 2)) if len(raw) == 3 else OMITTED

    return parse


def parse_not(parser: Parser, name: str, raw: Any, path: Path) -> Value:
    """``not: condition``."""
    if raw is None:
        raise HotError(f'Argument to "{name}" must be a condition', path)
    return Literal(not parser.holds(raw, path))


def connective(all_of: bool) -> Any:
    """The parser of ``and`` and ``or``: two conditions or more."""

    def parse(parser: Parser, name: str, raw: Any, path: Path) -> Value:
        if not is_list(raw):
            raise HotError(f'Arguments to "{name}" must be a list of conditions', path)
        if len(raw) < 2:
            raise HotError(f'The minimum number of condition arguments to "{name}" is 2.', path)
        truths = [parser.holds(one, (*path, index)) for index, one in enumerate(raw)]
        return Literal(all(truths) if all_of else any(truths))

    return parse


GET_PARAM = Function("A function for resolving parameter references.", parse_get_param)
