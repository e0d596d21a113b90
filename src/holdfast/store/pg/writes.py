"""Products' rows, written in the transaction of the step that changed them.

A product registers its tables (``Rows``); the steps of its unbound jobs name rows by kind
and id (``store.model.Write``). However many there are, a batch of ends costs one statement
per kind, verb and set of columns.
"""

# ruff: noqa: S608 - names come from the specs only
from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Final, TypeAlias

import msgspec

from holdfast.errors import InvalidInputError
from holdfast.store.model import Json, Write
from holdfast.store.pg.database import Connection

TIME = "timestamptz"


class RowTable:
    """One kind of rows: its table, the key (a uuid), and the PostgreSQL type of each column.

    ``log``: rows are only ever inserted, in the order in which they were told.
    """

    def __init__(
        self, table: str, columns: Mapping[str, str], key: str = "id", *, log: bool = False
    ) -> None:
        self.table = table
        self.key = key
        self.log = log
        self.columns = dict(columns)
        if key not in columns or not all(name.isidentifier() for name in (table, *columns)):
            raise ValueError(f"{table}: these columns cannot be written by name")

    def check(self, names: Iterable[str]) -> None:
        """``InvalidInputError`` unless all are columns; no other name reaches SQL."""
        unknown = sorted(set(names) - self.columns.keys())
        if unknown:
            raise InvalidInputError(f"{self.table} has no column {', '.join(unknown)}")


Rows: TypeAlias = Mapping[str, RowTable]
"""By kind."""
NO_ROWS: Final[Rows] = MappingProxyType({})


async def write_rows(conn: Connection, rows: Rows, writes: Iterable[Write]) -> None:
    """Write them all, in the caller's transaction. The last word on a row comes last.

    Rows are locked by kind and id in the order given here: a batch's writes go from what
    is most particular to what is shared (a resource before its stack).
    """
    batches: dict[_Shape, list[dict[str, Json]]] = defaultdict(list)
    for write in writes:
        table = rows.get(write.kind)
        if table is None:
            raise InvalidInputError(f"no kind of rows is called {write.kind!r}")
        table.check({*write.values, *write.expect})
        expected = {f"x_{name}": value for name, value in write.expect.items()}
        shape = _Shape(write.kind, write.verb, tuple(sorted(write.values)), tuple(expected))
        batches[shape].append({**write.values, **expected, table.key: write.id})
    for shape, batch in batches.items():
        spec = rows[shape.kind]
        if not spec.log:
            batch.sort(key=lambda values, key=spec.key: str(values[key]))
        await conn.execute(_statement(spec, shape), batch)


class _Shape(msgspec.Struct, frozen=True):
    """What is alike of the writes that one statement writes."""

    kind: str
    verb: str
    names: tuple[str, ...]
    expected: tuple[str, ...]  # names of columns, behind "x_"


@lru_cache(maxsize=256)
def _statement(table: RowTable, shape: _Shape) -> str:
    """$1: the rows as a JSON array, by key. JSON has no times: they come as epoch seconds."""
    verb, names = shape.verb, shape.names
    columns = [f"{name} {_as_given(table, name)}" for name in (table.key, *names)]
    columns += [f"{name} {_as_given(table, name[2:])}" for name in shape.expected]
    given = f"select * from jsonb_to_recordset($1) as g ({', '.join(columns)})"
    if verb == "delete":
        return f"delete from {table.table} t using ({given}) g where t.{table.key} = g.{table.key}"
    values = {name: _as_stored(table, name) for name in (table.key, *names)}
    if verb == "insert":
        return f"""
            insert into {table.table} ({", ".join(values)})
            select {", ".join(values.values())} from ({given}) g
            on conflict ({table.key}) do nothing"""
    if not names:
        raise InvalidInputError(f"an update of {table.table} that changes nothing")
    changes = ", ".join(f"{name} = {values[name]}" for name in names)
    still = "".join(
        f" and t.{name[2:]} is not distinct from {_as_stored(table, name[2:], name)}"
        for name in shape.expected
    )
    return f"""
        update {table.table} t set {changes} from ({given}) g
         where t.{table.key} = g.{table.key}{still}
           and t.{table.key} = any(array(select {table.key} from ({given}) k))"""


def _as_given(table: RowTable, name: str) -> str:
    kind = table.columns[name]
    return "float8" if kind == TIME else kind


def _as_stored(table: RowTable, name: str, given: str = "") -> str:
    value = f"g.{given or name}"
    return f"to_timestamp({value})" if table.columns[name] == TIME else value
