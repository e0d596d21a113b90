"""As whom user code runs, when the node is root: never as root if that can be helped."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from typing import Final

UNPRIVILEGED: Final = "nobody"
_PROBE_S: Final = 30.0
_PROBE: Final = "import os,sys;sys.exit(not all(os.access(p,os.R_OK|os.X_OK)for p in sys.argv[1:]))"


def choose_user(wanted: str, folders: Sequence[Path]) -> tuple[str, str]:
    """(user, warning). ``wanted``: what was configured; empty is the node's own user.

    As root without a wish it is ``nobody``, if that may read the folders, Holdfast and the
    libraries; else root, with a warning that says what to do.
    """
    if wanted or os.geteuid() != 0:
        return wanted, ""
    needed = [*folders, Path(__file__).parents[3], Path(sysconfig.get_path("purelib"))]
    if _may_read(UNPRIVILEGED, needed):
        return UNPRIVILEGED, ""
    return "", (
        f"The code of packages runs as root: {UNPRIVILEGED} cannot read all of "
        f"{', '.join(map(str, needed))}. Run the node as another user, or have its data where "
        "others may read, or set workers.limits.user (to root, if it is meant so)."
    )


def _may_read(user: str, folders: Sequence[Path]) -> bool:
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
