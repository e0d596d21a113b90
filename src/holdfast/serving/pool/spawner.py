"""The front's line to the fork server, which is started anew when it dies."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from holdfast.serving.errors import LoadError
from holdfast.serving.workers.limits import scrubbed

_START_S: Final = 60.0
_FORK_S: Final = 10.0
_STOP_S: Final = 5.0
_MODULE: Final = "holdfast.serving.workers.forkserver"


class Process:
    """A worker's process. ``line`` is our end of its socket pair."""

    def __init__(self, pid: int, pidfd: int, line: socket.socket, scratch: Path) -> None:
        self.pid = pid
        self.line = line
        self.scratch = scratch
        self._pidfd = pidfd

    def kill(self) -> None:
        """End it and its group now; one that has ended is left alone."""
        if self._pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
                os.killpg(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """Forget it; its scratch folder is the caller's."""
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1


class Spawner:
    """Starts workers. One fork at a time; a few milliseconds each."""

    def __init__(self, scratch: Path, libraries: Sequence[str]) -> None:
        self._scratch = scratch
        self._libraries = libraries
        self._server: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._lock = asyncio.Lock()

    async def start(self) -> None:
        """Have the fork server running; raises ``LoadError``."""
        async with self._lock:
            await self._ensure()

    async def spawn(self) -> Process:
        """A new worker that waits for its first frame; raises ``LoadError``."""
        async with self._lock:
            for last in (False, True):
                await self._ensure()
                ours, theirs = socket.socketpair()
                try:
                    async with asyncio.timeout(_FORK_S):
                        pid, pidfd = await self._fork(theirs)
                except (OSError, TimeoutError) as error:
                    ours.close()
                    self._abandon()
                    if last:
                        raise LoadError(f"No worker can be started: {error!r}.") from None
                else:
                    ours.setblocking(False)
                    scratch = Path(tempfile.mkdtemp(prefix="worker-", dir=self._scratch))
                    return Process(pid, pidfd, ours, scratch)
                finally:
                    theirs.close()
        raise LoadError("No worker can be started.")

    async def stop(self) -> None:
        """Close the line to the fork server, which then ends what workers are left, and itself."""
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._server is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                await asyncio.to_thread(self._server.wait, _STOP_S)
        self._abandon()

    async def _ensure(self) -> None:
        if self._server is not None and self._server.poll() is None and self._control is not None:
            return
        self._abandon()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._scratch.mkdir(parents=True, exist_ok=True)
        root = str(Path(__file__).parents[3])
        # -P: the folder we happen to be started in is not searched for modules.
        self._server = subprocess.Popen(  # noqa: ASYNC220 - returns at once
            [sys.executable, "-P", "-m", _MODULE, str(theirs.fileno()), *self._libraries],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            env={**scrubbed(self._scratch), "PYTHONPATH": root},
            start_new_session=True,
        )
        theirs.close()
        ours.setblocking(False)
        self._control = ours
        try:
            async with asyncio.timeout(_START_S):
                hello = await asyncio.get_running_loop().sock_recv(ours, 1)
        except (OSError, TimeoutError) as error:
            self._abandon()
            raise LoadError(f"The fork server does not start: {error!r}.") from None
        if not hello:
            self._abandon()
            raise LoadError("The fork server does not start: see the node's log.")

    async def _fork(self, theirs: socket.socket) -> tuple[int, int]:
        control = self._control
        if control is None:
            raise ConnectionResetError("the fork server is gone")
        socket.send_fds(control, [b"s"], [theirs.fileno()])
        loop = asyncio.get_running_loop()
        readable = loop.create_future()
        loop.add_reader(control, _resolve, readable)
        try:
            await readable
        finally:
            loop.remove_reader(control)
        data, fds, _, _ = socket.recv_fds(control, 4, 1)
        if len(data) != 4 or not fds:
            raise ConnectionResetError("the fork server is gone")
        return int.from_bytes(data, "little"), fds[0]

    def _abandon(self) -> None:
        if self._control is not None:
            self._control.close()
            self._control = None
        server, self._server = self._server, None
        if server is not None:
            server.kill()
            server.wait()


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
