"""YAQL expressions, by YAQL's own library, in bounds of memory, iterations and steps.

The library bounds collections and memory by itself, but only looks at results: functions whose
result can be out of all proportion to their input are replaced by careful ones (``*``,
``replace``, ``join``) or left out (``pow``, ``shiftBitsLeft``). Loops within loops stay inside
its bounds and still take for ever, so every call is counted too. Left out as well: regular
expressions, because the library's matcher cannot be interrupted, and what is not a function of
its arguments (``random``, ``now``, ``localtz``).
"""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# (yaql has no types)

from __future__ import annotations

import collections.abc  # noqa: F401  # pyright: ignore[reportUnusedImport] (yaql forgets to)
import functools
from typing import Any

import yaql
from yaql.language import contexts, exceptions, specs, yaqltypes
from yaql.standard_library import date_time, math, strings

from holdfast.stacks.hot.errors import HotError, LimitError
from holdfast.stacks.hot.limits import (
    YAQL_ITERATIONS_MAX,
    YAQL_MEMORY_BYTES_MAX,
    YAQL_STEPS_MAX,
)
from holdfast.stacks.hot.parsing import DYNAMIC
from holdfast.stacks.hot.shapes import is_list, is_map

EXPRESSION_CHARS_MAX = 8192
"""Longer ones would nest deeper than the library's recursive parser and evaluator go."""
NUMBER_BITS_MAX = 1024
LEFT_OUT: frozenset[Any] = frozenset(
    {
        date_time.localtz,
        date_time.now,
        math.multiplication,
        math.pow_,
        math.random_,
        math.random__,
        math.shift_bits_left,
        strings.join,
        strings.join_,
        strings.replace,
        strings.replace_with_dict,
    }
)


class _Steps:
    """How many calls an evaluation may still make."""

    def __init__(self) -> None:
        self.left = YAQL_STEPS_MAX

    def take(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise LimitError(f'"yaql" made more than {YAQL_STEPS_MAX} calls')


class _CountedContext(contexts.Context):
    """A context of one evaluation, the library's children of it included, that counts calls."""

    def __init__(self, parent_context: Any = None, *arguments: Any, **named: Any) -> None:
        super().__init__(parent_context, *arguments, **named)
        counted = isinstance(parent_context, _CountedContext)
        self.steps: _Steps = parent_context.steps if counted else _Steps()

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        self.steps.take()
        return super().__call__(*arguments, **named)


def _fitting(size: int) -> None:
    if size > YAQL_MEMORY_BYTES_MAX:
        raise exceptions.MemoryQuotaExceededException


@specs.parameter("left", yaqltypes.Number())
@specs.parameter("right", yaqltypes.Number())
@specs.name("#operator_*")
def _multiplication(left: Any, right: Any) -> Any:
    for number in (left, right):
        if isinstance(number, int) and number.bit_length() > NUMBER_BITS_MAX:
            raise exceptions.MemoryQuotaExceededException
    return left * right


@specs.parameter("string", yaqltypes.String())
@specs.parameter("old", yaqltypes.String())
@specs.parameter("new", yaqltypes.String())
@specs.parameter("count", int)
@specs.method
@specs.name("replace")
def _replace(string: str, old: str, new: str, count: int = -1) -> str:
    _fitting(len(string) + string.count(old) * len(new))
    return string.replace(old, new, count)


@specs.parameter("string", yaqltypes.String())
@specs.parameter("replacements", yaqltypes.utils.MappingType)
@specs.parameter("count", int)
@specs.inject("str_func", yaqltypes.Delegate("str"))
@specs.method
@specs.name("replace")
def _replace_with_dict(string: str, str_func: Any, replacements: Any, count: int = -1) -> str:
    for old, new in replacements.items():
        string = _replace(string, str_func(old), str_func(new), count)
    return string


@specs.parameter("sequence", yaqltypes.Iterable())
@specs.parameter("separator", yaqltypes.String())
@specs.inject("str_delegate", yaqltypes.Delegate("str"))
@specs.method
@specs.name("join")
def _join(sequence: Any, separator: str, str_delegate: Any) -> str:
    size, texts = 0, list[str]()
    for item in sequence:
        texts.append(str_delegate(item))
        size += len(texts[-1]) + len(separator)
        _fitting(size)
    return separator.join(texts)


@specs.parameter("separator", yaqltypes.String())
@specs.parameter("sequence", yaqltypes.Iterable())
@specs.inject("str_delegate", yaqltypes.Delegate("str"))
@specs.method
@specs.name("join")
def _join_by(separator: str, sequence: Any, str_delegate: Any) -> str:
    return _join(sequence, separator, str_delegate)


@functools.cache
def _library() -> tuple[Any, Any]:
    """The engine and the context with all functions; built once, read only afterwards."""
    engine = yaql.YaqlFactory().create(
        {
            "yaql.limitIterators": YAQL_ITERATIONS_MAX,
            "yaql.memoryQuota": YAQL_MEMORY_BYTES_MAX,
            "yaql.convertTuplesToLists": True,
            "yaql.convertSetsToLists": True,
        }
    )
    context: Any = yaql.create_context(regex=False, yaqlized=False)
    layer = context
    while layer is not None:
        for functions in list(layer._functions.values()):
            for function in [one for one in functions if one.payload in LEFT_OUT]:
                layer.delete_function(function)
        layer = layer.parent
    for function in (_multiplication, _replace, _replace_with_dict, _join, _join_by):
        context.register_function(function)
    return engine, context


@functools.lru_cache(maxsize=256)
def _parsed(expression: str) -> Any:
    return _library()[0](expression)


def check(name: str, arguments: Any) -> None:
    """``{expression: text, data: anything}``; the expression must parse."""
    if arguments is DYNAMIC:
        return
    if not is_map(arguments):
        raise HotError(f'Arguments to "{name}" must be a map.')
    if "expression" not in arguments or not set(arguments) <= {"expression", "data"}:
        raise HotError(
            f'"{name}" syntax is {{expression: $.data.list.sum(), data: {{list: [1, 2]}}}}'
        )
    if arguments["expression"] is not DYNAMIC:
        statement(name, arguments["expression"])


def statement(name: str, expression: Any) -> Any:
    """The parsed expression."""
    if not isinstance(expression, str):
        raise HotError(f'The "expression" argument to "{name}" must be a string.')
    if len(expression) > EXPRESSION_CHARS_MAX:
        raise LimitError(
            f'The expression of "{name}" has more than {EXPRESSION_CHARS_MAX} characters'
        )
    try:
        return _parsed(expression)
    except (exceptions.YaqlException, ValueError, RecursionError) as fault:
        raise HotError(f"Bad expression {expression!r}: {fault}") from None


def evaluate(name: str, arguments: Any) -> Any:
    """The value of the expression over ``$.data``.

    Raises: HotError for whatever the library objects to; LimitError.
    """
    check(name, arguments)
    parsed = statement(name, arguments["expression"])
    context = _CountedContext(_library()[1])
    try:
        return _as_json(name, parsed.evaluate({"data": arguments.get("data", {})}, context))
    except HotError:
        raise
    except (exceptions.MemoryQuotaExceededException, exceptions.CollectionTooLargeException):
        raise LimitError(
            f'"{name}" needs more than {YAQL_MEMORY_BYTES_MAX} bytes or '
            f"{YAQL_ITERATIONS_MAX} elements of a collection"
        ) from None
    except KeyError as fault:
        raise HotError(f'"{name}" failed: there is no key {fault}') from None
    except Exception as fault:  # noqa: BLE001 (an expression can raise whatever its operands do)
        why = str(fault) or type(fault).__name__
        raise HotError(f'"{name}" failed: {why[:500]}') from None


def _as_json(name: str, value: Any) -> Any:
    """The result as JSON; a date or a function is none."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if is_map(value):
        return {
            key if isinstance(key, str) else str(key): _as_json(name, item)  # pyright: ignore[reportUnnecessaryIsInstance]
            for key, item in value.items()
        }
    if is_list(value):
        return [_as_json(name, item) for item in value]
    raise HotError(f'"{name}" gave a {type(value).__name__}, which no template can hold')
