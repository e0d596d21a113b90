"""How alembic reaches the database: over the connection that ``store.pg.migrate`` made."""

from __future__ import annotations

from typing import Any

from alembic import context

connection: Any = context.config.attributes["connection"]
context.configure(connection=connection, version_table="schema_revision")
with context.begin_transaction():
    context.run_migrations()
