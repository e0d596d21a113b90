"""Whether a node wants queries, and that it leaves only while another stays (D7, D17).

::

    in --out--> out --back--> in        out outlives the process: it is a file
     +--drain, TERM--> draining --> ended

Leaving is claimed first, then the others are looked at. So of two nodes that leave at the same
moment each sees the other's claim and stays; it cannot happen that both go.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from holdfast.errors import ConflictError
from holdfast.serving.peers import Itself, NodeList, Peers

NOT_ALIVE_FILE: Final = "apinode-not-alive.txt"


class Presence:
    """``settled``: whether all that should serve is loaded, or has failed."""

    def __init__(self, data: Path, peers: Peers, zone: str, settled: Callable[[], bool]) -> None:
        self.draining = False
        self._file = data / NOT_ALIVE_FILE
        self._peers = peers
        self._zone = zone
        self._settled = settled
        self._claims = 0

    def why_not(self) -> str:
        """Why the probe says no; empty if it says yes."""
        if self.draining:
            return "draining"
        if not self._settled():
            return "loading"
        if self._file.exists():
            return f"forced down by {NOT_ALIVE_FILE}"
        return ""

    def out_for_s(self) -> float:
        """How long the file has forced the probe down; 0 if it does not."""
        try:
            return max(0.0, time.time() - self._file.stat().st_mtime)
        except FileNotFoundError:
            return 0.0

    def document(self) -> NodeList:
        """What others are told."""
        alive = not self.why_not() and not self._claims
        return NodeList(self._peers.urls(), Itself(self._peers.id, alive, self._zone))

    async def out(self, *, force: bool) -> None:
        """Force the probe down; raises ``ConflictError`` for the last node alive."""
        async with self.leaving(force=force):
            if not self._file.exists():  # its age is told to those who wait for balancers
                self._file.write_text("Taken out. Remove this file, or: holdfast apinode back\n")

    def back(self) -> None:
        """Let the probe say what is so."""
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
