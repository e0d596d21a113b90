"""The embedded PostgreSQL: private, durable, and back after its postmaster is killed."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

import asyncpg
import pytest

from holdfast.errors import ConfigError, StoreUnavailableError
from holdfast.store import accounts, binaries, embedded
from holdfast.store.embedded import SOCKET_NAME, EmbeddedPostgres
from holdfast.store.pg.database import Database
from holdfast.store.pg.notify import PgWaker

ROOT = os.geteuid() == 0
ALL = [None, *binaries.bundled()]  # installed, or else the wheel's; and each of the wheel's


@pytest.fixture
def home() -> Generator[Path]:
    """A data directory that a user of the database's own can reach, unlike ``tmp_path``."""
    folder = Path(tempfile.mkdtemp(prefix="hf-"))
    folder.chmod(0o755)
    yield folder / "data"
    shutil.rmtree(folder)


@pytest.fixture(autouse=True)
def quick_initdb(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is made here need not survive a power cut."""
    monkeypatch.setattr(embedded, "INITDB_OPTIONS", (*embedded.INITDB_OPTIONS, "--no-sync"))


def spawn(postgres: EmbeddedPostgres) -> subprocess.Popen[str]:
    """As a supervisor does."""
    return subprocess.Popen(postgres.argv, stderr=subprocess.DEVNULL, **postgres.spawn_options)


@contextmanager
def running(postgres: EmbeddedPostgres) -> Generator[subprocess.Popen[str]]:
    process = spawn(postgres)
    try:
        yield process
    finally:
        process.send_signal(postgres.stop_signal)
        assert process.wait(30) is not None


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait(30)


async def restarted(home: Path) -> tuple[EmbeddedPostgres, subprocess.Popen[str]]:
    """As a supervisor does: prepare and spawn until it stays, for old backends may linger."""
    async with asyncio.timeout(30):
        while True:
            postgres = EmbeddedPostgres.prepare(home)
            process = spawn(postgres)
            ready = asyncio.create_task(postgres.wait_ready())
            ended = asyncio.create_task(asyncio.to_thread(process.wait))
            await asyncio.wait({ready, ended}, return_when=asyncio.FIRST_COMPLETED)
            if ready.done():
                await ready
                return postgres, process
            ready.cancel()


@pytest.mark.parametrize("folder", ALL, ids=lambda f: f.parent.name if f else "found")
async def test_a_cluster_is_made_once_and_kept(home: Path, folder: Path | None):
    first = EmbeddedPostgres.prepare(home, folder=folder)
    with running(first) as process:
        await first.wait_ready()
        assert first.running_pid() == process.pid
        async with await Database.open(first.dsn) as db:
            await db.execute("create table kept (n integer)")
            row = await db.fetchrow(
                "select current_user, usesuper, current_setting('fsync') as fsync,"
                " current_setting('synchronous_commit') as sync,"
                " current_setting('max_connections')::integer as slots,"
                " current_setting('data_checksums') as checksums"
                " from pg_user where usename = current_user"
            )
            assert row is not None
            assert tuple(row.values()) == ("holdfast", False, "on", "on", 200, "on")
    assert first.running_pid() is None

    second = EmbeddedPostgres.prepare(home, folder=folder)
    assert second == first
    with running(second):
        await second.wait_ready()
        async with await Database.open(second.dsn) as db:
            assert await db.fetchval("select count(*) from kept") == 0


async def test_it_comes_back_after_its_postmaster_was_killed(home: Path):
    postgres = EmbeddedPostgres.prepare(home)
    process = spawn(postgres)
    await postgres.wait_ready()
    async with await Database.open(postgres.dsn) as db, PgWaker(postgres.dsn) as waker:
        await waker.listening.wait()
        await db.execute("create table kept (n integer)")
        await db.execute("insert into kept values (1)")
        kill(process)
        with suppress(StoreUnavailableError):
            await db.fetchval("select 1")
        again, process = await restarted(home)
        try:
            assert again.dsn == postgres.dsn
            async with asyncio.timeout(10):  # the same pool, and the same listener
                while True:
                    with suppress(StoreUnavailableError):
                        assert await db.fetchval("select n from kept") == 1
                        break
                await waker.listening.wait()
        finally:
            process.send_signal(again.stop_signal)
            process.wait(30)


def spawn_stranger(postgres: EmbeddedPostgres) -> subprocess.Popen[str]:
    return subprocess.Popen(["cat"], stdin=subprocess.PIPE, **postgres.spawn_options)


async def test_a_lock_file_that_names_a_living_stranger_does_not_stop_it(home: Path):
    postgres = EmbeddedPostgres.prepare(home)
    process = spawn(postgres)
    await postgres.wait_ready()
    kill(process)
    stranger = spawn_stranger(postgres)
    try:
        lock = postgres.data / "postmaster.pid"
        old = lock.read_text().split("\n", 1)
        lock.write_text(f"{stranger.pid}\n{old[1]}")
        assert postgres.running_pid() is None
        again, process = await restarted(home)
        process.send_signal(again.stop_signal)
        process.wait(30)
    finally:
        stranger.kill()
        stranger.wait()


async def test_only_the_password_opens_it_and_only_on_its_socket(home: Path):
    postgres = EmbeddedPostgres.prepare(home)
    password = home / "postgres.password"
    assert stat.S_IMODE(password.stat().st_mode) == 0o600
    assert stat.S_IMODE(postgres.sockets.stat().st_mode) == 0o700
    assert stat.S_IMODE(postgres.data.stat().st_mode) == 0o700
    if ROOT:
        assert postgres.account.uid == postgres.data.stat().st_uid != 0
    with running(postgres) as process:
        await postgres.wait_ready()
        secret = password.read_text().strip()
        for dsn in (postgres.dsn, postgres.admin_dsn):
            with pytest.raises(asyncpg.InvalidPasswordError):
                await asyncpg.connect(dsn.replace(secret, "wrong"))
        assert listening_sockets(process.pid) == []
        argv = Path(f"/proc/{process.pid}/cmdline").read_bytes()
        environ = Path(f"/proc/{process.pid}/environ").read_bytes()
        assert secret.encode() not in argv + environ


def listening_sockets(pid: int) -> list[str]:
    """Addresses of the TCP sockets on which the process listens."""
    inodes = {link.stat().st_ino for link in Path(f"/proc/{pid}/fd").iterdir() if link.exists()}
    found: list[str] = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and int(fields[9]) in inodes:
                found.append(fields[1])
    return found


def test_listening_sockets_are_found():
    """The check above can fail."""
    with socket.create_server(("127.0.0.1", 0)):
        assert len(listening_sockets(os.getpid())) >= 1


async def test_a_long_path_gets_its_socket_elsewhere_as_private(home: Path):
    postgres = EmbeddedPostgres.prepare(home / ("x" * 90))
    try:
        assert len(os.fsencode(postgres.sockets / SOCKET_NAME)) <= 107
        assert stat.S_IMODE(postgres.sockets.stat().st_mode) == 0o700
        with running(postgres):
            await postgres.wait_ready()
    finally:
        shutil.rmtree(postgres.sockets)


def test_a_socket_folder_that_somebody_else_made_is_refused(home: Path):
    home.mkdir()
    (home / "postgres").symlink_to("/")
    with pytest.raises(ConfigError, match="somebody else"):
        EmbeddedPostgres.prepare(home)


@pytest.mark.parametrize("lost", ["postgres.password"])
def test_what_cannot_be_made_again_is_not_made_again(home: Path, lost: str):
    EmbeddedPostgres.prepare(home)
    (home / lost).unlink()
    with pytest.raises(ConfigError, match="restore"):
        EmbeddedPostgres.prepare(home)


def test_half_a_cluster_is_not_taken_for_one(home: Path):
    (home / "postgres" / "data.new" / "base").mkdir(parents=True)
    postgres = EmbeddedPostgres.prepare(home)
    assert (postgres.data / "PG_VERSION").exists()
    assert not (home / "postgres" / "data.new").exists()


def test_a_cluster_of_a_version_that_is_not_there_says_what_to_do(home: Path):
    postgres = EmbeddedPostgres.prepare(home)
    (postgres.data / "PG_VERSION").write_text("99\n")
    with pytest.raises(ConfigError, match="PostgreSQL 99"):
        EmbeddedPostgres.prepare(home)


async def test_who_waits_for_one_that_never_starts_is_told(home: Path):
    postgres = EmbeddedPostgres.prepare(home)
    with pytest.raises(StoreUnavailableError):
        await postgres.wait_ready(timeout_s=0.05)


def test_a_folder_the_accounts_user_cannot_reach_is_refused_or_harmless(tmp_path: Path):
    """As root: no folder above the data directory is opened, it is refused instead."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    if ROOT:
        with pytest.raises(ConfigError, match="cannot reach"):
            EmbeddedPostgres.prepare(closed / "data")
    else:
        EmbeddedPostgres.prepare(closed / "data")
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


def test_programs_come_from_an_installed_postgresql_or_else_the_wheel():
    found = binaries.find()
    assert found.major >= binaries.MAJOR_MIN
    majors = [binaries.at(folder).major for folder in binaries.bundled()]
    assert majors == sorted(majors, reverse=True)
    with pytest.raises(ConfigError):
        binaries.at(Path("/nonexistent"))


def test_an_account_enters_only_what_its_bits_allow(tmp_path: Path):
    nobody = accounts.Account(65534, 65534)
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o711)
    me = accounts.Account(os.geteuid(), os.getegid())
    assert me.reaches(tmp_path / "open")
    assert not nobody.reaches(tmp_path / "open")  # pytest's own folder is closed
    assert signal.SIGINT is EmbeddedPostgres.__struct_defaults__[-1]
