"""The host: its data directory, secrets, disk, ports and limits. Reads only."""

from __future__ import annotations

import os
import resource
import shutil
import socket
import ssl
import stat
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from holdfast.errors import HoldfastError
from holdfast.ops.config import Loaded, Settings
from holdfast.ops.datadir import DataDir
from holdfast.ops.doctor.finding import Finding, fail, ok, warn
from holdfast.ops.settings import EVERYWHERE
from holdfast.store.keyring import MASTER_KEY_VARIABLE, Keyring

DISK_FAIL_BYTES: Final = 500 << 20
DISK_WARN_BYTES: Final = 5 << 30
FILES_BESIDE: Final = 1024  # open files of a process that are no connections to BMCs
ANSWER_S: Final = 2.0


def configuration(loaded: Loaded) -> list[Finding]:
    """It was read without a fault; names of other systems in it are still to be changed."""
    where = str(loaded.file) if loaded.file else "no file, defaults"
    if loaded.warnings:
        return [
            warn("configuration", f"{where}: {'; '.join(loaded.warnings)}", "rename the settings")
        ]
    return [ok("configuration", f"{where}, {len(loaded.entries)} settings made")]


def data_directory(datadir: DataDir) -> list[Finding]:
    """Only its owner may read it (0700; 0701 or 0711 where PostgreSQL has to pass through)."""
    root = datadir.root
    if not root.is_dir():
        return [
            warn(
                "data directory",
                f"{root} does not exist",
                "nothing was started here yet; if it was, name its directory by HOLDFAST_DATA_DIR",
            )
        ]
    found: list[Finding] = []
    for path, mask in (
        (root, 0o066),
        (datadir.root / "run", 0o077),
        (datadir.gateway_state, 0o077),
        (datadir.postgres, 0o077),
        (datadir.master_key, 0o077),
        (datadir.master_key.with_name("master.key.retired"), 0o077),
        (datadir.gateway_secret, 0o077),
        (datadir.clouds, 0o077),
        (root / "postgres.password", 0o077),
    ):
        if path.exists() and (mode := stat.S_IMODE(path.stat().st_mode)) & mask:
            keep = "700" if path.is_dir() else "600"
            found.append(
                fail(
                    "data directory",
                    f"{path} can be read or changed by others (mode {mode:04o})",
                    f"chmod {keep} {path}; if it holds a secret, think of replacing that",
                )
            )
    if found:
        return found
    if stat.S_IMODE(root.stat().st_mode) & 0o011:
        text = f"{root}: only its owner can read it; others can pass, as PostgreSQL's own user must"
    else:
        text = f"{root}: for its owner only"
    return [ok("data directory", text)]


def secrets(datadir: DataDir, environ: Mapping[str, str]) -> list[Finding]:
    """The master keys can be read, and no rotation was left half-way."""
    if not datadir.master_key.exists() and not environ.get(MASTER_KEY_VARIABLE):
        return [warn("master key", "there is none yet", "it is made at the first start")]
    try:
        keys = Keyring(datadir.master_key, environ).keys()
    except HoldfastError as fault:
        return [fail("master key", fault.message, "restore it from your backup")]
    if keys.staged is not None or keys.retired:
        return [
            warn(
                "master key",
                f"a rotation was begun and not ended: {len(keys.ids())} keys",
                "run `holdfast keys rotate` until it says that it is done",
            )
        ]
    return [ok("master key", f"{keys.ids()[0]}")]


def certificates() -> list[Finding]:
    """Whether BMCs with ``redfish_verify_ca`` can be verified at all."""
    paths = ssl.get_default_verify_paths()
    there = [p for p in (paths.cafile, paths.capath) if p and Path(p).exists()]
    if there:
        return [ok("certificates", f"certificate authorities: {there[0]}")]
    return [
        warn(
            "certificates",
            "this host has no certificate authorities",
            "install its package ca-certificates; until then no BMC over https can be verified",
        )
    ]


def disk(folder: Path, free_bytes: int | None = None) -> list[Finding]:
    """Free space where the data directory is (or will be)."""
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free if free_bytes is None else free_bytes
    text = f"{free / (1 << 30):.1f} GiB free at {folder}"
    if free < DISK_FAIL_BYTES:
        return [fail("disk", text, "make room: a database on a full disk stops")]
    if free < DISK_WARN_BYTES:
        return [warn("disk", text, "make room for the database and the logs")]
    return [ok("disk", text)]


def open_files(settings: Settings, hard: int | None = None) -> list[Finding]:
    """The gateway keeps a connection to each BMC open; roles raise their limit to the hard one."""
    if hard is None:
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    needed = settings.bmc.connections_max + FILES_BESIDE
    if hard != resource.RLIM_INFINITY and hard < needed:
        return [
            warn(
                "open files",
                f"a process may have {hard}, the gateway may want {needed}",
                f"raise the hard limit (ulimit -Hn {needed}, or LimitNOFILE= of the service), or "
                "lower bmc.connections_max",
            )
        ]
    return [ok("open files", "no limit" if hard == resource.RLIM_INFINITY else f"{hard}")]


def ports(settings: Settings) -> list[Finding]:
    """Each port is free, or answers as ours does.

    Under a running supervisor the APIs may be elsewhere (``up --port``): theirs are left out then.
    """
    up = settings.supervisor.port
    running = bool(up) and _answers(f"http://127.0.0.1:{up}")
    mine = [("API", settings.api.host, settings.api.port)]
    if settings.api.ports.baremetal:
        mine.append(("Bare Metal API", settings.api.host, settings.api.ports.baremetal))
    if not settings.rack.url:
        mine.append(("gateway", settings.rack.host, settings.rack.port))
    mine.append(("supervisor", "127.0.0.1", settings.supervisor.port))
    return [
        _port(name, host, port, elsewhere=running and name.endswith("API"))
        for name, host, port in mine
        if port
    ]


def _port(name: str, host: str, port: int, *, elsewhere: bool) -> Finding:
    check = f"port {port}"
    shown = EVERYWHERE.get(host, host)
    if _answers(f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"):
        return ok(check, f"the {name} answers")
    if elsewhere:
        return ok(check, f"not looked at: Holdfast runs here, with its {name} on another port")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((host, port))
    except OSError as error:
        return fail(
            check,
            f"wanted by the {name} on {host}, and something else has it ({error.strerror})",
            "stop that, or choose another port in the configuration",
        )
    return ok(check, f"free, for the {name}")


def _answers(url: str) -> bool:
    """Whether something of ours is there: it says that it lives."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{url}/livez", timeout=ANSWER_S) as answer:
            return answer.status == 200
    except (OSError, ValueError, urllib.error.URLError):
        return False


def effective_user(datadir: DataDir) -> list[Finding]:
    """The doctor sees what Holdfast sees only as the same user."""
    if not datadir.root.is_dir():
        return []
    owner = datadir.root.stat().st_uid
    if owner in (os.geteuid(), 0):
        return []
    return [
        warn(
            "user",
            f"the data directory belongs to user {owner}, the doctor runs as {os.geteuid()}",
            "run it as the user that runs Holdfast",
        )
    ]
