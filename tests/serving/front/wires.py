"""A connection of the front on a wire of its own: no socket, and a clock that the test turns."""

from __future__ import annotations

import asyncio
from typing import Any

from holdfast.serving.front.answers import Answer, json_answer
from holdfast.serving.front.http import Connection
from holdfast.serving.front.request import Request, Sink
from holdfast.serving.front.room import Room
from holdfast.serving.settings import HttpSettings


class Wire(asyncio.Transport):
    """Keeps what is written; ``unsent`` bytes of it are said to be unread."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.unsent = 0
        self.reading = True
        self.closed = self.aborted = self.ended = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        assert not self.closed
        self.written += bytes(data)

    def write_eof(self) -> None:
        self.ended = True

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = self.aborted = True


class Site:
    """Answers ``/now`` at once, ``/later`` when told; everything else by a document."""

    def __init__(self, **settings: Any) -> None:
        self.settings = HttpSettings(**settings)
        self.room = Room(self.settings)
        self.closing = False
        self.now = 100.0
        self.asked: list[Request] = []
        self.bodies: list[bytes] = []
        self.waiting: list[Connection] = []
        self.refusal: Any = None

    def sink(self, request: Request) -> Sink | None:
        return None

    def admit(self, request: Request) -> None:
        if self.refusal is not None:
            raise self.refusal

    def query(self, connection: Connection, request: Request) -> bool:
        self.asked.append(request)
        self.bodies.append(request.body)
        if request.refusal is not None:
            return False
        if request.url == b"/now":
            connection.respond(200, b"now")
            return True
        if request.url == b"/later":
            self.waiting.append(connection)
            return True
        return False

    async def handle(self, connection: Connection, request: Request) -> Answer:
        return json_answer(request.url.decode())

    def answer(self) -> None:
        """Answer the oldest ``/later``."""
        self.waiting.pop(0).respond(200, b"later")

    def connect(self) -> tuple[Connection, Wire]:
        wire = Wire()
        connection = Connection(self, lambda: self.now)
        connection.connection_made(wire)
        return connection, wire


async def turns(count: int = 5) -> None:
    """Let what is due in the loop happen."""
    for _ in range(count):
        await asyncio.sleep(0)


def post(url: str, body: bytes = b"", *headers: str) -> bytes:
    """A request's bytes."""
    lines = [f"POST {url} HTTP/1.1", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def statuses(wire: Wire) -> list[int]:
    """Of the answers written."""
    return [int(part[:3]) for part in wire.written.split(b"HTTP/1.1 ")[1:]]
