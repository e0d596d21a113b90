"""The schema as SQL files, and the alembic revisions that apply them in order.

``NNNN_name_pre.sql`` only adds (the last release runs on beside it); ``NNNN_name_post.sql``
takes away what no running release needs any more. Their revisions are the branches
``pre`` and ``post``; a post revision depends on the pre revision of the same change.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alembic import op

HERE = Path(__file__).parent


def apply(name: str) -> None:
    """Run one SQL file, of any number of statements, in the migration's transaction."""
    text = (HERE / name).read_text(encoding="utf-8")
    bind = op.get_bind()
    bind.exec_driver_sql("select 1")  # the transaction is there before the driver is used
    driver: Any = bind.connection.dbapi_connection

    def run(raw: Any) -> Any:
        return raw.execute(text)

    driver.run_async(run)
