"""Which files a worker sees: Landlock, which binds root as well (Linux 5.13 and later).

What it does not know (modes, owners, sockets that are files) ``seccomp`` refuses.
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Final

# Calls and rights of landlock(7); the numbers are the same on all architectures.
_CREATE, _ADD, _RESTRICT = 444, 445, 446
_CREATE_VERSION: Final = 1
_RULE_PATH: Final = 1
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_MAKE_CHAR, _MAKE_BLOCK = 1 << 6, 1 << 11
_TRUNCATE, _IOCTL_DEV = 1 << 14, 1 << 15
_OF_FILES: Final = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
_SCOPES: Final = 0b11  # abstract sockets, signals
SCOPES_ABI: Final = 6

READ: Final = _READ_FILE | _READ_DIR
RUN: Final = READ | _EXECUTE
USE: Final = READ | _WRITE_FILE | _TRUNCATE
OWN: Final = (1 << 15) - 1 & ~(_EXECUTE | _MAKE_CHAR | _MAKE_BLOCK)

_SYSTEM: Final = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/nix/store", "/gnu/store")
_READABLE: Final = (
    *(f"/etc/{name}" for name in ("ld.so.cache", "ld.so.conf", "ld.so.conf.d")),
    *(f"/etc/ssl/{name}" for name in ("certs", "openssl.cnf", "cert.pem", "ca-bundle.pem")),
    *(f"/etc/pki/{name}" for name in ("ca-trust", "tls/certs", "tls/cert.pem")),
    "/etc/pki/tls/openssl.cnf",
    "/etc/pki/tls/openssl.d",
    *(f"/etc/{name}" for name in ("ca-certificates", "nsswitch.conf", "hosts", "resolv.conf")),
    *(f"/etc/{name}" for name in ("host.conf", "gai.conf", "services", "protocols", "passwd")),
    *(f"/etc/{name}" for name in ("group", "localtime", "timezone", "mime.types", "os-release")),
    *(f"/etc/{name}" for name in ("fonts", "alternatives")),
    "/run/systemd/resolve",  # where resolv.conf may lead, and is replaced
    *(f"/proc/{name}" for name in ("self", "cpuinfo", "meminfo", "stat", "version", "loadavg")),
    *(f"/proc/{name}" for name in ("filesystems", "sys/vm", "sys/kernel/osrelease")),
    "/sys/bus/pci/devices",
    "/sys/devices/system",
    "/sys/kernel/mm/transparent_hugepage",
    "/sys/fs/cgroup",
)
_USABLE: Final = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")


@cache
def version() -> int:
    """Of the kernel's Landlock; 0 if it has none, or has it switched off."""
    return max(0, _call(_CREATE, None, 0, _CREATE_VERSION))


def confine(readable: Iterable[Path], own: Iterable[Path], libraries: Iterable[str]) -> None:
    """Leave this process (its only thread) these files and those of the system, for good.

    ``own`` may be written, ``libraries`` run. What is not there is left out. Without Landlock
    nothing is done; raises ``OSError`` if it is there and refuses.
    """
    abi = version()
    if not abi:
        return
    handled = (1 << (13 if abi < 2 else 14 if abi < 3 else 15 if abi < 5 else 16)) - 1
    scoped = _SCOPES if abi >= SCOPES_ABI else 0
    size = 8 if abi < 4 else 16 if abi < SCOPES_ABI else 24
    attributes = struct.pack("<QQQ", handled, 0, scoped)[:size]
    rules = _checked(_call(_CREATE, attributes, size, 0), "landlock_create_ruleset")
    try:
        for path, rights in _rights(readable, own, libraries):
            _allow(rules, path, rights & handled)
        _checked(_call(_RESTRICT, rules, 0), "landlock_restrict_self")
    finally:
        os.close(rules)


def _rights(
    readable: Iterable[Path], own: Iterable[Path], libraries: Iterable[str]
) -> Iterator[tuple[str | Path, int]]:
    for path in {*_SYSTEM, *libraries}:
        yield path, RUN
    for path in _READABLE:
        yield path, READ
    for path in _USABLE:
        yield path, USE
    for path in readable:
        yield path, READ
    for path in own:
        yield path, OWN


def libraries() -> set[str]:
    """Where this interpreter has what it imports: its prefixes, and all that it searches."""
    places = {sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix}
    found = {os.path.abspath(path) for path in (*places, *sys.path) if path}  # noqa: PTH100
    return found - {"/"}


def shown(path: Path) -> str:
    """Which of the system's folders, or the interpreter's, has it; empty if none."""
    places = {*_SYSTEM, sys.prefix, sys.base_prefix}
    found = [place for place in places if path.resolve().is_relative_to(Path(place).resolve())]
    return found[0] if found else ""


def _allow(rules: int, path: str | Path, rights: int) -> None:
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # not on this machine, or not for this user
    try:
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            rights &= _OF_FILES
        _checked(_call(_ADD, rules, _RULE_PATH, struct.pack("<Qi", rights, fd), 0), str(path))
    finally:
        os.close(fd)


def _call(number: int, *arguments: int | bytes | None) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    return int(
        libc.syscall(
            ctypes.c_long(number),
            *(ctypes.c_long(one) if isinstance(one, int) else one for one in arguments),
        )
    )


def _checked(result: int, what: str) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), what)
    return result
