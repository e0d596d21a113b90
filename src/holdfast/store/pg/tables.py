"""The tables of owned objects. Products name theirs at start; the store knows only this much."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cached_property
from typing import TypeAlias

from holdfast.errors import InvalidInputError
from holdfast.store.events import Watch

NOTHING = Watch()


class TableSpec:
    """One kind of owned object: a table with columns ``grp``, ``shard`` and ``entered_epoch``.

    ``columns``: every column of its documents, the key among them. ``touched``: the
    column that says when a row was last written, if it has one. ``watch``: what of it
    the event log tells about.
    """

    def __init__(
        self,
        table: str,
        key: str,
        columns: Collection[str],
        touched: str | None = "updated_at",
        watch: Watch = NOTHING,
    ) -> None:
        self.table = table
        self.key = key
        self.columns = tuple(columns)
        self.touched = touched if touched in self.columns else None
        self.watch = watch
        needed = {*watch.fields, *watch.describing, *((watch.error,) if watch.error else ())}
        missing = ({key, "grp", "shard", "entered_epoch"} | needed) - set(columns)
        if missing or not all(name.isidentifier() for name in (table, *columns)):
            raise ValueError(f"{table} cannot hold owned objects: it lacks {sorted(missing)}")

    @cached_property
    def known(self) -> frozenset[str]:
        """The columns, for look-up."""
        return frozenset(self.columns)

    def check(self, fields: Collection[str]) -> None:
        """``InvalidInputError`` unless every field is a column; no other name reaches SQL."""
        unknown = sorted(set(fields) - self.known)
        if unknown:
            raise InvalidInputError(f"{self.table} has no field {', '.join(unknown)}")

    def assignments(self, fields: Collection[str], first: int) -> str:
        """The right side of ``set`` with $first, $first+1, ... for the fields in their order."""
        self.check(fields)
        parts = [f"{name} = ${first + n}" for n, name in enumerate(fields)]
        if self.touched and self.touched not in fields:
            parts.append(f"{self.touched} = clock_timestamp()")
        return ", ".join(parts)


Kinds: TypeAlias = Mapping[str, TableSpec]


def spec_of(kinds: Kinds, kind: str) -> TableSpec:
    """The table of a kind of object; ``InvalidInputError`` for a kind nobody registered."""
    spec = kinds.get(kind)
    if spec is None:
        raise InvalidInputError(f"no kind of object is called {kind!r}")
    return spec
