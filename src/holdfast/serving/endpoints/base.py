"""What every endpoint is, and the plain data it speaks in."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final, TypeAlias, cast

import msgspec
import orjson

from holdfast.serving.errors import QueryError

Query: TypeAlias = dict[str, Any]
Row: TypeAlias = dict[str, Any]

_OPTIONS: Final = (
    orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS | orjson.OPT_PASSTHROUGH_SUBCLASS
)


class Surroundings(msgspec.Struct, frozen=True):
    """What a loader may use. ``connections``: the node's databases, by name."""

    content: Path
    derived: Path
    allow_pickle: bool
    connections: Mapping[str, str]


class Endpoint(ABC):
    """Answers queries. ``actions``: the last part of their path; the first is for test queries.

    A ``vectorised`` one answers many at the cost of few, so it is given all that wait.
    """

    vectorised: ClassVar[bool] = False
    actions: ClassVar[tuple[str, ...]]

    @abstractmethod
    def answer(self, action: str, query: Query) -> Any:
        """The answer to one query; raises ``QueryError`` if it does not fit."""

    def answer_batch(self, action: str, queries: Sequence[Query]) -> list[Any]:
        """Answers, or the exceptions instead of them, in order."""
        return [self._answer_or_error(action, query) for query in queries]

    def _answer_or_error(self, action: str, query: Query) -> Any:
        try:
            return self.answer(action, query)
        except Exception as error:  # noqa: BLE001 - user code raises what it likes
            return error


def decode(body: bytes) -> Query:
    """A query's JSON object. An empty body is ``{}``; a bare NaN is let through (compat.md)."""
    if not body:
        return {}
    try:
        try:
            document: Any = msgspec.json.decode(body)
        except msgspec.DecodeError:
            document = _lenient(body)
    except RecursionError:
        raise QueryError("The body is nested too deeply.") from None
    except ValueError as error:
        raise QueryError(f"The body is not JSON: {error}.") from None
    if not isinstance(document, dict):
        raise QueryError("The body is not a JSON object.")
    return cast("Query", document)


def _lenient(body: bytes) -> Any:
    """JSON with NaN and Infinity; text must be Unicode, or nothing that gets it could send it."""
    document: Any = json.loads(body)
    try:
        json.dumps(document, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise QueryError(
            "The body has half of a surrogate pair (\\ud800 to \\udfff), which is no character."
        ) from None
    return document


def encode(answer: Any) -> bytes:
    """Plain data as JSON; NaN becomes null. Raises ``TypeError`` for what is not plain."""
    return orjson.dumps(answer, default=_plain, option=_OPTIONS)


def _plain(value: Any) -> Any:
    if isinstance(value, set | frozenset):
        return list(cast("set[Any]", value))
    for method in ("to_dict", "tolist", "isoformat"):  # pandas, numpy, its scalars, times
        convert = getattr(value, method, None)
        if convert is not None:
            return convert(orient="records") if type(value).__name__ == "DataFrame" else convert()
    if isinstance(value, int | float | str | list | tuple | dict):  # subclasses of plain types
        return _bare(cast("Any", value))
    raise TypeError(f"a value of type {type(value).__name__} cannot be sent as JSON")


def _bare(value: Any) -> Any:
    for plain in (bool, int, float, str, list, tuple, dict):
        if isinstance(value, plain):
            return cast("Any", plain)(value)
    return value


def object_of(query: Query, name: str) -> Row:
    """The member that must be an object; raises ``QueryError``."""
    found = query.get(name)
    if not isinstance(found, dict):
        raise QueryError(f"The query needs {name!r}, a JSON object.")
    return cast("Row", found)


def objects_of(query: Query, member: str) -> list[Row]:
    """``items``, each with an object of the name; raises ``QueryError``."""
    items = query.get("items")
    if not isinstance(items, list):
        raise QueryError("The query needs 'items', a JSON array.")
    for item in cast("list[Any]", items):
        if not isinstance(item, dict):
            raise QueryError("Every one of 'items' is a JSON object.")
    return [object_of(item, member) for item in cast("list[Query]", items)]
