from __future__ import annotations

import pytest
from sqlalchemy import Table

from holdfast.baremetal.models import KINDS, METADATA, NODE
from holdfast.store.pg.database import Database

COLUMNS = """
select column_name, data_type from information_schema.columns
 where table_name = $1 and table_schema = 'public'
"""

PYTHON = {
    "ARRAY": "list",
    "bigint": "int",
    "boolean": "bool",
    "bytea": "bytes",
    "integer": "int",
    "jsonb": "object",
    "text": "str",
    "timestamp with time zone": "datetime",
    "uuid": "UUID",
}


@pytest.mark.parametrize("table", METADATA.tables.values(), ids=str)
async def test_the_query_builder_knows_the_migrated_columns_and_their_types(
    db: Database, table: Table
):
    migrated = {
        row["column_name"]: PYTHON[row["data_type"]] for row in await db.fetch(COLUMNS, table.name)
    }
    known = {column.name: column.type.python_type.__name__ for column in table.columns}
    assert known == migrated


def test_the_core_sees_nodes_with_every_column():
    assert set(KINDS["node"].columns) == {column.name for column in NODE.columns}
