"""The whole examination, in order; and what the doctor mends itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import msgspec

from holdfast.bmc.client import GatewayClient
from holdfast.bmc.commands import GatewayIdentity
from holdfast.bmc.errors import GatewayUnavailableError
from holdfast.errors import ConfigError, HoldfastError, NotFoundError
from holdfast.fleet.store import Fleet
from holdfast.ops.config import Loaded, Settings
from holdfast.ops.database import database_url
from holdfast.ops.datadir import DataDir
from holdfast.ops.doctor import broker, database, deployment, host
from holdfast.ops.doctor.finding import Finding, fail, ok, warn
from holdfast.ops.keys import SEALED
from holdfast.ops.planner.connections import Processes
from holdfast.store.keyring import MASTER_KEY_VARIABLE, Keyring
from holdfast.store.pg.database import Database
from holdfast.store.pg.epochs import PgEpochs, Raised
from holdfast.store.pg.keys import PgKeys
from holdfast.store.pg.members import PgMembers
from holdfast.store.pg.objects import PgObjects


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """A gateway that answers. ``highest``: the highest epoch it has seen."""

    identity: GatewayIdentity
    highest: int


async def examine(loaded: Loaded, datadir: DataDir, environ: Mapping[str, str]) -> list[Finding]:
    """Look at everything. Never raises for what it finds."""
    settings = loaded.settings
    found = [
        *host.configuration(loaded),
        *host.effective_user(datadir),
        *host.data_directory(datadir),
        *host.secrets(datadir, environ),
        *host.certificates(),
        *host.disk(datadir.root),
        *host.open_files(settings),
        *host.ports(settings),
    ]
    gateway = await _gateway(settings, datadir, found)
    found += await broker.examine(settings.broker.url)
    try:
        url = await database_url(settings, datadir)
        async with await Database.open(url, max=2) as db:
            await db.fetchval("select 1")
            found.append(ok("database", "it answers"))
            await _with_database(db, settings, datadir, environ, gateway, found)
    except HoldfastError as fault:
        found.append(
            fail(
                "database",
                fault.message,
                "start it (the embedded one runs under `holdfast up`), or correct [database] url",
            )
        )
    return found


async def _with_database(
    db: Database,
    settings: Settings,
    datadir: DataDir,
    environ: Mapping[str, str],
    gateway: Seen | None,
    found: list[Finding],
) -> None:
    embedded = not settings.database.url

    async def of_database() -> list[Finding]:
        return await database.examine(db, embedded=embedded, connections=connections(settings))

    async def of_members() -> list[Finding]:
        return deployment.members(await PgMembers(db).members())

    async def of_serving() -> list[Finding]:
        wanted = await Fleet(db).wanted()
        return deployment.serving(wanted.services, await PgMembers(db).members())

    async def of_epochs() -> list[Finding]:
        sequence = PgEpochs(db)
        last, used = await sequence.last(), await sequence.used()
        return [deployment.epochs(gateway.highest if gateway else 0, last, used)]

    async def of_gateways() -> list[Finding]:
        routes = await PgObjects(db, {}).gateways()
        return [deployment.gateways(routes, gateway.identity.id if gateway else None)]

    async def of_keys() -> list[Finding]:
        if not datadir.master_key.exists() and not environ.get(MASTER_KEY_VARIABLE):
            return []
        known = Keyring(datadir.master_key, environ).keys().ids()
        kept = PgKeys(db, SEALED)
        return deployment.keys(known, await kept.counts(), await kept.reports())

    for name, look in (
        ("database", of_database),
        ("members", of_members),
        ("serving", of_serving),
        ("epochs", of_epochs),
        ("gateways", of_gateways),
        ("sealed secrets", of_keys),
    ):
        found.extend(await _looked(name, look))


async def _looked(check: str, look: Callable[[], Awaitable[list[Finding]]]) -> list[Finding]:
    """One check; what keeps it from looking is a finding, too (a missing table, no right)."""
    try:
        return await look()
    except Exception as fault:  # noqa: BLE001 - a schema of another release fails in many ways
        return [
            fail(check, f"cannot be looked at: {fault}", "see the other findings; mend those first")
        ]


async def _gateway(settings: Settings, datadir: DataDir, found: list[Finding]) -> Seen | None:
    """The gateway, if it answers."""
    try:
        seen = await _asked(settings, datadir)
    except NotFoundError as fault:
        found.append(warn("gateway", fault.message, "start the system, then ask again"))
        return None
    except HoldfastError as fault:
        why = "does not answer" if isinstance(fault, GatewayUnavailableError) else fault.message
        found.append(
            fail(
                "gateway",
                f"{settings.rack.gateway_url}: {why}",
                "start it (role rack), or correct [rack] url, port or its gateway.secret",
            )
        )
        return None
    found.append(ok("gateway", f"it answers at {settings.rack.gateway_url}"))
    return seen


async def _asked(settings: Settings, datadir: DataDir) -> Seen:
    if not datadir.gateway_secret.exists():
        raise NotFoundError(f"there is no {datadir.gateway_secret} yet")
    if not settings.rack.url and not settings.rack.port:
        raise NotFoundError("its port is chosen at each start ([rack] port = 0)")
    secret = datadir.gateway_secret.read_text().strip()
    client = GatewayClient(settings.rack.gateway_url, secret)
    try:
        highest = int((await client.status())["highest"])
        return Seen(identity=await client.identity(), highest=highest)
    finally:
        await client.close()


async def fix_epochs(settings: Settings, datadir: DataDir) -> Raised:
    """Let the epoch sequence jump above the highest the gateway has seen.

    Raises ``ConfigError`` where the gateway cannot be asked, ``StoreUnavailableError``
    without a database.
    """
    seen = await _sure(settings, datadir)
    async with await Database.open(await database_url(settings, datadir), max=1) as db:
        epochs = PgEpochs(db)
        return await epochs.raise_above(max(seen.highest, await epochs.used()))


async def fix_gateway(settings: Settings, datadir: DataDir) -> int:
    """Give all BMCs to the gateway that is asked here; returns how many it did not have.

    Raises as ``fix_epochs``.
    """
    seen = await _sure(settings, datadir)
    async with await Database.open(await database_url(settings, datadir), max=1) as db:
        return await PgObjects(db, {}).move_routes(seen.identity.id, seen.identity.incarnation)


async def _sure(settings: Settings, datadir: DataDir) -> Seen:
    try:
        return await _asked(settings, datadir)
    except HoldfastError as fault:
        raise ConfigError(f"the gateway must answer for this: {fault.message}") from fault


def connections(settings: Settings) -> int:
    """What the processes of this host may open: pools, leases, wake-ups, the supervisor."""
    return Processes(
        hosts=1,
        conductors=settings.conductor.processes,
        apis=settings.api.processes,
        engines=settings.engine.processes,
        api_nodes=settings.apinode.processes,
        pool_max=settings.database.pool_max,
        pool_overflow=settings.engine.pool_overflow,
    ).connections()
