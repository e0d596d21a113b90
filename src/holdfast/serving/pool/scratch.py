"""Folders that workers write to: how much is in them, and how they are removed.

What is in them may be made to harm: deeper than a path may be long, or than a recursion may go.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import stat
from pathlib import Path
from typing import Final

_ENTRY_BYTES: Final = 4096  # names cost something, too


def remove(folder: Path) -> None:
    """Remove a folder and all in it, as far as that can be done.

    Folders within are first moved to the top, so that no path gets long and nothing recurses.
    """
    if folder.is_symlink() or not folder.is_dir():
        return
    numbers = itertools.count()
    waiting = [folder]
    while waiting:
        here = waiting.pop()
        for entry in _entries(here):
            with contextlib.suppress(OSError):
                if not entry.is_dir(follow_symlinks=False):
                    os.unlink(entry.path)  # noqa: PTH108 - a DirEntry
                    continue
                os.chmod(entry.path, 0o700)  # noqa: PTH101 - what is moved must be writable
                moved = folder / f".{os.getpid()}-{next(numbers)}"
                os.rename(entry.path, moved)  # noqa: PTH104
                waiting.append(moved)
        if here is not folder:
            with contextlib.suppress(OSError):
                here.rmdir()
    with contextlib.suppress(OSError):
        folder.rmdir()


def used_bytes(folder: Path, pid: int, most: int) -> int:
    """What is in the folder of a process, and in files that it has open and removed, on disk.

    More than ``most`` if that cannot be told: it has hidden something.
    """
    used = _removed_bytes(pid)
    waiting = [str(folder)]
    while waiting and used <= most:
        try:
            with os.scandir(waiting.pop()) as found:
                for entry in found:
                    used += max(_ENTRY_BYTES, entry.stat(follow_symlinks=False).st_blocks * 512)
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
        except FileNotFoundError:
            continue
        except OSError:
            return most + 1
    return used


def _removed_bytes(pid: int) -> int:
    used = 0
    with contextlib.suppress(OSError):  # it has ended; or is another's, who sees to it
        for name in os.listdir(f"/proc/{pid}/fd"):  # noqa: PTH208
            with contextlib.suppress(OSError):
                found = os.stat(f"/proc/{pid}/fd/{name}")  # noqa: PTH116
                if stat.S_ISREG(found.st_mode) and not found.st_nlink:
                    used += found.st_blocks * 512
    return used


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return list(found)
    except OSError:
        return []
