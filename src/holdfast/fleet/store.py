"""The tables: what is wanted, what is told, and the steps of a rollout.

Every step names its rollout and does nothing once another one has begun.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final
from uuid import UUID

import msgspec

from holdfast.errors import ConflictError
from holdfast.fleet.model import Actual, Generation, NodeView, Service, Wanted
from holdfast.store.pg.database import Connection, Database, Row

ROLE: Final = "apinode"
"""The role of members that are API nodes."""

KEPT_DAYS: Final = 30
"""How long something deleted stays as a row: a node that was away for longer keeps it."""

_GENERATION: Final = "id, project, url, sha256, deleted_at"
_SERVICE: Final = (
    "id, project, name, generation, next, moved, rollout, failure, zones, keys, deleted_at"
)
GENERATIONS = f"select {_GENERATION} from serving_generation"  # noqa: S608
SERVICES = f"select {_SERVICE} from serving_service"  # noqa: S608
REPORT = """
insert into serving_actual (node, epoch, state) values ($1, $2, $3)
on conflict (node) do update
   set epoch = excluded.epoch, state = excluded.state, at = clock_timestamp()
"""
NODES = """
select m.id, m.slot, m.host, m.zone, a.state as actual
  from member m left join serving_actual a on a.node = m.id and a.epoch = m.epoch
 where m.role = $1 and m.state = 'up' order by m.zone, m.slot, m.id
"""
ADD_GENERATION = """
insert into serving_generation (id, project, url, sha256) values ($1, $2, $3, $4)
on conflict (id) do nothing
"""
USED = """
select name from serving_service where deleted_at is null and (generation = $1 or next = $1)
"""
ADD_SERVICE = """
insert into serving_service (id, project, name, generation, rollout, zones, keys)
values ($1, $2, $3, $4, $5, $6, $7) on conflict (id) do nothing
"""
# A rollout that is overtaken begins anew: what it had moved goes back first.
BEGIN = """
update serving_service
   set zones = $3, keys = $4, rollout = $5, failure = null,
       moved = case when next = $2 then moved else '{}' end,
       next = nullif($2, generation)
 where id = $1 and rollout <> $5 and deleted_at is null
"""
MOVE = """
update serving_service set moved = array(select distinct unnest(moved || $3::uuid[]))
 where id = $1 and rollout = $2 and next is not null
"""
FINISH = """
update serving_service set generation = next, next = null, moved = '{}'
 where id = $1 and rollout = $2 and next is not null
"""
ROLL_BACK = """
update serving_service set next = null, moved = '{}', failure = $3
 where id = $1 and rollout = $2 and failure is null
"""
PRUNE = (
    f"delete from serving_service where deleted_at < now() - interval '{KEPT_DAYS} days'",  # noqa: S608
    f"delete from serving_generation g where deleted_at < now() - interval '{KEPT_DAYS} days' "  # noqa: S608
    "and not exists "
    "(select from serving_service s where s.generation = g.id or s.next = g.id)",
    "delete from serving_actual a where at < now() - interval '1 day' and not exists "
    "(select from member m where m.id = a.node and m.state <> 'gone')",
)


class Fleet:
    """What is wanted of API nodes, in the database."""

    def __init__(self, db: Database) -> None:
        self._db = db

    # ---- for nodes -----------------------------------------------------------------------------

    async def wanted(self) -> Wanted:
        """All of it, however little has changed."""
        generations = await self._db.fetch(GENERATIONS)
        services = await self._db.fetch(SERVICES)
        return Wanted(
            generations=tuple(_generation(row) for row in generations),
            services=tuple(_service(row) for row in services),
        )

    async def report(self, node: UUID, epoch: int, actual: Actual) -> None:
        await self._db.execute(REPORT, node, epoch, msgspec.to_builtins(actual))

    # ---- for whoever rolls out -----------------------------------------------------------------

    async def nodes(self) -> list[NodeView]:
        """The API nodes that live and do not leave."""
        found = await self._db.fetch(NODES, ROLE)
        return [msgspec.convert(dict(row.items()), NodeView) for row in found]

    async def generation(self, ident: UUID) -> Generation | None:
        row = await self._db.fetchrow(f"{GENERATIONS} where id = $1 and deleted_at is null", ident)
        return None if row is None else _generation(row)

    async def add_generation(self, one: Generation) -> None:
        """Have all nodes fetch it; twice is once."""
        await self._db.execute(ADD_GENERATION, one.id, one.project, one.url, one.sha256)

    async def drop_generation(self, ident: UUID) -> None:
        """Have no node keep it; raises ``ConflictError`` while a service needs it."""

        async def work(conn: Connection) -> None:
            # Who makes a service need it holds its row meanwhile, by the foreign key.
            await conn.execute("select id from serving_generation where id = $1 for update", ident)
            if (name := await conn.fetchval(USED, ident)) is not None:
                raise ConflictError(f"the service {name} still has this generation")
            await conn.execute(
                "update serving_generation set deleted_at = now() "
                "where id = $1 and deleted_at is null",
                ident,
            )

        await self._db.run(work)

    async def service(self, ident: UUID) -> Service | None:
        row = await self._db.fetchrow(f"{SERVICES} where id = $1 and deleted_at is null", ident)
        return None if row is None else _service(row)

    async def add_service(self, one: Service) -> None:
        """Have it served; twice is once. Raises ``ConflictError`` if the name is taken."""
        try:
            await self._db.execute(
                ADD_SERVICE,
                *(one.id, one.project, one.name, one.generation, one.rollout),
                *(list(one.zones), one.keys),
            )
        except ConflictError as fault:
            if fault.details.get("kind") != "duplicate":
                raise
            raise ConflictError(
                f"the API nodes serve another service called {one.name!r} already: "
                "give this one another name"
            ) from None

    async def begin(
        self,
        ident: UUID,
        rollout: str,
        generation: UUID,
        zones: Collection[str],
        keys: Mapping[str, str],
    ) -> None:
        """Begin to roll out this generation, unless this very rollout was begun before."""
        await self._db.execute(BEGIN, ident, generation, list(zones), dict(keys), rollout)

    async def move(self, ident: UUID, rollout: str, nodes: Sequence[UUID]) -> None:
        """Let these nodes, too, have what is rolled out."""
        await self._db.execute(MOVE, ident, rollout, list(nodes))

    async def finish(self, ident: UUID, rollout: str) -> None:
        """It is the generation of all nodes, those to come as well."""
        await self._db.execute(FINISH, ident, rollout)

    async def roll_back(self, ident: UUID, rollout: str, reason: str) -> None:
        """All nodes shall have what they had before."""
        await self._db.execute(ROLL_BACK, ident, rollout, reason)

    async def drop_service(self, ident: UUID) -> None:
        """Have it served no more; twice is once."""
        await self._db.execute(
            "update serving_service set deleted_at = now() where id = $1 and deleted_at is null",
            ident,
        )
        for statement in PRUNE:
            await self._db.execute(statement)


def _generation(row: Row) -> Generation:
    return msgspec.convert(dict(row.items()), Generation)


def _service(row: Row) -> Service:
    return msgspec.convert(dict(row.items()), Service)
