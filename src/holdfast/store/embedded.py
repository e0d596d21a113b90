"""The PostgreSQL that ``holdfast up`` brings along where none is configured.

This module prepares a cluster and says how to run it; the supervisor runs it, in the
foreground, as it runs every other child: ``prepare`` before each start (it is quick
once the cluster exists), spawn ``argv`` with ``env`` and ``spawn_options``, ``wait_ready``.

Below the data directory: ``postgres/data`` (the cluster), ``postgres/run`` (the socket,
unless that path is too long for one), ``postgres/dist`` (the wheel's programs, copied,
when root), ``postgres.password``. No TCP port; the socket's folder is 0700 and every
login needs the password (scram). Everything the database promises stays on: fsync,
synchronous_commit, full_page_writes.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import secrets
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import quote

import msgspec

from holdfast.errors import ConfigError, StoreUnavailableError
from holdfast.store import accounts, binaries
from holdfast.store.accounts import Account
from holdfast.store.binaries import Binaries
from holdfast.store.pg.driver import asyncpg

SpawnOptions: TypeAlias = dict[str, Any]

DATABASE = "holdfast"
ROLE = "holdfast"  # owns the database; not a superuser
ADMIN = "postgres"
SOCKET_PATH_BYTES_MAX = 107
SOCKET_NAME = ".s.PGSQL.5432"
POLL_S = 0.05
INITDB_S = 120.0

INITDB_OPTIONS = (
    f"--username={ADMIN}",
    "--auth=scram-sha-256",
    "--encoding=UTF8",
    "--locale=C",
    "--data-checksums",
)
SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "password_encryption": "scram-sha-256",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_destination": "stderr",
    "logging_collector": "off",
    "log_checkpoints": "off",
}


class EmbeddedPostgres(msgspec.Struct, frozen=True, kw_only=True):
    """A prepared cluster, and how to run and reach it."""

    argv: tuple[str, ...]
    env: dict[str, str]
    account: Account
    dsn: str
    admin_dsn: str  # a superuser's, to the database "postgres"
    data: Path
    sockets: Path
    stop_signal: signal.Signals = signal.SIGINT  # "fast shutdown": ends sessions, loses nothing

    @classmethod
    def prepare(cls, data_dir: Path, *, folder: Path | None = None) -> EmbeddedPostgres:
        """Make the cluster below ``data_dir`` if there is none, and say how to run it.

        ``folder``: use the programs there. Blocks (half a second the first time).
        Raises ``ConfigError`` with what to do about it.
        """
        data_dir = data_dir.absolute()
        data_dir.mkdir(mode=0o711, parents=True, exist_ok=True)
        with _alone(data_dir / "postgres.lock"):
            return _prepared(data_dir, folder)

    @property
    def spawn_options(self) -> SpawnOptions:
        """For ``subprocess.Popen`` and ``asyncio.create_subprocess_exec``."""
        return {"env": self.env, "cwd": "/", **_as_user(self.account)}

    def running_pid(self) -> int | None:
        """The postmaster that runs on this cluster now, as after a supervisor's own death."""
        pid = _pid_in(self.data / "postmaster.pid")
        return pid if pid is not None and _works_in(pid, self.data) else None

    async def wait_ready(self, timeout_s: float = 30.0) -> None:
        """Return once it answers, with the role and the database made.

        Raises ``StoreUnavailableError`` after ``timeout_s``; whoever spawned it also
        watches the process, which may have ended instead.
        """
        fault: BaseException | None = None
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    try:
                        return await self._make_database()
                    except (OSError, asyncpg.CannotConnectNowError) as again:
                        fault = again
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            raise StoreUnavailableError(
                f"the embedded PostgreSQL did not answer within {timeout_s:.0f} s ({fault}): "
                "see its log"
            ) from fault

    async def _make_database(self) -> None:
        conn: Any = await asyncpg.connect(self.admin_dsn, timeout=5.0)
        try:
            if await conn.fetchval("select 1 from pg_roles where rolname = $1", ROLE) is None:
                password = self.dsn.split(":", 2)[2].split("@", 1)[0]  # letters, digits, - and _
                await conn.execute(f"create role {ROLE} login password '{password}'")
            found = await conn.fetchval("select 1 from pg_database where datname = $1", DATABASE)
            if found is None:
                await conn.execute(f"create database {DATABASE} owner {ROLE}")
        except (asyncpg.DuplicateObjectError, asyncpg.DuplicateDatabaseError):
            pass  # somebody else waited for it, too
        finally:
            await conn.close()


def _prepared(data_dir: Path, folder: Path | None) -> EmbeddedPostgres:
    home = data_dir / "postgres"
    data = home / "data"
    account = accounts.owner_of(data) if data.is_dir() else accounts.choose()
    _open_way(data_dir, account)
    _private(home, account)
    programs = binaries.at(folder) if folder else binaries.find(_major_of(data))
    if programs.bundled and account.other:
        programs = programs.copied(home / "dist")
    password = _password(data_dir / "postgres.password", fresh=not data.is_dir())
    sockets = _socket_folder(home, account)
    if data.is_dir():
        _forget_stale_locks(data, sockets)
    else:
        _initdb(programs, data, account, password)
    settings = {**SETTINGS, "unix_socket_directories": f'"{sockets}"'}
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    host = quote(str(sockets), safe="/")
    return EmbeddedPostgres(
        argv=(str(programs.folder / "postgres"), "-D", str(data), *options),
        env=_env(),
        account=account,
        dsn=f"postgresql://{ROLE}:{password}@/{DATABASE}?host={host}",
        admin_dsn=f"postgresql://{ADMIN}:{password}@/postgres?host={host}",
        data=data,
        sockets=sockets,
    )


@contextmanager
def _alone(path: Path) -> Generator[None]:
    """One preparation at a time."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _open_way(data_dir: Path, account: Account) -> None:
    """Let the account pass through the data directory; nothing above it is changed."""
    if not account.other:
        return
    if not account.reaches(data_dir.parent):
        raise ConfigError(
            f"PostgreSQL runs as a user of its own, which cannot reach {data_dir}: choose a data "
            "directory outside /root and other closed folders (HOLDFAST_DATA_DIR), run Holdfast "
            "as another user than root, or set database.url"
        )
    if not account.reaches(data_dir):
        data_dir.chmod(stat.S_IMODE(data_dir.stat().st_mode) | stat.S_IXOTH)


def _private(folder: Path, account: Account) -> None:
    """A folder of mode 0700 that belongs to the account, and to nobody who came first."""
    try:
        folder.mkdir(mode=0o700)
        account.own(folder)
    except FileExistsError:
        status = folder.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid not in (account.uid, os.geteuid()):
            raise ConfigError(f"{folder} belongs to somebody else: remove it") from None
        account.own(folder)
    folder.chmod(0o700)


def _socket_folder(home: Path, account: Account) -> Path:
    """Where the socket lies: its path must fit into 107 bytes."""
    folder = home / "run"
    if len(os.fsencode(folder / SOCKET_NAME)) > SOCKET_PATH_BYTES_MAX:
        base = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
        if account.other and Path("/run").is_dir():
            base = "/run"
        digest = hashlib.sha256(os.fsencode(home)).hexdigest()[:16]
        folder = Path(base) / f"holdfast-{digest}"
    _private(folder, account)
    return folder


def _password(path: Path, *, fresh: bool) -> str:
    """The database's password, made before the cluster is."""
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        if not fresh:
            raise ConfigError(
                f"{path} is gone, and with it the way into the embedded database: restore it"
            ) from None
    password = secrets.token_urlsafe(24)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(password + "\n")
        file.flush()
        os.fsync(file.fileno())
    return password


def _initdb(programs: Binaries, data: Path, account: Account, password: str) -> None:
    """Make the cluster under another name first: half a cluster is never taken for one."""
    fresh = data.with_name("data.new")
    shutil.rmtree(fresh, ignore_errors=True)
    secret = data.with_name("initdb.password")
    secret.unlink(missing_ok=True)
    with os.fdopen(os.open(secret, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(password + "\n")
    account.own(secret)
    paths = (f"--pgdata={fresh}", f"--pwfile={secret}")
    argv = [str(programs.folder / "initdb"), *paths, *INITDB_OPTIONS]
    try:
        answer = subprocess.run(
            argv,
            capture_output=True,
            text=True,
            check=False,
            timeout=INITDB_S,
            env=_env(),
            cwd="/",
            **_as_user(account),
        )
    finally:
        secret.unlink(missing_ok=True)
    if answer.returncode:
        shutil.rmtree(fresh, ignore_errors=True)
        raise ConfigError(f"initdb failed: {answer.stderr.strip()[-1000:]}")
    fresh.rename(data)


def _forget_stale_locks(data: Path, sockets: Path) -> None:
    """Remove the lock files of a killed postmaster whose process id lives on in another process.

    PostgreSQL clears those of a dead process id by itself. Nothing is removed while any
    process, even a leftover backend, works in the cluster: the file guards it then.
    """
    proc = Path("/proc")
    if not proc.is_dir() or any(
        _works_in(int(entry.name), data) for entry in proc.iterdir() if entry.name.isdigit()
    ):
        return
    for lock in (data / "postmaster.pid", sockets / f"{SOCKET_NAME}.lock"):
        lock.unlink(missing_ok=True)


def _works_in(pid: int, data: Path) -> bool:
    """Whether a process has the cluster as its working directory, as all of a server's do."""
    try:
        return (Path("/proc") / str(pid) / "cwd").readlink() == data.resolve()
    except OSError:
        return False


def _pid_in(path: Path) -> int | None:
    try:
        return int(path.read_text().split("\n", 1)[0])
    except (OSError, ValueError):
        return None


def _major_of(data: Path) -> int | None:
    try:
        return int((data / "PG_VERSION").read_text())
    except FileNotFoundError:
        return None


def _as_user(account: Account) -> SpawnOptions:
    if not account.other:
        return {}
    return {"user": account.uid, "group": account.gid, "extra_groups": []}


def _env() -> dict[str, str]:
    return {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}
