"""Which generation a query goes to: a pure function, the same on every node."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import xxhash

from holdfast.errors import InvalidInputError
from holdfast.serving.errors import UnknownGenerationError

_SUM_TOLERANCE: Final = 1e-6


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A generation, and how likely a query goes there."""

    generation: str
    proba: float


class Mapping(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The wire's shape of it."""

    entries: list[Entry]


def decode_mapping(document: Any) -> tuple[Entry, ...]:
    """A mapping from the wire, in order of names; raises ``InvalidInputError``."""
    try:
        entries = msgspec.convert(document, Mapping).entries
    except msgspec.ValidationError as error:
        raise InvalidInputError(f"The mapping is not right: {error}.") from None
    names = {entry.generation for entry in entries}
    if not entries or len(names) != len(entries):
        raise InvalidInputError("A mapping names one or more generations, each once.")
    if any(not 0 < entry.proba <= 1 for entry in entries):
        raise InvalidInputError("A proba is more than 0 and at most 1.")
    total = math.fsum(entry.proba for entry in entries)
    if abs(total - 1) > _SUM_TOLERANCE:
        raise InvalidInputError(f"The probas' sum is {total:g}, and should be 1.")
    return tuple(sorted(entries, key=lambda entry: entry.generation))


def point_of(dispatch_key: str) -> float:
    """Where a key lies in [0, 1): alike on all nodes, whatever their Python's hash seed."""
    return xxhash.xxh3_64_intdigest(dispatch_key.encode("utf-8", "surrogatepass")) / 2**64


def choose(entries: Sequence[Entry], point: float) -> str:
    """The generation at a point in [0, 1), entries in order of names."""
    reached = 0.0
    for entry in entries:
        reached += entry.proba
        if point < reached:
            return entry.generation
    if not entries:
        raise UnknownGenerationError("The service has no generation in use: switch to one.")
    return entries[-1].generation
