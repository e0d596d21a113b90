"""The database's findings: each setting that loses data, each delay, each gap."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import pytest
from tests.database import create_database, drop_database, fresh_database_url  # noqa: F401

from holdfast.ops.doctor import database
from holdfast.ops.doctor.finding import Level
from holdfast.store.pg.database import Database

GOOD = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}


@pytest.fixture
async def db(fresh_database_url: str) -> AsyncGenerator[Database]:  # noqa: F811
    async with await Database.open(fresh_database_url, max=2) as opened:
        yield opened


async def test_a_real_database_is_examined_in_every_respect(db: Database):
    """The tests' server has fsync off, and so has something to be found."""
    found = {f.check: f for f in await database.examine(db, embedded=True, connections=48)}
    assert set(found) == {
        *("database version", "durability", "replication"),
        *("database connections", "clock", "schema"),
    }
    assert found["database version"].level is Level.OK
    assert found["durability"].level is Level.FAIL
    assert found["replication"].level is Level.WARN
    assert found["clock"].level is Level.OK
    assert found["schema"].level is Level.OK


async def test_missing_migrations_are_named():
    dsn = await create_database(template="template1")
    async with await Database.open(dsn, max=2) as empty:
        found = {f.check: f for f in await database.examine(empty, embedded=True, connections=1)}
    await drop_database(dsn)
    assert found["schema"].level is Level.FAIL
    assert "0001_core_pre" in found["schema"].found
    assert "holdfast migrate" in found["schema"].advice


@pytest.mark.parametrize("name", ["fsync", "full_page_writes", "synchronous_commit"])
def test_what_loses_acknowledged_writes_fails(name: str):
    [finding] = database.durability({**GOOD, name: "off"})
    assert finding.level is Level.FAIL
    assert finding.advice == f"set {name} = on"
    assert database.durability(GOOD)[0].level is Level.OK


def test_a_commit_that_waits_for_no_standby_is_warned_of():
    settings = {**GOOD, "synchronous_commit": "local", "synchronous_standby_names": "*"}
    assert database.durability(settings)[0].level is Level.WARN


@pytest.mark.parametrize(
    ("names", "states", "level"),
    [
        ("", [], Level.WARN),
        ("", ["async"], Level.WARN),
        ("*", ["sync"], Level.OK),
        ("ANY 1 (b, c)", ["quorum", "quorum"], Level.OK),
        ("*", ["async"], Level.FAIL),
        ("*", [], Level.FAIL),
        ("*", [None], Level.OK),  # seen only by pg_monitor
    ],
)
def test_high_availability_needs_synchronous_replication(
    names: str, states: list[str | None], level: Level
):
    rows: list[Any] = [{"sync_state": state} for state in states]
    finding = database.replication({"synchronous_standby_names": names}, rows, embedded=False)
    assert finding.level is level
    if not names:
        assert "HA needs synchronous replication" in finding.found


@pytest.mark.parametrize(
    ("offset_s", "known_to_s", "level"),
    [
        (0.1, 0.001, Level.OK),
        (3.0, 2.5, Level.OK),  # a slow network is no skew
        (-3.0, 0.001, Level.WARN),
        (3600.0, 0.1, Level.FAIL),
    ],
)
def test_only_a_certain_difference_of_clocks_counts(
    offset_s: float, known_to_s: float, level: Level
):
    assert database.clock(offset_s, known_to_s).level is level


def test_versions_connections_and_standbys():
    assert database.version(140010).level is Level.OK
    assert database.version(130022).level is Level.FAIL
    assert database.connections_left(100, 90).level is Level.OK
    assert database.connections_left(100, 91).level is Level.FAIL
    assert database.read_only().level is Level.FAIL
