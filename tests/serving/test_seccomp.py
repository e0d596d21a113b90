"""The filter, run in an interpreter of its few instructions: both architectures, all branches."""

from __future__ import annotations

import errno
import os
import socket

import pytest

from holdfast.serving.workers import seccomp

PID = 4321
ALLOWED, IGNORED = "allowed", "ignored"
# The architectures, by their columns, and the numbers of calls that a test names.
X86, ARM = 0, 1
ARCHES = {X86: 0xC000003E, ARM: 0xC00000B7}
NUMBERS = {
    "read": (0, 63),
    "futex": (202, 98),
    "kill": (62, 129),
    "tkill": (200, 130),
    "tgkill": (234, 131),
    "pidfd_send_signal": (424, 424),
    "ptrace": (101, 117),
    "mount": (165, 40),
    "clone": (56, 220),
    "clone3": (435, 435),
    "openat": (257, 56),
    "socket": (41, 198),
    "prlimit64": (302, 261),
    "fchmodat": (268, 53),
    "fchownat": (260, 54),
    "memfd_create": (319, 279),
    "setpgid": (109, 154),
    "setsid": (112, 157),
    "inotify_add_watch": (254, 27),
    "fanotify_mark": (301, 263),
    "sendmsg": (46, 211),
    "sendmmsg": (307, 269),
}


def run(column: int, call: int, *arguments: int, arch: int = 0, **allowed: bool) -> str | int:
    """What the kernel would do with the call: "allowed", "ignored", or the error's number."""
    options = {"processes": False, "signals": False, "unix_sockets": False, **allowed}
    program = seccomp.program(ARCHES[column], column, PID, **options)
    words = {0: call, 4: arch or ARCHES[column]}
    for at, value in enumerate(arguments):
        words[16 + 8 * at] = value & 0xFFFFFFFF
    at, accumulator = 0, 0
    while True:
        code, if_true, if_false, value = program[at]
        at += 1
        if code == 0x20:
            accumulator = words.get(value, 0)
        elif code == 0x06:
            found = value & 0xFFFF
            return ALLOWED if value == 0x7FFF0000 else found or IGNORED
        else:
            tests = {0x15: accumulator == value, 0x35: accumulator >= value}
            holds = tests.get(code, bool(accumulator & value))
            at += if_true if holds else if_false


def ask(column: int, name: str, *arguments: int, **allowed: bool) -> str | int:
    return run(column, NUMBERS[name][column], *arguments, **allowed)


both = pytest.mark.parametrize("column", [X86, ARM], ids=["x86_64", "aarch64"])


@both
def test_calls_are_allowed_refused_or_ignored(column: int):
    assert {ask(column, name) for name in ("read", "futex")} == {ALLOWED}
    refused = ("ptrace", "mount", "memfd_create", "fchownat", "tkill", "pidfd_send_signal")
    assert {ask(column, name) for name in refused} == {errno.EPERM}
    assert ask(column, "fchmodat") == IGNORED
    assert ask(column, "clone3") == errno.ENOSYS


@both
def test_signals_go_to_the_worker_itself_only(column: int):
    for name in ("kill", "tgkill"):
        assert ask(column, name, PID) == ALLOWED
        for other in (0, -1, 1, -PID, PID + 1):
            assert ask(column, name, other) == errno.EPERM
            assert ask(column, name, other, signals=True) == ALLOWED


@both
def test_limits_are_a_workers_own(column: int):
    assert [ask(column, "prlimit64", pid) for pid in (0, PID, 1)] == [
        ALLOWED,
        ALLOWED,
        errno.EPERM,
    ]


@both
def test_threads_may_be_started_and_processes_if_they_may(column: int):
    thread, child, namespace = 0x3D0F00, 17, 0x10000000 | 17
    assert ask(column, "clone", thread) == ALLOWED
    assert ask(column, "clone", child) == errno.EPERM
    assert ask(column, "clone", child, processes=True) == ALLOWED
    assert ask(column, "clone", namespace, processes=True) == errno.EPERM
    if column == X86:
        assert run(X86, 57) == run(X86, 58) == errno.EPERM  # fork, vfork
        assert run(X86, 57, processes=True) == ALLOWED


@both
def test_nothing_leaves_its_workers_group_nor_becomes_its_sibling(column: int):
    for name in ("setpgid", "setsid"):
        assert ask(column, name, processes=True, signals=True) == errno.EPERM
    assert ask(column, "clone", 0x8000 | 17, processes=True) == errno.EPERM  # CLONE_PARENT


@both
def test_what_others_do_with_files_is_not_told(column: int):
    for name in ("inotify_add_watch", "fanotify_mark"):
        assert ask(column, name) == errno.EPERM


@both
def test_what_name_resolution_and_asyncio_send_with_is_allowed(column: int):
    assert ask(column, "sendmsg") == ask(column, "sendmmsg") == ALLOWED


@both
def test_sockets_are_of_the_network_or_of_files_where_a_database_needs_it(column: int):
    assert ask(column, "socket", socket.AF_INET) == ask(column, "socket", socket.AF_INET6)
    assert ask(column, "socket", socket.AF_INET) == ALLOWED
    for family in (socket.AF_UNIX, socket.AF_PACKET, socket.AF_ALG):
        assert ask(column, "socket", family) == errno.EPERM
    assert ask(column, "socket", socket.AF_UNIX, unix_sockets=True) == ALLOWED


@both
def test_what_is_opened_to_read_is_not_emptied(column: int):
    assert ask(column, "openat", 0, 0, os.O_RDONLY) == ALLOWED
    assert ask(column, "openat", 0, 0, os.O_WRONLY | os.O_TRUNC) == ALLOWED
    assert ask(column, "openat", 0, 0, os.O_RDONLY | os.O_TRUNC) == errno.EPERM


def test_calls_of_other_architectures_are_refused():
    assert run(X86, 39, arch=0x40000003) == errno.EPERM  # i386
    assert run(X86, 0x40000000 + 39) == errno.EPERM  # x32
