"""SQL: a fixed query whose parameters are bound.

A worker has one connection for each endpoint, so the pool of workers is the pool of
connections, and a stuck query dies with its worker.
"""

from __future__ import annotations

import asyncio
import importlib
import re
import sqlite3
from abc import ABC, abstractmethod
from typing import Any, Final
from urllib.parse import urlsplit

from holdfast.serving.endpoints.base import Endpoint, Query, Row, Surroundings
from holdfast.serving.errors import LoadError, NotServingError, QueryError
from holdfast.serving.packages.manifest import SqlSpec

_CONNECT_S: Final = 5.0


class Database(ABC):
    """A connection that answers one query; columns are (name, type)."""

    @abstractmethod
    def rows(self, values: Row, rows_max: int) -> tuple[list[tuple[str, str]], list[Any]]: ...


class Sqlite(Database):
    """A bundled file, read only."""

    def __init__(self, path: str, query: str) -> None:
        self._db = sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)
        self._query = query

    def rows(self, values: Row, rows_max: int) -> tuple[list[tuple[str, str]], list[Any]]:
        for name, value in values.items():
            if isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
                raise QueryError(f"The parameter {name!r} is an integer of more than 64 bits.")
        try:
            cursor = self._db.execute(self._query, values)
            found = cursor.fetchmany(rows_max)
        except sqlite3.Error as error:
            raise QueryError(f"The database refuses the query: {error}.") from None
        return [(column[0], "string") for column in cursor.description or ()], found


class Postgres(Database):
    """One of the node's connections. A lost one is made anew at the next query."""

    def __init__(self, url: str, query: str, names: list[str]) -> None:
        self._asyncpg: Any = importlib.import_module("asyncpg")
        self._url = url
        self._names = names
        self._query = re.sub(
            r"(?<!:):([A-Za-z_]\w*)", lambda match: f"${names.index(match[1]) + 1}", query
        )
        self._loop = asyncio.new_event_loop()
        self._connection: Any = None

    def rows(self, values: Row, rows_max: int) -> tuple[list[tuple[str, str]], list[Any]]:
        return self._loop.run_until_complete(self._rows(values, rows_max))

    async def _rows(self, values: Row, rows_max: int) -> tuple[list[tuple[str, str]], list[Any]]:
        try:
            if self._connection is None or self._connection.is_closed():
                self._connection = await self._asyncpg.connect(self._url, timeout=_CONNECT_S)
            async with self._connection.transaction(readonly=True):
                statement = await self._connection.prepare(self._query)
                cursor = await statement.cursor(*[values[name] for name in self._names])
                found = await cursor.fetch(rows_max)
            columns = [(one.name, one.type.name) for one in statement.get_attributes()]
            return columns, [tuple(row) for row in found]
        except (self._asyncpg.PostgresConnectionError, OSError, TimeoutError) as error:
            lost, self._connection = self._connection, None
            if lost is not None:
                lost.terminate()
            raise NotServingError(f"The endpoint's database does not answer: {error}.") from None
        except (self._asyncpg.PostgresError, self._asyncpg.InterfaceError) as error:
            raise QueryError(f"The database refuses the query: {error}.") from None


class SqlEndpoint(Endpoint):
    """``query``: the query's members are the parameters."""

    actions = ("query",)

    def __init__(self, spec: SqlSpec, around: Surroundings) -> None:
        self._spec = spec
        self._database = _open(spec, around)

    def answer(self, action: str, query: Query) -> Any:
        wanted, given = set(self._spec.parameters), set(query)
        if wanted != given:
            raise QueryError(
                f"The query's parameters are {sorted(wanted)}, and {sorted(given)} were given."
            )
        bad = [name for name, value in query.items() if isinstance(value, dict | list)]
        if bad:
            raise QueryError(f"The parameter {bad[0]!r} is not a single value.")
        columns, rows = self._database.rows(query, self._spec.rows_max)
        return {
            "columns": [{"name": name, "type": kind} for name, kind in columns],
            "rows": [[None if cell is None else _text(cell) for cell in row] for row in rows],
        }


def _text(cell: Any) -> str:
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, bytes):
        return cell.hex()
    return cell.isoformat() if hasattr(cell, "isoformat") else str(cell)


def _open(spec: SqlSpec, around: Surroundings) -> Database:
    if spec.database:
        return Sqlite(str(around.content / spec.database), spec.query)
    url = around.connections.get(spec.connection)
    if url is None:
        raise LoadError(
            f"The endpoint {spec.id!r} needs the connection {spec.connection!r}: name it under "
            "[connections] in the node's configuration."
        )
    if urlsplit(url).scheme not in ("postgres", "postgresql"):
        raise LoadError(f"The connection {spec.connection!r} is not a postgresql:// URL.")
    return Postgres(url, spec.query, spec.parameters)
