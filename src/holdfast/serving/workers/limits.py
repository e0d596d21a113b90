"""What a worker may use: memory, files, processes, environment. Linux only, as the node is."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import pwd
import resource
import struct
import sys
from pathlib import Path
from typing import Final

from holdfast.serving.workers.frames import Limits

_CPU_SLACK_S: Final = 2

# The numbers of prctl(2), seccomp(2) and of the kernel headers that they name.
_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_SET_SECCOMP: Final = 22
_PR_SET_DUMPABLE: Final = 4
_SECCOMP_MODE_FILTER: Final = 2
_ALLOW: Final = 0x7FFF0000
_EPERM: Final = 0x00050000 | 1
_ENOSYS: Final = 0x00050000 | 38
_CLONE_THREAD: Final = 0x00010000
_LOAD, _EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06
_NR_AT, _ARCH_AT, _ARG0_AT = 0, 4, 16

# machine -> (audit architecture, clone, clone3, others that start processes: fork, vfork)
_CALLS: Final[dict[str, tuple[int, int, int, tuple[int, ...]]]] = {
    "x86_64": (0xC000003E, 56, 435, (57, 58)),
    "aarch64": (0xC00000B7, 220, 435, ()),
}


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


def apply(limits: Limits, scratch: Path) -> None:
    """Bind this process for good. Called before anything of the package is opened."""
    os.environ.clear()
    os.environ.update(scrubbed(scratch))
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")  # the kernel's first choice
    if limits.niceness:
        os.nice(limits.niceness)
    if limits.user:
        _become(limits.user, scratch)
    os.chdir(scratch)
    for what, most in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_AS, limits.memory_bytes),
        (resource.RLIMIT_FSIZE, limits.file_bytes),
        (resource.RLIMIT_NOFILE, limits.open_files),
    ):
        resource.setrlimit(what, (most, most))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_NO_NEW_PRIVS)")
    if not limits.processes:
        _refuse_processes(libc)


def allow_cpu(seconds: int) -> None:
    """Let the worker use this much more processor time; beyond it the kernel kills it.

    Renewed with every batch, so that threads left spinning end, too.
    """
    used = resource.getrusage(resource.RUSAGE_SELF)
    most = int(used.ru_utime + used.ru_stime) + seconds + _CPU_SLACK_S
    resource.setrlimit(resource.RLIMIT_CPU, (most, resource.RLIM_INFINITY))


def _become(user: str, scratch: Path) -> None:
    entry = pwd.getpwnam(user)
    os.chown(scratch, entry.pw_uid, entry.pw_gid)
    os.setgroups([])
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)


def _refuse_processes(libc: ctypes.CDLL) -> None:
    """A seccomp filter: threads may be made, processes may not (EPERM).

    A process that a query left behind would outlive its worker's deadline and limits.
    """
    known = _CALLS.get(platform.machine())
    if known is None or sys.maxsize < 2**32:
        return  # on other machines the worker's group is killed with it, and no more
    arch, clone, clone3, others = known
    program: list[tuple[int, int, int, int]] = [
        (_LOAD, 0, 0, _ARCH_AT),
        (_EQUAL, 1, 0, arch),
        (_RETURN, 0, 0, _EPERM),  # calls of another architecture (x86 in x86_64)
        (_LOAD, 0, 0, _NR_AT),
    ]
    for number in others:
        program += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _EPERM)]
    program += [
        # Its flags lie in memory, which a filter cannot read; libc then falls back to clone.
        (_EQUAL, 0, 1, clone3),
        (_RETURN, 0, 0, _ENOSYS),
        (_EQUAL, 0, 3, clone),
        (_LOAD, 0, 0, _ARG0_AT),
        (_ANY_BIT, 1, 0, _CLONE_THREAD),
        (_RETURN, 0, 0, _EPERM),
        (_RETURN, 0, 0, _ALLOW),
    ]
    raw = b"".join(struct.pack("<HBBI", *line) for line in program)
    buffer = ctypes.create_string_buffer(raw, len(raw))
    head = struct.pack("@HP", len(program), ctypes.addressof(buffer))
    if libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.c_char_p(head), 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_SECCOMP)")
