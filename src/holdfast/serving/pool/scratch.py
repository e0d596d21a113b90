"""Folders that workers write to: how much is in them, and how they are removed.

What is in them may be made to harm: deeper than a path may be long, or than a recursion may go;
and it may change while we look, so that what was a folder is a link to somebody else's.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ENTRIES_MAX: Final = 10_000  # files and folders of a worker: each is looked at every second
_PASSES: Final = 10  # who is being killed may write for another moment
_ENTRY_BYTES: Final = 4096  # names cost something, too
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_HANDLE: Final = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove(folder: Path) -> None:
    """Remove a folder and all in it, as far as that can be done.

    Folders within are first moved to the top, so that no path gets long and nothing recurses. All
    is named by one word within an open folder, so that no link is ever followed, whoever swaps
    what while we are at it; only the way to ``folder`` itself has to be ours.
    """
    for _ in range(_PASSES):
        try:
            top = os.open(folder, _FOLDER)
        except OSError:
            return
        _empty(top)
        with contextlib.suppress(OSError):
            folder.rmdir()


def _empty(top: int) -> None:
    """Remove all in an open folder, and close it."""
    try:
        waiting = _emptied(top, top)
        while waiting:
            name = waiting.pop()
            with contextlib.suppress(OSError):  # it is no folder any more
                here = os.open(name, _FOLDER, dir_fd=top)
                try:
                    waiting += _emptied(here, top)
                finally:
                    os.close(here)
            with contextlib.suppress(OSError):
                _drop(name, top)
    finally:
        os.close(top)


def _emptied(here: int, top: int) -> list[str]:
    """Remove the files of an open folder; names of its folders, which are at the top then."""
    found: list[str] = []
    with contextlib.suppress(OSError), os.scandir(here) as entries:
        for entry in list(entries):
            with contextlib.suppress(OSError):
                if not entry.is_dir(follow_symlinks=False):
                    os.unlink(entry.name, dir_fd=here)
                    continue
                _open_up(entry.name, here)
                moved = entry.name
                if here != top:
                    moved = f".{secrets.token_hex(8)}"
                    os.rename(entry.name, moved, src_dir_fd=here, dst_dir_fd=top)
                found.append(moved)
    return found


def _open_up(name: str, here: int) -> None:
    """What is moved, or listed, must be writable and readable."""
    handle = os.open(name, _HANDLE, dir_fd=here)
    try:
        os.chmod(f"/proc/self/fd/{handle}", 0o700)  # noqa: PTH101 - that very folder, not its name
    finally:
        os.close(handle)


def _drop(name: str, top: int) -> None:
    try:
        os.rmdir(name, dir_fd=top)
    except NotADirectoryError:
        os.unlink(name, dir_fd=top)


def used_bytes(folder: Path, pid: int, most: int) -> int:
    """What is in the folder of a process, and in files that it has removed and keeps, on disk.

    More than ``most`` if that cannot be told: it has hidden something, or has more than
    ``ENTRIES_MAX`` files and folders.
    """
    try:
        used = _removed_bytes(pid)
    except _HiddenError:
        return most + 1
    entries = 0
    waiting = [str(folder)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as found:
                for entry in found:
                    entries += 1
                    used += max(_ENTRY_BYTES, entry.stat(follow_symlinks=False).st_blocks * 512)
                    if used > most or entries > ENTRIES_MAX:
                        return most + 1
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
        except FileNotFoundError:
            continue
        except OSError:
            return most + 1
    return used


class _HiddenError(Exception):
    """It has files where nobody can see how large they are."""


def _removed_bytes(pid: int) -> int:
    """In files without a name that it has open, or in its memory; raises ``_HiddenError``."""
    found: dict[tuple[int, int], int] = {}
    with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
        # it has ended; or is another's, who sees to it
        for path in (*_open(pid), *_mapped(pid)):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                told = os.stat(path)  # noqa: PTH116
                if stat.S_ISSOCK(told.st_mode):
                    _refuse_passed(path)
                elif stat.S_ISREG(told.st_mode) and not told.st_nlink:
                    found[told.st_dev, told.st_ino] = told.st_blocks * 512
    return sum(found.values())


def _open(pid: int) -> Iterator[str]:
    for name in os.listdir(f"/proc/{pid}/fd"):  # noqa: PTH208
        yield f"/proc/{pid}/fd/{name}"


def _mapped(pid: int) -> Iterator[str]:
    """Files that are removed, and may be closed, but are still part of its memory."""
    with open(f"/proc/{pid}/maps", "rb") as file:  # noqa: PTH123
        for line in file:
            if line.endswith(b" (deleted)\n"):
                first, _, last = line.split(b" ", 1)[0].partition(b"-")
                yield f"/proc/{pid}/map_files/{int(first, 16):x}-{int(last, 16):x}"


def _refuse_passed(path: str) -> None:
    """Files on their way through a socket are open nowhere: proc_pid_fdinfo(5) counts them.

    To refuse ``sendmsg`` and ``sendmmsg`` would do as well, but asyncio (Python 3.12) and the
    name resolution of glibc send by these.
    """
    with open(path.replace("/fd/", "/fdinfo/"), "rb") as file:  # noqa: PTH123
        for line in file:
            if line.startswith(b"scm_fds:") and int(line.split()[1]):
                raise _HiddenError
