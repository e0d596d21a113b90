"""What a worker may use: memory, files, processes, environment. Linux only, as the node is."""

from __future__ import annotations

import contextlib
import ctypes
import os
import pwd
import resource
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from holdfast.serving.workers import landlock, seccomp
from holdfast.serving.workers.frames import Limits

_CPU_SLACK_S: Final = 2

# The numbers of prctl(2) and capset(2).
_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_SET_DUMPABLE: Final = 4
_PR_CAPBSET_DROP: Final = 24
_PR_CAP_AMBIENT: Final = 47
_PR_CAP_AMBIENT_CLEAR_ALL: Final = 4
_CAPABILITIES_MAX: Final = 64
_CAPABILITY_VERSION_3: Final = 0x20080522


def scrubbed(scratch: Path) -> dict[str, str]:
    """The environment of a worker: nothing of the node's, one thread per library."""
    threads = ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "VECLIB_MAXIMUM")
    return {
        "PATH": "/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
        **{f"{name}_NUM_THREADS": "1" for name in threads},
    }


def apply(
    limits: Limits, scratch: Path, readable: Sequence[Path], *, unix_sockets: bool = False
) -> None:
    """Bind this process for good. Called before anything of the package is opened.

    ``scratch`` may be written, ``readable`` (the package's own files) be read; beyond them the
    system's libraries only. ``unix_sockets``: whether one of its databases is reached by such.
    """
    os.environ.clear()
    os.environ.update(scrubbed(scratch))
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")  # the kernel's first choice
    if limits.niceness:
        os.nice(limits.niceness)
    libc = ctypes.CDLL(None, use_errno=True)
    _drop_bounding(libc)
    if limits.user:
        _become(limits.user, scratch)
    _drop_capabilities(libc)
    os.chdir(scratch)
    for what, most in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_AS, limits.memory_bytes),
        (resource.RLIMIT_FSIZE, limits.file_bytes),
        (resource.RLIMIT_NOFILE, limits.open_files),
    ):
        _limit(what, most)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_NO_NEW_PRIVS)")
    landlock.confine([*readable, *map(Path, limits.readable)], [scratch], landlock.libraries())
    if not landlock.version():
        libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)  # else others of its user see into it
    scoped = landlock.version() >= landlock.SCOPES_ABI
    seccomp.confine(
        processes=limits.processes,
        signals=limits.processes and scoped,  # Landlock then keeps them among its own
        unix_sockets=unix_sockets,
    )


def allow_cpu(seconds: int) -> None:
    """Let the worker use this much more processor time; beyond it the kernel kills it.

    Renewed with every batch, so that threads left spinning end, too.
    """
    used = resource.getrusage(resource.RUSAGE_SELF)
    most = int(used.ru_utime + used.ru_stime) + seconds + _CPU_SLACK_S
    resource.setrlimit(resource.RLIMIT_CPU, (most, resource.RLIM_INFINITY))


def _limit(what: int, most: int) -> None:
    """What was set before, from outside, may be less: then it is that."""
    _, hard = resource.getrlimit(what)
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(what, (most, most))


def _become(user: str, scratch: Path) -> None:
    entry = pwd.getpwnam(user)
    if entry.pw_uid == os.geteuid() != 0:
        return  # it is that one already
    os.chown(scratch, entry.pw_uid, entry.pw_gid)
    os.setgroups([])
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)


def _drop_bounding(libc: ctypes.CDLL) -> None:
    """Nothing it starts can have a capability either. Only who has CAP_SETPCAP can do that."""
    libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    for capability in range(_CAPABILITIES_MAX):
        if libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0) != 0:
            return


def _drop_capabilities(libc: ctypes.CDLL) -> None:
    """None are left, whoever it is: root is then a user like others, who owns root's files."""
    head = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    if libc.capset(head, (ctypes.c_uint32 * 6)()) != 0:
        raise OSError(ctypes.get_errno(), "capset")
