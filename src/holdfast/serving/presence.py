"""Whether a node wants queries, and that it leaves only while another stays (D7, D17).

::

    in --out--> out --back--> in        out outlives the process: it is a file
     +--drain, TERM--> draining --> ended

Leaving is claimed first, then the others are looked at. So of two nodes that leave at the same
moment each sees the other's claim and stays; it cannot happen that both go.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from holdfast.errors import ConflictError
from holdfast.serving.generations.state import disk_errors, write_durably
from holdfast.serving.peers import Itself, NodeList, Peers

NOT_ALIVE_FILE: Final = "apinode-not-alive.txt"
_WHY: Final = b"Taken out. Remove this file, or: holdfast apinode back\n"


class Presence:
    """``settled``: whether all that should serve is loaded, or has failed.

    ``clock``: seconds that only grow.
    """

    def __init__(
        self,
        data: Path,
        peers: Peers,
        zone: str,
        settled: Callable[[], bool],
        clock: Callable[[], float],
    ) -> None:
        self.draining = False
        self._file = data / NOT_ALIVE_FILE
        self._peers = peers
        self._zone = zone
        self._settled = settled
        self._clock = clock
        self._claims = 0
        self._no_since: float | None = None
        self.look()

    def why_not(self) -> str:
        """Why the probe says no; empty if it says yes."""
        if self.draining:
            return "draining"
        why = ""
        if not self._settled():
            why = "loading"
        elif self._file.exists():
            why = f"forced down by {NOT_ALIVE_FILE}"
        if not why:
            self._no_since = None
        elif self._no_since is None:
            self._no_since = self._clock()
        return why

    def look(self) -> None:
        """Notice how things are; called at least every second."""
        self.why_not()

    def out_for_s(self) -> float:
        """For how long the probe has said no without a break, as this process has seen it.

        Neither the file's date nor the wall clock counts: either may be set at will.
        """
        self.look()
        return 0.0 if self._no_since is None else self._clock() - self._no_since

    def document(self) -> NodeList:
        """What others are told."""
        alive = not self.why_not() and not self._claims
        return NodeList(self._peers.urls(), Itself(self._peers.id, alive, self._zone))

    async def out(self, *, force: bool) -> None:
        """Force the probe down; raises ``ConflictError`` for the last node alive.

        Raises ``DiskError`` if that cannot be written; then nothing has changed.
        """
        async with self.leaving(force=force):
            if not self._file.exists():
                with disk_errors():
                    await asyncio.to_thread(write_durably, self._file, _WHY, 0o644)
            self.look()

    def back(self) -> None:
        """Let the probe say what is so; raises ``DiskError``."""
        with disk_errors():
            self._file.unlink(missing_ok=True)

    @asynccontextmanager
    async def leaving(self, *, force: bool) -> AsyncGenerator[None]:
        """The others know within that we are about to go; raises ``ConflictError``."""
        self._claims += 1
        try:
            if not force and not self.why_not() and not await self._peers.alive():
                others = self._peers.urls()
                raise ConflictError(
                    "No other node is alive, so queries would be lost: nothing was changed. "
                    + (f"Known are {', '.join(others)}. " if len(others) > 1 else "")
                    + "Tell the node of others ([node] peers), or force it."
                )
            yield
        finally:
            self._claims -= 1
