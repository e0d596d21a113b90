"""Lookup: rows of a bundled table by key, from an SQLite index made before each load."""

from __future__ import annotations

import csv
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from holdfast.serving.endpoints.base import Endpoint, Query, Row, Surroundings, objects_of
from holdfast.serving.endpoints.base import object_of as member_of
from holdfast.serving.errors import LoadError
from holdfast.serving.packages.manifest import LookupSpec

_MATCHES_MAX: Final = 2  # more than one is ambiguous; how many more does not matter


class LookupEndpoint(Endpoint):
    """``lookup`` one, ``lookup-multi`` many. Several matches: the record is ignored."""

    actions = ("lookup", "lookup-multi")

    def __init__(self, spec: LookupSpec, around: Surroundings) -> None:
        self._keys = spec.keys
        self._columns = spec.columns
        index = around.derived / index_of(spec)
        self._db = sqlite3.connect(f"file:{index}?mode=ro&immutable=1", uri=True)

    def find(self, record: Mapping[str, Any]) -> list[Row]:
        """At most two rows that match; none if a key is missing."""
        if any(record.get(key) is None for key in self._keys):
            return []
        rows = self._db.execute(
            "SELECT data FROM rows WHERE key = ? LIMIT ?",
            (_key(record, self._keys), _MATCHES_MAX),
        ).fetchall()
        return [msgspec.json.decode(row[0]) for row in rows]

    def answer(self, action: str, query: Query) -> Any:
        records = [member_of(query, "data")] if action == "lookup" else objects_of(query, "data")
        return {"results": [self._result(record) for record in records]}

    def _result(self, record: Row) -> Row:
        rows = self.find(record)
        if len(rows) > 1:
            return {"data": {}, "ignored": True, "ignoreReason": "several rows match the keys"}
        found = rows[0] if rows else {}
        names = self._columns or list(found)
        return {"data": {name: found.get(name) for name in names}, "ignored": False}


def index_of(spec: LookupSpec) -> str:
    """The name of an endpoint's index."""
    return f"{spec.id}.sqlite"


def make_index(data: Path, keys: Sequence[str], target: Path) -> None:
    """Write the index; raises ``LoadError`` if a row lacks a key."""
    db = sqlite3.connect(target)
    try:
        db.execute("PRAGMA journal_mode=OFF")
        db.execute("CREATE TABLE rows (key TEXT NOT NULL, data BLOB NOT NULL)")
        db.executemany(
            "INSERT INTO rows VALUES (?, ?)",
            ((_key(row, keys), msgspec.json.encode(row)) for row in _rows(data, keys)),
        )
        db.execute("CREATE INDEX by_key ON rows (key)")
        db.commit()
    finally:
        db.close()


def _rows(data: Path, keys: Sequence[str]) -> Iterator[Row]:
    with data.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file) if data.suffix == ".csv" else map(msgspec.json.decode, file)
        for row in rows:
            missing = [key for key in keys if key not in row]
            if missing:
                raise LoadError(f"{data.name} has a row without the key column {missing[0]!r}.")
            yield dict(row)


def _key(record: Mapping[str, Any], keys: Sequence[str]) -> str:
    return "\x1f".join(_text(record[key]) for key in keys)


def _text(value: Any) -> str:
    """Keys are compared as text, since a CSV has nothing else; 1.0 is 1."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).replace("\x1f", " ")
