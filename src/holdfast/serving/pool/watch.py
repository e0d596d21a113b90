"""What is watched of a worker from outside, since no limit of the kernel holds it.

Processor time: the kernel's limit can be raised again by who renews it with every batch, so
threads that ignore its signal would go on. Disk: it bounds a file, not how many there are.
"""

from __future__ import annotations

import os
from typing import Final

from holdfast.serving.pool.scratch import used_bytes
from holdfast.serving.pool.spawner import Process

WATCH_S: Final = 1.0
FREE_S: Final = 3.0  # what a worker may use beyond what its queries explain, once
_IDLE_SHARE: Final = 0.1  # of a core, for ever: threads that look after something
_TICKS: Final = os.sysconf("SC_CLK_TCK")


class Budget:
    """Processor time that a worker's queries explain: all cores while it has any."""

    def __init__(self, cores: int) -> None:
        self._cores = cores
        self._left_s = FREE_S
        self._seen_s = (0.0, 0.0, 0.0)

    def overdrawn(self, now: float, worked_s: float, cpu_s: float) -> bool:
        """Told what it has worked and used since its start, seconds: whether that is too much."""
        before, worked_before, cpu_before = self._seen_s
        self._seen_s = (now, worked_s, cpu_s)
        if not before:
            return False
        worked = worked_s - worked_before
        idle = max(0.0, now - before - worked)
        explained = self._cores * worked + _IDLE_SHARE * idle
        self._left_s = min(FREE_S, self._left_s + explained - (cpu_s - cpu_before))
        return self._left_s < 0


class Seen:
    """One look at a process: processor time since its start, threads, bytes on disk. Blocks."""

    def __init__(self, process: Process, bytes_max: int) -> None:
        self.cpu_s, self.threads = _stat(process.pid)
        self.disk_bytes = used_bytes(process.scratch, process.pid, bytes_max)


def _stat(pid: int) -> tuple[float, int]:
    """As proc_pid_stat(5) has it; nothing if the process has ended."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - of many, every second
            words = file.read().rpartition(b")")[2].split()
    except OSError:
        return 0.0, 0
    return (int(words[11]) + int(words[12])) / _TICKS, int(words[17])
