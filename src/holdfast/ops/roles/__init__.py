"""What stands behind each port in each role: the one place where adapters are chosen."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import resource
from collections.abc import Awaitable, Callable
from typing import Final, cast

from holdfast.ops.roles.process import RoleProcess

ROLES: Final = ("rack", "conductor", "engine", "api", "apinode")
"""The roles that exist, in the order in which they are started."""

_FILES_MAX: Final = 1 << 20  # Linux's own nr_open


def run_role(process: RoleProcess) -> int:
    """Run one role until it has drained; returns the process's exit status."""
    import uvloop  # noqa: PLC0415 - only a role needs it

    _allow_files()
    module = importlib.import_module(f"holdfast.ops.roles.{process.role}")
    body = cast("Callable[[RoleProcess], Awaitable[int]]", module.run)

    async def main() -> int:
        process.watch_signals()
        return await body(process)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            return runner.run(main())
        except asyncio.CancelledError:
            return process.HARD_STOP


def _allow_files() -> None:
    """As many open files as the host allows: the gateway keeps a connection to every BMC."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    most = _FILES_MAX if hard == resource.RLIM_INFINITY else min(hard, _FILES_MAX)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
