"""Where the database is, for commands that look after a deployment from outside."""

from __future__ import annotations

import asyncio

from holdfast.errors import ConfigError
from holdfast.ops.config import Settings
from holdfast.ops.datadir import DataDir
from holdfast.store.embedded import EmbeddedPostgres


async def database_url(settings: Settings, datadir: DataDir) -> str:
    """The configured database, else the one embedded in the data directory.

    Makes none: raises ``ConfigError`` where no system was ever started.
    """
    if settings.database.url:
        return settings.database.url
    if not (datadir.postgres / "data").is_dir():
        raise ConfigError(
            f"no [database] url is set, and {datadir.root} holds no embedded database; "
            "name the data directory (HOLDFAST_DATA_DIR), or start the system with `holdfast up`"
        )
    embedded = await asyncio.to_thread(EmbeddedPostgres.prepare, datadir.root)
    return embedded.dsn
