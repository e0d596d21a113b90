"""The system account that runs the embedded PostgreSQL, which refuses to run as root."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import subprocess
from pathlib import Path

import msgspec
import structlog

from holdfast.errors import ConfigError

log = structlog.get_logger(__name__)

NAME = "holdfast-pg"
FALLBACKS = ("postgres", "nobody")


class Account(msgspec.Struct, frozen=True):
    """A user and its group."""

    uid: int
    gid: int

    @property
    def other(self) -> bool:
        """Whether this is not the user that runs us."""
        return self.uid != os.geteuid()

    def own(self, path: Path) -> None:
        """Give it a file or folder."""
        if self.other:
            os.chown(path, self.uid, self.gid)

    def reaches(self, folder: Path) -> bool:
        """Whether it may go into a folder, through all that lie above."""
        return all(self._enters(part) for part in (folder, *folder.parents))

    def _enters(self, folder: Path) -> bool:
        status = folder.stat()
        if self.uid == status.st_uid:
            return bool(status.st_mode & stat.S_IXUSR)
        if self.gid == status.st_gid:
            return bool(status.st_mode & stat.S_IXGRP)
        return bool(status.st_mode & stat.S_IXOTH)


def owner_of(path: Path) -> Account:
    """The account that owns an existing cluster goes on owning it."""
    status = path.stat()
    return Account(status.st_uid, status.st_gid)


def choose() -> Account:
    """The caller itself, or, as root, an account for this alone (made if need be)."""
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid())
    entry = _entry(NAME) or _made()
    if entry is not None:
        return entry
    for name in FALLBACKS:
        entry = _entry(name)
        if entry is not None:
            log.warning("postgres.account_fallback", wanted=NAME, using=name)
            return entry
    raise ConfigError(
        f"PostgreSQL does not run as root, and the user {NAME} could not be made: "
        "create it, run Holdfast as another user, or set database.url"
    )


def _entry(name: str) -> Account | None:
    try:
        found = pwd.getpwnam(name)
    except KeyError:
        return None
    return Account(found.pw_uid, found.pw_gid)


def _made() -> Account | None:
    """Make the account with what the system has: useradd, or BusyBox's adduser."""
    for argv in (
        ["useradd", "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent",
         "--shell", "/usr/sbin/nologin", NAME],
        ["adduser", "-S", "-D", "-H", "-s", "/sbin/nologin", NAME],
    ):  # fmt: skip
        if program := shutil.which(argv[0]):
            subprocess.run([program, *argv[1:]], capture_output=True, check=False)
        if found := _entry(NAME):  # made now, or by another process at the same time
            return found
    return None
