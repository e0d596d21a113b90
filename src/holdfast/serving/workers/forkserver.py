"""The process that workers are forked from: libraries loaded, nothing of any package.

Run as ``python -m holdfast.serving.workers.forkserver FD LIBRARY…``. Each message on the
control socket carries the worker's end of its line, and of the pipe that is its stdout and stderr;
the answer carries a pidfd, so that the front can kill exactly that process, whatever happens to
its number.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import select
import signal
import socket
import sys
from typing import Final

from holdfast.serving.workers import worker

_STANDARD: Final = 3  # stdin, stdout, stderr are kept


def main(argv: list[str]) -> None:
    """Serve the front until it is gone, and end its workers then."""
    control = socket.socket(fileno=int(argv[0]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the front decides, by closing the line
    for library in argv[1:]:
        with contextlib.suppress(ImportError):
            importlib.import_module(library)
    gc.collect()
    gc.freeze()  # pages of what is loaded stay shared
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them: pidfds tell
    control.sendall(b"+")
    made: list[int] = []
    while True:
        data, fds, _, _ = socket.recv_fds(control, 1, 2)
        made = _living(made)
        if not data:
            break
        line, said = fds
        pid = os.fork()
        if pid == 0:
            _child(line, said)
        # The child waits for its first frame, which comes after this answer: it is alive.
        pidfd = os.pidfd_open(pid)
        socket.send_fds(control, [pid.to_bytes(4, "little")], [pidfd])
        made.append(pidfd)
        os.close(line)
        os.close(said)
    for pidfd in made:  # without a front, a stuck one would be stuck for ever
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)


def _living(pidfds: list[int]) -> list[int]:
    """Those whose process has not ended; the others are closed."""
    poll = select.poll()
    for pidfd in pidfds:
        poll.register(pidfd, select.POLLIN)
    ended = {pidfd for pidfd, _ in poll.poll(0)}
    for pidfd in ended:
        os.close(pidfd)
    return [pidfd for pidfd in pidfds if pidfd not in ended]


def _child(line: int, said: int) -> None:
    status = 1
    try:
        os.setsid()
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.dup2(said, 1)
        os.dup2(said, 2)
        moved = os.dup2(line, _STANDARD)
        os.closerange(_STANDARD + 1, os.sysconf("SC_OPEN_MAX"))
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # nobody reads what it says: it goes on
        gc.unfreeze()
        worker.serve(socket.socket(fileno=moved))
        status = 0
    finally:
        with contextlib.suppress(Exception):
            sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    main(sys.argv[1:])
