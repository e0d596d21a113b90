"""Software configurations and deployments: documents that the API keeps for others to fetch.

What is in them may be secret (a script with a password in it), so it is sealed at rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast
from uuid import UUID, uuid4

import msgspec

from holdfast.errors import ConflictError, InvalidInputError
from holdfast.stacks.errors import EntityNotFoundError
from holdfast.stacks.pgstore import Sealing
from holdfast.stacks.service.reading import as_uuid
from holdfast.store.events import told
from holdfast.store.model import Json
from holdfast.store.pg.database import Connection, Database, Row
from holdfast.store.pg.events import record

TEXT_CHARS_MAX = 255
REASON_CHARS_MAX = 4_000

ADD_CONFIG = (
    "insert into software_config (id, project, name, grp, config) values ($1, $2, $3, $4, $5)"
)
ONE_CONFIG = "select * from software_config where id = $1 and project = $2"
CONFIGS = """
select * from software_config
 where project = $1
   and ($2::uuid is null or (created_at, id) > (
        select m.created_at, m.id from software_config m where m.id = $2))
 order by created_at, id limit $3
"""
DROP_CONFIG = "delete from software_config where id = $1 and project = $2"
ADD = """
insert into software_deployment (id, project, config, server, action, status, status_reason, data)
values ($1, $2, $3, $4, $5, $6, $7, $8)
"""
ONE = "select * from software_deployment where id = $1 and project = $2"
SET = """
update software_deployment
   set config = $3, action = $4, status = $5, status_reason = $6, data = $7,
       updated_at = clock_timestamp()
 where id = $1 and project = $2
"""
DROP = "delete from software_deployment where id = $1 and project = $2"
MANY = """
select * from software_deployment
 where project = $1 and ($2::text is null or server = $2) order by created_at, id limit $3
"""
OF_SERVER = """
select c.* from software_deployment d join software_config c on c.id = d.config
 where d.project = $1 and d.server = $2 order by c.name, d.created_at
"""


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """A configuration; ``content``: config, inputs, outputs and options."""

    id: UUID
    project: str
    name: str
    group: str
    content: dict[str, Json]
    created_at: float


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """A configuration on a server."""

    id: UUID
    config: UUID | None
    server: str
    action: str | None
    status: str | None
    status_reason: str | None
    input_values: dict[str, Json]
    output_values: dict[str, Json]
    created_at: float
    updated_at: float | None


class Software:
    """Keeps and hands out configurations and deployments of one project at a time."""

    def __init__(self, db: Database, vault: Sealing, page_max: int) -> None:
        self._db = db
        self._vault = vault
        self._page_max = page_max

    async def add_config(self, project: str, given: Mapping[str, Json]) -> Config:
        """A new configuration. Raises ``InvalidInputError``."""
        config = Config(
            id=uuid4(),
            project=project,
            name=_text(given, "name") or "",
            group=_text(given, "group") or "Heat::Ungrouped",
            content={
                "config": _config_text(given.get("config")),
                "inputs": _list_of_maps(given, "inputs"),
                "outputs": _list_of_maps(given, "outputs"),
                "options": _map(given, "options"),
            },
            created_at=0.0,
        )
        sealed = self._sealed(config.id, config.content)

        async def work(conn: Connection) -> None:
            await conn.execute(ADD_CONFIG, config.id, project, config.name, config.group, sealed)
            await _audit(conn, "software_config.create", config.id, project)

        await self._db.run(work)
        return await self.config(project, str(config.id))

    async def config(self, project: str, ident: str) -> Config:
        """One configuration. Raises ``EntityNotFoundError``."""
        row = await self._db.fetchrow(ONE_CONFIG, _id("Software Config", ident), project)
        if row is None:
            raise _missing("Software Config", ident)
        return self._config(row)

    async def configs(self, project: str, limit: int | None, marker: str | None) -> list[Config]:
        """A page of them, the oldest first."""
        after = None if marker is None else _id("Software Config", marker)
        size = min(limit or self._page_max, self._page_max)
        return [self._config(row) for row in await self._db.fetch(CONFIGS, project, after, size)]

    async def drop_config(self, project: str, ident: str) -> None:
        """Raises ``EntityNotFoundError``, or ``InvalidInputError`` while it is deployed."""
        key = _id("Software Config", ident)

        async def work(conn: Connection) -> None:
            if not await conn.execute(DROP_CONFIG, key, project):
                raise _missing("Software Config", ident)
            await _audit(conn, "software_config.delete", key, project)

        try:
            await self._db.run(work)
        except ConflictError as fault:
            if fault.details.get("kind") != "reference":
                raise
            raise InvalidInputError(
                f"Software config with id {ident} can not be deleted as it is referenced "
                "by deployments: delete those first."
            ) from None

    async def for_server(self, project: str, server: str) -> list[Config]:
        """The configurations deployed to a server, by name."""
        return [self._config(row) for row in await self._db.fetch(OF_SERVER, project, server)]

    async def add(self, project: str, given: Mapping[str, Json]) -> Deployment:
        """Deploy a configuration to a server."""
        key, config = uuid4(), await self._config_id(project, given)
        server = _text(given, "server_id")
        if not server:
            raise InvalidInputError("server_id must be specified")
        values = {"input_values": _map(given, "input_values"), "output_values": {}}

        async def work(conn: Connection) -> None:
            await conn.execute(
                ADD,
                key,
                project,
                config,
                server,
                _text(given, "action"),
                _text(given, "status"),
                _text(given, "status_reason", REASON_CHARS_MAX),
                self._sealed(key, values),
            )
            await _audit(conn, "software_deployment.create", key, project)

        await self._db.run(work)
        return await self.one(project, str(key))

    async def one(self, project: str, ident: str) -> Deployment:
        """One deployment. Raises ``EntityNotFoundError``."""
        row = await self._db.fetchrow(ONE, _id("Software Deployment", ident), project)
        if row is None:
            raise _missing("Software Deployment", ident)
        return self._deployment(row)

    async def many(self, project: str, server: str | None) -> list[Deployment]:
        """All of a project, or of one server."""
        rows = await self._db.fetch(MANY, project, server, self._page_max)
        return [self._deployment(row) for row in rows]

    async def change(self, project: str, ident: str, given: Mapping[str, Json]) -> Deployment:
        """Set what is given."""
        key = _id("Software Deployment", ident)

        async def work(conn: Connection) -> None:
            row = await conn.fetchrow(f"{ONE} for update", key, project)
            if row is None:
                raise _missing("Software Deployment", ident)
            old = self._deployment(row)
            config = await self._config_id(project, given) if given.get("config_id") else old.config
            values = {
                name: _map(given, name) if given.get(name) is not None else getattr(old, name)
                for name in ("input_values", "output_values")
            }
            await conn.execute(
                SET,
                key,
                project,
                config,
                _text(given, "action") or old.action,
                _text(given, "status") or old.status,
                _text(given, "status_reason", REASON_CHARS_MAX) or old.status_reason,
                self._sealed(key, values),
            )
            await _audit(conn, "software_deployment.update", key, project)

        await self._db.run(work)
        return await self.one(project, ident)

    async def drop(self, project: str, ident: str) -> None:
        """Raises ``EntityNotFoundError``."""
        key = _id("Software Deployment", ident)

        async def work(conn: Connection) -> None:
            if not await conn.execute(DROP, key, project):
                raise _missing("Software Deployment", ident)
            await _audit(conn, "software_deployment.delete", key, project)

        await self._db.run(work)

    async def _config_id(self, project: str, given: Mapping[str, Json]) -> UUID | None:
        ident = _text(given, "config_id")
        return None if ident is None else (await self.config(project, ident)).id

    def _sealed(self, key: UUID, content: Mapping[str, Json]) -> bytes:
        return self._vault.encrypt(msgspec.json.encode(content), _context(key))

    def _opened(self, key: UUID, blob: bytes) -> dict[str, Json]:
        return msgspec.json.decode(self._vault.decrypt(blob, _context(key)), type=dict[str, Json])

    def _config(self, row: Row) -> Config:
        return Config(
            id=row["id"],
            project=row["project"],
            name=row["name"],
            group=row["grp"],
            content=self._opened(row["id"], row["config"]),
            created_at=row["created_at"],
        )

    def _deployment(self, row: Row) -> Deployment:
        return Deployment(
            id=row["id"],
            config=row["config"],
            server=row["server"],
            action=row["action"],
            status=row["status"],
            status_reason=row["status_reason"],
            created_at=row["created_at"],
            updated_at=row["updated_at"],
            **self._opened(row["id"], row["data"]),
        )


def _context(key: UUID) -> bytes:
    return b"software:" + key.bytes


async def _audit(conn: Connection, what: str, key: UUID, project: str) -> None:
    kind = what.partition(".")[0]
    await record(conn, told(f"audit.{what}", (kind, key), projects=(project,), result="ok"))


def _id(what: str, ident: str) -> UUID:
    found = as_uuid(ident)
    if found is None:
        raise _missing(what, ident)
    return found


def _missing(what: str, ident: str) -> EntityNotFoundError:
    return EntityNotFoundError(f"The {what} ({ident}) could not be found.")


def _text(given: Mapping[str, Json], name: str, chars_max: int = TEXT_CHARS_MAX) -> str | None:
    value = given.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > chars_max:
        raise InvalidInputError(f"{name} must be a text of at most {chars_max} characters")
    return value


def _config_text(value: Json) -> Json:
    if value is not None and not isinstance(value, str | dict):
        raise InvalidInputError("config must be a text or a map")
    return cast("Json", value)


def _map(given: Mapping[str, Json], name: str) -> dict[str, Json]:
    value = given.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidInputError(f"{name} must be a map")
    return cast("dict[str, Json]", value)


def _list_of_maps(given: Mapping[str, Json], name: str) -> list[Json]:
    value = given.get(name)
    if value is None:
        return []
    if not isinstance(value, list) or not all(
        isinstance(one, dict) and "name" in one for one in cast("list[Json]", value)
    ):
        raise InvalidInputError(f"{name} must be a list of maps, each with a name")
    return cast("list[Json]", value)
