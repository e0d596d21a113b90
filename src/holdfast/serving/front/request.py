"""A request as it comes in."""

from __future__ import annotations

from typing import Final, Protocol

from holdfast.errors import HoldfastError

_NODE_PROBE: Final = b"isAlive"
_PROBES: Final = (_NODE_PROBE, b"isReady", b"v2/health/")


class Sink(Protocol):
    """Takes a body in pieces (an upload); ``abort`` may come at any time, and twice."""

    def write(self, data: bytes) -> None: ...
    def abort(self) -> None: ...


class Request:
    """A request; ``body`` is whole, unless a ``sink`` took it or there is a ``refusal``."""

    __slots__ = (
        "authorization", "body", "coding", "deadline_ms", "expects", "held", "keep_alive",
        "length", "method", "parts", "refusal", "sink", "size", "upgrade", "url",
    )  # fmt: skip

    def __init__(self) -> None:
        self.method = b""  # empty until the head is there
        self.url = b""
        self.authorization = b""
        self.body = b""
        self.parts: list[bytes] | None = None
        self.sink: Sink | None = None
        self.refusal: HoldfastError | None = None  # the answer, whatever the body says
        self.size = 0
        self.held = 0  # bytes of the body that are in memory
        self.length = -1
        self.coding = b""  # of the transfer
        self.expects = False
        self.upgrade = False
        self.keep_alive = True
        self.deadline_ms = -1

    def of_node_probe(self) -> bool:
        """Whether it asks how the node is."""
        return self.url.lstrip(b"/").startswith(_NODE_PROBE)

    def of_probe_with_body(self) -> bool:
        """Whether it asks how the node or a service is, and is longer than that takes."""
        has_body = self.length > 0 or self.coding != b""
        return has_body and any(path in self.url for path in _PROBES)

    def head(self, version: str) -> bytes:
        """What matters of the head, once more; without a wish to upgrade."""
        lines = [b"%b %b HTTP/%b" % (self.method, self.url, version.encode())]
        if self.authorization:
            lines.append(b"Authorization: " + self.authorization)
        if self.length >= 0:
            lines.append(b"Content-Length: %d" % self.length)
        if self.coding:
            lines.append(b"Transfer-Encoding: " + self.coding)
        if self.expects:
            lines.append(b"Expect: 100-continue")
        if self.deadline_ms >= 0:
            lines.append(b"Holdfast-Deadline-Ms: %d" % self.deadline_ms)
        lines.append(b"Connection: keep-alive" if self.keep_alive else b"Connection: close")
        return b"\r\n".join((*lines, b"", b""))
