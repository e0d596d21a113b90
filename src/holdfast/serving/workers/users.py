"""As whom user code runs, when the node is root: never as root unless that was said."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from holdfast.errors import ConfigError
from holdfast.serving.workers import landlock

UNPRIVILEGED: Final = "nobody"
VARIABLE: Final = "HOLDFAST_APINODE_WORKERS_USER"  # for root only, and if nothing is configured
_PROBE_S: Final = 30.0
_PROBE: Final = "import os,sys;sys.exit(not all(os.access(p,os.R_OK|os.X_OK)for p in sys.argv[1:]))"


def choose_user(
    wanted: str, folders: Sequence[Path], environ: Mapping[str, str] = os.environ
) -> tuple[str, str]:
    """(user, warning of what this kernel lacks). An empty user is the node's own.

    As root without a wish it is ``nobody``; raises ``ConfigError`` if that cannot read the
    folders, Holdfast and the libraries, or if the folders are among those libraries.
    """
    warning = (
        ""
        if landlock.version()
        else "This kernel has no Landlock (Linux 5.13 and later, not switched off), so the code of "
        "packages can read and write whatever its user can: run the node as root, so that the "
        "user is another one than the node's, or with packages that you trust."
    )
    for folder in folders:
        place = landlock.shown(folder)
        if place:
            raise ConfigError(
                f"{folder} is below {place}, which the code of packages may read: have the node's "
                "data elsewhere (--data)."
            )
    if os.geteuid() != 0:
        return wanted, warning
    wanted = wanted or environ.get(VARIABLE, "")
    if wanted:
        return wanted, warning
    needed = [*folders, Path(__file__).parents[3], Path(sysconfig.get_path("purelib"))]
    if may_read(UNPRIVILEGED, needed):
        return UNPRIVILEGED, warning
    raise ConfigError(
        f"The node is root, and {UNPRIVILEGED}, who should run the code of packages, cannot read "
        f"all of {', '.join(map(str, needed))} with this Python ({sys.executable}). Have them "
        "where others may read, or run the node as another user, or, if you trust every package, "
        f"let it be root: user under [workers.limits] in apinode.toml, or {VARIABLE}=root."
    )


def may_read(user: str, folders: Sequence[Path]) -> bool:
    """Asked of the kernel, as that user: every folder on the way counts, and access lists."""
    try:
        entry = pwd.getpwnam(user)
        asked = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _PROBE, *map(str, folders)],
            user=entry.pw_uid,
            group=entry.pw_gid,
            extra_groups=[],
            env={},
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_PROBE_S,
            check=False,
        )
    except (KeyError, OSError, subprocess.SubprocessError):
        return False
    return asked.returncode == 0
