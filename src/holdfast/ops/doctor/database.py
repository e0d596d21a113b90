"""The database: there, new enough, durable, replicated, in step with our clock and schema."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Final

from holdfast.ops.doctor.finding import Finding, fail, ok, warn
from holdfast.store.pg import migrate
from holdfast.store.pg.database import Database, Row

VERSION_MIN: Final = 140000
SKEW_WARN_S: Final = 1.0
SKEW_FAIL_S: Final = 60.0
CONNECTIONS_SPARE: Final = 10

SETTINGS = """
select name, setting from pg_settings where name in (
    'server_version_num', 'fsync', 'synchronous_commit', 'full_page_writes',
    'synchronous_standby_names', 'max_connections')
"""
STANDBYS = "select application_name, state, sync_state from pg_stat_replication"
NOW = "select clock_timestamp()"


async def examine(db: Database, *, embedded: bool, connections: int) -> list[Finding]:
    """Everything about a database that answers. ``connections``: what our processes may open."""
    settings = {row["name"]: str(row["setting"]) for row in await db.fetch(SETTINGS)}
    standby = bool(await db.fetchval("select pg_is_in_recovery()"))
    return [
        version(int(settings["server_version_num"])),
        *([read_only()] if standby else []),
        *durability(settings),
        replication(settings, await db.fetch(STANDBYS), embedded=embedded),
        connections_left(int(settings["max_connections"]), connections),
        clock(*await _offset(db)),
        schema(await migrate.pending(db.dsn)),
    ]


async def _offset(db: Database) -> tuple[float, float]:
    """How far the database's clock is ahead of ours, and how exactly that is known (seconds)."""
    await db.fetchval(NOW)  # the connection is there
    before = time.time()
    theirs = float(await db.fetchval(NOW))
    after = time.time()
    return theirs - (before + after) / 2, (after - before) / 2


def version(number: int) -> Finding:
    """PostgreSQL 14 or later."""
    text = f"PostgreSQL {number // 10000}.{number % 10000}"
    if number < VERSION_MIN:
        return fail("database version", text, "upgrade it to 14 or later")
    return ok("database version", text)


def read_only() -> Finding:
    """A standby answers where the primary should."""
    return fail(
        "database role",
        "what answers is a standby, which cannot be written to",
        "point [database] url at the primary, or name all servers in it (host1:port,host2:port): "
        "the one that leads is found",
    )


def durability(settings: Mapping[str, str]) -> list[Finding]:
    """What was acknowledged is on disk."""
    found: list[Finding] = []
    for name, lost in (
        ("fsync", "a power cut may ruin the whole database"),
        ("full_page_writes", "a power cut may ruin pages of the database"),
        ("synchronous_commit", "a crash loses what was acknowledged last"),
    ):
        if settings.get(name) == "off":
            found.append(fail("durability", f"{name} is off: {lost}", f"set {name} = on"))
    if settings.get("synchronous_commit") == "local" and settings.get("synchronous_standby_names"):
        found.append(
            warn(
                "durability",
                "synchronous_commit is local: no commit waits for the standby",
                "set synchronous_commit = on (or remote_apply)",
            )
        )
    return found or [ok("durability", f"synchronous_commit = {settings['synchronous_commit']}")]


def replication(settings: Mapping[str, str], standbys: Sequence[Row], *, embedded: bool) -> Finding:
    """A failover must not lose what was acknowledged."""
    check = "replication"
    names = settings.get("synchronous_standby_names", "")
    if embedded:
        return warn(
            check,
            "the embedded database lives on this host alone: if the host is lost, so is all",
            "for high availability name a replicated PostgreSQL in [database] url",
        )
    if not names:
        return warn(
            check,
            "HA needs synchronous replication; a failover may lose acknowledged writes",
            "set synchronous_standby_names (Patroni: synchronous_mode: true)",
        )
    states = [row["sync_state"] for row in standbys]
    if states and all(state is None for state in states):
        return ok(check, f"synchronous_standby_names = {names} (its state is not for our eyes)")
    synchronous = sum(state in ("sync", "quorum") for state in states)
    if not synchronous:
        return fail(
            check,
            f"synchronous_standby_names = {names}, and no such standby is connected: commits wait",
            "start the standby, or take it out of synchronous_standby_names",
        )
    return ok(check, f"{synchronous} synchronous of {len(states)} standbys")


def connections_left(limit: int, wanted: int) -> Finding:
    """This host's processes fit; others' come on top."""
    text = f"this host's processes may open {wanted} of {limit} connections"
    if wanted + CONNECTIONS_SPARE > limit:
        return fail(
            "database connections",
            text,
            "raise max_connections, or lower database.pool_max or the numbers of processes",
        )
    return ok("database connections", text)


def clock(offset_s: float, known_to_s: float) -> Finding:
    """Ours against the database's, which judges leases. Only what is certain counts."""
    certain_s = max(0.0, abs(offset_s) - known_to_s)
    text = f"the database's is {offset_s:+.3f} s from this host's (known to {known_to_s:.3f} s)"
    advice = "keep both by NTP (chrony); times in answers, logs and tokens come from both"
    if certain_s >= SKEW_FAIL_S:
        return fail("clock", text, advice)
    if certain_s >= SKEW_WARN_S:
        return warn("clock", text, advice)
    return ok("clock", text)


def schema(pending: Sequence[str]) -> Finding:
    """Every migration of this release has been applied."""
    if pending:
        return fail(
            "schema",
            f"migrations are missing: {', '.join(pending)}",
            "run `holdfast migrate` (`holdfast up` does so by itself)",
        )
    return ok("schema", "up to date")
