"""The process that workers are forked from: libraries loaded, nothing of any package.

Run as ``python -m holdfast.serving.workers.forkserver FD LIBRARY…``. Each message on the
control socket carries the worker's end of its line, and of the pipe that is its stdout and stderr;
the answer carries a pidfd, so that the front can kill exactly that process, whatever happens to
its number. When a worker ends, however it does, what it has started ends with it: that is all in
its process group (``seccomp`` lets none leave it), which is killed before the number is let go.
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
    control.sendall(b"+")
    made: dict[int, int] = {}  # workers, by their pidfds
    while True:
        if not _asked(control, made):
            continue
        data, fds, _, _ = socket.recv_fds(control, 1, 2)
        if not data:
            break
        line, said = fds
        pid = os.fork()
        if pid == 0:
            _child(line, said)
        # The child waits for its first frame, which comes after this answer: it is alive.
        pidfd = os.pidfd_open(pid)
        socket.send_fds(control, [pid.to_bytes(4, "little")], [pidfd])
        made[pidfd] = pid
        os.close(line)
        os.close(said)
    for pidfd, pid in made.items():  # without a front, a stuck one would be stuck for ever
        _end(pidfd, pid)


def _asked(control: socket.socket, made: dict[int, int]) -> bool:
    """Wait until the front says something, or workers end; whether it was the front.

    Workers that have ended are forgotten, with all that they have started.
    """
    poll = select.poll()
    for one in (control.fileno(), *made):
        poll.register(one, select.POLLIN)
    told = {fd for fd, _ in poll.poll()}
    for pidfd in told & made.keys():
        pid = made.pop(pidfd)
        _end(pidfd, pid)
        os.waitpid(pid, 0)  # from here on, the number may be another's
        os.close(pidfd)
    return control.fileno() in told


def _end(pidfd: int, pid: int) -> None:
    """Kill a worker, which has not been waited for, and its group."""
    with contextlib.suppress(ProcessLookupError):  # it has no group yet, and so has no child
        os.killpg(pid, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)


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
