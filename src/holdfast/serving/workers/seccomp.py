"""What a worker may ask of the kernel: a seccomp filter, made anew for each, since it names it.

Four answers: allowed; EPERM for what no model needs; ENOSYS where libc has another way; and
"done" for what is ignored (modes and times of files: shutil sets them on its copies, and on
others' files they would do harm that Landlock does not stop).
"""

from __future__ import annotations

import ctypes
import os
import platform
import socket
import struct
import sys
from collections.abc import Sequence
from typing import Final, TypeAlias

# Numbers of the kernel headers: prctl(2), seccomp(2), BPF, clone(2).
_PR_SET_SECCOMP: Final = 22
_MODE_FILTER: Final = 2
_ALLOW: Final = 0x7FFF0000
_IGNORE: Final = 0x00050000
_EPERM: Final = 0x00050000 | 1
_ENOSYS: Final = 0x00050000 | 38
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NR_AT, _ARCH_AT, _ARGS_AT = 0, 4, 16
_CLONE_THREAD: Final = 0x00010000
_CLONE_PARENT: Final = 0x00008000
_CLONE_NAMESPACES: Final = 0x7E020000
_X32: Final = 0x40000000

_ARCHITECTURES: Final = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}

_Line: TypeAlias = tuple[int, int, int, int]  # code, jump if true, jump if false, value
_Numbers: TypeAlias = dict[str, tuple[int | None, int | None]]  # of x86_64, of aarch64

_TO_ANYBODY: Final[_Numbers] = {
    "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "pidfd_send_signal": (424, 424),
}
_TO_ITSELF: Final[_Numbers] = {"kill": (62, 129), "tgkill": (234, 131)}
_ABOUT_ITSELF: Final[_Numbers] = {
    "prlimit64": (302, 261),
    "sched_setaffinity": (203, 122),
    "sched_setscheduler": (144, 119),
    "sched_setparam": (142, 118),
    "sched_setattr": (314, 274),
}
_IGNORED: Final[_Numbers] = {
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "utime": (132, None),
    "utimes": (235, None),
    "futimesat": (261, None),
    "utimensat": (280, 88),
}
_STARTS: Final[_Numbers] = {"fork": (57, None), "vfork": (58, None)}
_REFUSED: Final[_Numbers] = {
    # other processes
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "kcmp": (312, 272),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
    "setpriority": (141, 140),
    "ioprio_set": (251, 30),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    # groups of their own: what a worker has started ends with the worker's group
    "setpgid": (109, 154),
    "setsid": (112, 157),
    # what is mounted, and namespaces
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "open_tree_attr": (467, 467),
    "unshare": (272, 97),
    "setns": (308, 268),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "acct": (163, 89),
    # the kernel's own affairs
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "reboot": (169, 142),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "syslog": (103, 116),
    "vhangup": (153, 58),
    "iopl": (172, None),
    "ioperm": (173, None),
    "modify_ldt": (154, None),
    "lookup_dcookie": (212, 18),
    "fanotify_init": (300, 262),
    "fanotify_mark": (301, 263),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "adjtimex": (159, 171),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    # memory that no limit counts, or that stays when the worker is gone
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
    "shmat": (30, 196),
    "shmctl": (31, 195),
    "semget": (64, 190),
    "semop": (65, 193),
    "semtimedop": (220, 192),
    "semctl": (66, 191),
    "msgget": (68, 186),
    "msgsnd": (69, 189),
    "msgrcv": (70, 188),
    "msgctl": (71, 187),
    "mq_open": (240, 180),
    "mq_unlink": (241, 181),
    # files, in ways that Landlock does not know (truncate by path: before its third version)
    "inotify_init": (253, None),
    "inotify_init1": (294, 26),
    "inotify_add_watch": (254, 27),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "truncate": (76, 45),
    "chown": (92, None),
    "fchown": (93, 55),
    "lchown": (94, None),
    "fchownat": (260, 54),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "setxattrat": (463, 463),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "removexattrat": (466, 466),
}
# Their arguments lie in memory, which a filter cannot read; libc then goes the older way.
_UNREADABLE: Final[_Numbers] = {"clone3": (435, 435), "openat2": (437, 437)}
_CLONE: Final = (56, 220)
_SOCKET: Final = (41, 198)
_OPENS: Final = (((2, None), 1), ((257, 56), 2))  # open, openat: where their flags are


def confine(*, processes: bool, signals: bool, unix_sockets: bool) -> None:
    """Bind this process, and its threads to come; raises ``OSError``.

    ``processes``: whether it may start others; one that a query left behind would outlive its
    worker's deadline and limits. ``signals``: whether it may send them to others than itself.
    ``unix_sockets``: whether it may connect to some. On other machines than x86-64 and 64-bit ARM
    nothing is done.
    """
    known = _ARCHITECTURES.get(platform.machine())
    if known is None or sys.maxsize < 2**32:
        return
    lines = program(
        *known, os.getpid(), processes=processes, signals=signals, unix_sockets=unix_sockets
    )
    raw = b"".join(struct.pack("<HBBI", *line) for line in lines)
    buffer = ctypes.create_string_buffer(raw, len(raw))
    head = struct.pack("@HP", len(lines), ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.c_char_p(head), 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_SECCOMP)")


def program(
    arch: int, column: int, pid: int, *, processes: bool, signals: bool, unix_sockets: bool
) -> list[_Line]:
    """The filter for a process; ``arch`` is the kernel's name, ``column`` where its numbers are."""
    lines: list[_Line] = [
        (_LOAD, 0, 0, _ARCH_AT),
        (_EQUAL, 1, 0, arch),
        (_RETURN, 0, 0, _EPERM),  # calls of another architecture (x86 in x86-64)
        (_LOAD, 0, 0, _NR_AT),
        (_AT_LEAST, 0, 1, _X32),
        (_RETURN, 0, 0, _EPERM),
    ]
    for names, answer in (
        (_REFUSED, _EPERM),
        (_UNREADABLE, _ENOSYS),
        (_IGNORED, _IGNORE),
        ({} if processes else _STARTS, _EPERM),
        ({} if signals else _TO_ANYBODY, _EPERM),
    ):
        for numbers in names.values():
            lines += _always(numbers[column], answer)
    to_itself: _Numbers = {} if signals else _TO_ITSELF
    for numbers in to_itself.values():
        lines += _only(numbers[column], 0, (pid,))
    for numbers in _ABOUT_ITSELF.values():
        lines += _only(numbers[column], 0, (0, pid))
    families = [socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK]
    if unix_sockets:
        families.append(socket.AF_UNIX)
    lines += _only(_SOCKET[column], 0, families)
    for numbers, at in _OPENS:
        lines += _no_reader_that_truncates(numbers[column], at)
    lines += _threads(_CLONE[column], processes=processes)
    return [*lines, (_RETURN, 0, 0, _ALLOW)]


def _always(number: int | None, answer: int) -> list[_Line]:
    return [] if number is None else [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, answer)]


def _only(number: int | None, argument: int, values: Sequence[int]) -> list[_Line]:
    """The call is allowed with one of these values; of 64 bits the kernel takes 32 here, too."""
    if number is None:
        return []
    body: list[_Line] = [(_LOAD, 0, 0, _ARGS_AT + 8 * argument)]
    for value in values:
        body += _always(value, _ALLOW)
    body.append((_RETURN, 0, 0, _EPERM))
    return [(_EQUAL, 0, len(body), number), *body]


def _no_reader_that_truncates(number: int | None, argument: int) -> list[_Line]:
    """Not O_TRUNC with O_RDONLY, which empties a file that Landlock lets be read (before v3)."""
    if number is None:
        return []
    return [
        (_EQUAL, 0, 5, number),
        (_LOAD, 0, 0, _ARGS_AT + 8 * argument),
        (_ANY_BIT, 0, 2, os.O_TRUNC),
        (_ANY_BIT, 1, 0, os.O_ACCMODE),
        (_RETURN, 0, 0, _EPERM),
        (_RETURN, 0, 0, _ALLOW),
    ]


def _threads(number: int, *, processes: bool) -> list[_Line]:
    """Of clone: threads; processes only if they may be, never in namespaces or as siblings."""
    never = _CLONE_NAMESPACES | _CLONE_PARENT
    bad = (_ANY_BIT, 0, 1, never) if processes else (_ANY_BIT, 1, 0, _CLONE_THREAD)
    return [
        (_EQUAL, 0, 4, number),
        (_LOAD, 0, 0, _ARGS_AT),
        bad,
        (_RETURN, 0, 0, _EPERM),
        (_RETURN, 0, 0, _ALLOW),
    ]
