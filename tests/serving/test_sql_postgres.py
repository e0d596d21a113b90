"""An SQL endpoint on PostgreSQL: parameters bound, a lost connection made anew."""

from __future__ import annotations

import contextlib
from pathlib import Path

import asyncpg
import pytest
from tests.database import fresh_database_url

from holdfast.serving.endpoints.base import Surroundings
from holdfast.serving.endpoints.sql import SqlEndpoint
from holdfast.serving.errors import NotServingError, QueryError
from holdfast.serving.packages.manifest import SqlSpec

__all__ = ["fresh_database_url"]
QUERY = "SELECT g AS n, 'x' || g AS name FROM generate_series(1, :most::int) g WHERE g <> :not"


def endpoint(url: str, query: str = QUERY, **more: object) -> SqlEndpoint:
    told = {"parameters": ["most", "not"], "connection": "books", **more}
    spec = SqlSpec(id="q", query=query, **told)  # pyright: ignore[reportArgumentType]
    around = Surroundings(Path(), Path(), allow_pickle=False, connections={"books": url})
    return SqlEndpoint(spec, around)


async def run(made: SqlEndpoint, **query: object) -> dict[str, object]:
    import asyncio

    return await asyncio.to_thread(made.answer, "query", query)


async def test_rows_come_as_text_and_parameters_are_bound(fresh_database_url: str):
    made = endpoint(fresh_database_url)
    answer = await run(made, most=3, **{"not": 2})
    assert answer["rows"] == [["1", "x1"], ["3", "x3"]]
    assert answer["columns"] == [{"name": "n", "type": "int4"}, {"name": "name", "type": "text"}]
    with pytest.raises(QueryError, match="refuses"):
        await run(made, most="1; DROP TABLE x", **{"not": 2})
    assert len((await run(made, most=9, **{"not": 0}))["rows"]) == 9  # type: ignore[arg-type]


async def test_no_more_rows_than_said_and_none_is_changed(fresh_database_url: str):
    made = endpoint(fresh_database_url, rows_max=2)
    assert len((await run(made, most=50, **{"not": 0}))["rows"]) == 2  # type: ignore[arg-type]
    writing = endpoint(fresh_database_url, "CREATE TABLE t (n int)", parameters=[])
    with pytest.raises(QueryError):
        await run(writing)


async def test_a_lost_connection_is_made_anew(fresh_database_url: str):
    made = endpoint(fresh_database_url)
    await run(made, most=1, **{"not": 0})
    other = await asyncpg.connect(fresh_database_url)
    await other.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    await other.close()
    with contextlib.suppress(NotServingError):  # found only by asking; the next has a new one
        await run(made, most=1, **{"not": 0})
    assert (await run(made, most=1, **{"not": 0}))["rows"] == [["1", "x1"]]


async def test_a_database_that_does_not_answer_is_a_503():
    made = endpoint("postgresql://nobody@127.0.0.1:1/x")
    with pytest.raises(NotServingError) as raised:
        await run(made, most=1, **{"not": 0})
    assert raised.value.status == 503
