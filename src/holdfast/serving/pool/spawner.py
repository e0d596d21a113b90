"""The front's line to the fork server, which is started anew when it dies."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from holdfast.serving.errors import LoadError
from holdfast.serving.pool.journal import Journal, Output
from holdfast.serving.workers.limits import scrubbed

WORKERS_MAX: Final = 256
_START_S: Final = 60.0
_FORK_S: Final = 10.0
_STOP_S: Final = 5.0
_MODULE: Final = "holdfast.serving.workers.forkserver"


class Process:
    """A worker's process. ``line`` is our end of its socket pair."""

    def __init__(
        self,
        pid: int,
        pidfd: int,
        line: socket.socket,
        scratch: Path,
        output: Output,
        forgotten: Callable[[], None],
    ) -> None:
        self.pid = pid
        self.line = line
        self.scratch = scratch
        self._pidfd = pidfd
        self._output = output
        self._forgotten = forgotten

    def kill(self) -> None:
        """End it and its group now.

        Of one that has ended the fork server ends the group, before it lets go of the number.
        """
        if self._pidfd < 0 or _ended(self._pidfd):
            return
        with contextlib.suppress(ProcessLookupError):  # it has no group yet
            os.killpg(self.pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def close(self) -> None:
        """Forget it; its scratch folder is the caller's."""
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1
            self._output.end()
            self._forgotten()


class Spawner:
    """Starts workers. One fork at a time; a few milliseconds each."""

    def __init__(
        self, scratch: Path, libraries: Sequence[str], workers_max: int = WORKERS_MAX
    ) -> None:
        self.scratch = scratch  # where their folders are
        self._libraries = libraries
        self._workers_max = workers_max
        self._living = 0
        self._server: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._lock = asyncio.Lock()
        self._journal = Journal()

    async def start(self) -> None:
        """Have the fork server running; raises ``LoadError``."""
        async with self._lock:
            await self._ensure()

    async def spawn(self, service: str, generation: str = "") -> Process:
        """A new worker that waits for its first frame; raises ``LoadError``.

        What it writes to stdout and stderr is logged as of that service and generation. It takes
        its room at once.
        """
        self._living += 1
        try:
            async with self._lock:
                return await self._spawned(service, generation)
        except BaseException:
            self._living -= 1
            raise

    async def _spawned(self, service: str, generation: str) -> Process:
        for last in (False, True):
            await self._ensure()
            ours, theirs = socket.socketpair()
            heard, said = os.pipe()
            os.set_blocking(said, False)
            try:
                output = await self._journal.listen(heard, service, generation)
                async with asyncio.timeout(_FORK_S):
                    pid, pidfd = await self._fork(theirs, said)
            except (OSError, TimeoutError) as error:
                ours.close()
                self._abandon()
                if last:
                    raise LoadError(f"No worker can be started: {error!r}.") from None
            else:
                ours.setblocking(False)
                scratch = Path(tempfile.mkdtemp(prefix="worker-", dir=self.scratch))
                output.pid = pid
                return Process(pid, pidfd, ours, scratch, output, self._forget)
            finally:
                theirs.close()
                os.close(said)  # without a worker, that is the pipe's end
        raise LoadError("No worker can be started.")

    @property
    def has_room(self) -> bool:
        """Whether there are fewer workers than the node may have."""
        return self._living < self._workers_max

    def _forget(self) -> None:
        self._living -= 1

    async def stop(self) -> None:
        """Close the line to the fork server, which then ends what workers are left, and itself."""
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._server is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                await asyncio.to_thread(self._server.wait, _STOP_S)
        self._abandon()
        await self._journal.close()

    async def _ensure(self) -> None:
        if self._server is not None and self._server.poll() is None and self._control is not None:
            return
        self._abandon()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.scratch.mkdir(parents=True, exist_ok=True)
        root = str(Path(__file__).parents[3])
        # -P: the folder we happen to be started in is not searched for modules.
        self._server = subprocess.Popen(  # noqa: ASYNC220 - returns at once
            [sys.executable, "-P", "-m", _MODULE, str(theirs.fileno()), *self._libraries],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            env={**scrubbed(self.scratch), "PYTHONPATH": root},
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

    async def _fork(self, theirs: socket.socket, said: int) -> tuple[int, int]:
        control = self._control
        if control is None:
            raise ConnectionResetError("the fork server is gone")
        socket.send_fds(control, [b"s"], [theirs.fileno(), said])
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


def _ended(pidfd: int) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
