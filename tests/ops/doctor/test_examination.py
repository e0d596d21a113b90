"""The whole examination: one thing that is broken hides nothing else; epochs are mended."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path
from uuid import uuid4

import pytest
from aiohttp import web
from tests.database import fresh_database_url  # noqa: F401

from holdfast.bmc import server
from holdfast.bmc.gateway import GatewayCore
from holdfast.bmc.memory import SqliteMemory
from holdfast.bmc.metrics import GatewayMetrics
from holdfast.bmc.settings import BmcSettings
from holdfast.errors import ConfigError
from holdfast.ops.config import Loaded, Settings
from holdfast.ops.datadir import DataDir
from holdfast.ops.doctor import Finding, Level, examine, fix_epochs, fix_gateway
from holdfast.ops.settings import (
    ApiSettings,
    DatabaseSettings,
    RackSettings,
    SupervisorSettings,
)
from holdfast.store.pg.database import Database
from holdfast.store.pg.epochs import PgEpochs

SEEN = 777_000


def settings(url: str = "", rack_port: int = 0) -> Settings:
    return Settings(
        database=DatabaseSettings(url=url),
        api=ApiSettings(port=0),
        rack=RackSettings(port=rack_port),
        supervisor=SupervisorSettings(port=0),
    )


async def found(datadir: DataDir, given: Settings) -> dict[str, Finding]:
    loaded = Loaded(settings=given, file=None, entries={})
    return {finding.check: finding for finding in await examine(loaded, datadir, {})}


@pytest.fixture
def datadir(tmp_path: Path) -> DataDir:
    return DataDir(tmp_path / "data").prepare()


@pytest.fixture
async def gateway(datadir: DataDir) -> AsyncGenerator[int]:
    """A gateway on a port that has seen an epoch far above what the database has drawn."""
    memory = SqliteMemory(datadir.gateway_state)
    core = await GatewayCore.open(memory=memory, device=Nothing(), unseal=memory.unseal)
    me = await core.identity()
    await core.floor(uuid4(), incarnation=me.incarnation, term=SEEN - 1, floor=SEEN)
    secret = datadir.secret(datadir.gateway_secret)
    app = server.GatewayApp(core, GatewayMetrics(), secret, BmcSettings()).app
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield int(runner.addresses[0][1])
    await runner.cleanup()
    await core.close(0.1)
    await memory.close()


class Nothing:
    """A device that is never asked."""

    async def execute(self, command: object, secrets: object) -> dict[str, object]:
        raise AssertionError


async def test_a_database_that_is_away_hides_nothing_else(datadir: DataDir):
    given = settings("postgresql://nobody@127.0.0.1:1/nothing")
    seen = await found(datadir, given)
    assert seen["database"].level is Level.FAIL
    assert seen["data directory"].level is Level.OK
    assert seen["gateway"].level is Level.WARN
    assert {"disk", "open files", "certificates"} <= set(seen)


async def test_what_is_not_well_says_what_to_do(datadir: DataDir, fresh_database_url: str):  # noqa: F811
    seen = await found(datadir, settings(fresh_database_url))
    assert {"schema", "clock", "replication", "members", "epochs"} <= set(seen)
    for finding in seen.values():
        assert bool(finding.advice) == (finding.level is not Level.OK), finding


async def test_a_schema_of_another_release_is_a_finding_and_no_crash(
    datadir: DataDir,
    fresh_database_url: str,  # noqa: F811
):
    async with await Database.open(fresh_database_url, max=1) as db:
        await db.execute("drop table bmc_route")
    seen = await found(datadir, settings(fresh_database_url))
    assert seen["epochs"].level is Level.FAIL
    assert "bmc_route" in seen["epochs"].found
    assert seen["members"].level is Level.WARN


async def test_epochs_below_what_the_gateway_has_seen_are_found_and_mended(
    datadir: DataDir,
    gateway: int,
    fresh_database_url: str,  # noqa: F811
):
    given = settings(fresh_database_url, gateway)
    seen = await found(datadir, given)
    assert seen["gateway"].level is Level.OK
    assert seen["epochs"].level is Level.FAIL
    assert str(SEEN) in seen["epochs"].found
    raised = await fix_epochs(given, datadir)
    assert raised.last > SEEN
    async with await Database.open(fresh_database_url, max=1) as db:
        assert await PgEpochs(db).last() > SEEN
    assert (await found(datadir, given))["epochs"].level is Level.OK


async def test_epochs_are_not_mended_without_the_gateways_word(
    datadir: DataDir,
    fresh_database_url: str,  # noqa: F811
):
    with pytest.raises(ConfigError, match="gateway must answer"):
        await fix_epochs(settings(fresh_database_url, 1), datadir)


async def test_bmcs_of_a_gateway_that_is_gone_are_found_and_given_to_the_one_here(
    datadir: DataDir,
    gateway: int,
    fresh_database_url: str,  # noqa: F811
):
    given = settings(fresh_database_url, gateway)
    assert (await found(datadir, given))["gateways"].level is Level.OK
    async with await Database.open(fresh_database_url, max=1) as db:
        await db.execute(
            "insert into bmc_route values ('node', $1, $2, $2, 7), ('node', $2, $1, $2, 8)",
            uuid4(),
            uuid4(),
        )
        assert (await found(datadir, given))["gateways"].level is Level.FAIL
        assert await fix_gateway(given, datadir) == 2
        assert (await found(datadir, given))["gateways"].level is Level.OK
        assert await fix_gateway(given, datadir) == 0
