"""How much memory a process may have: a fault in one ends that one, and not its host.

The limit is on address space (RLIMIT_AS), the only one that every Linux keeps: an allocation
beyond it raises ``MemoryError`` where it is made. A single one that is too large costs
whoever made it; a process that has filled up slowly would fail everybody, so it is found
before (``full``) and started again.
"""

from __future__ import annotations

import resource
from pathlib import Path
from typing import Final

FULL: Final = 0.9
"""Share of the limit from which on a process should make room for a fresh one."""
MB: Final = 1024 * 1024
_STATM: Final = Path("/proc/self/statm")


def limit_memory(max_mb: int) -> int:
    """Limit this process, and those it starts. Returns the limit that holds (MB); 0: none.

    ``max_mb`` 0 leaves it as it is; what the host allows is never exceeded.
    """
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    if max_mb:
        wanted = max_mb * MB
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    soft = resource.getrlimit(resource.RLIMIT_AS)[0]
    return 0 if soft == resource.RLIM_INFINITY else soft // MB


def used_mb() -> int:
    """Address space of this process, in MB."""
    pages = int(_STATM.read_text(encoding="ascii").split()[0])
    return pages * resource.getpagesize() // MB


def full(used: int, limit: int) -> bool:
    """Whether a process that uses ``used`` of ``limit`` MB should end; never without a limit."""
    return bool(limit) and used > FULL * limit
