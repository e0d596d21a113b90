"""Small servers of the query API in a thread, whose behaviour a test decides."""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

ALIVE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


def answer(document: Any, status: int = 200, more: str = "") -> bytes:
    """An answer's bytes; ``more`` are header lines."""
    body = json.dumps(document).encode()
    head = f"HTTP/1.1 {status} Told\r\nContent-Length: {len(body)}\r\n{more}\r\n"
    return head.encode() + body


class Asked:
    """A query as it came."""

    def __init__(self, method: str, path: str, headers: dict[str, str], body: bytes) -> None:
        self.method = method
        self.path = path
        self.headers = headers
        self.body = body


class Server:
    """``reply`` makes the bytes to answer with; None closes the connection without an answer.

    ``hold`` keeps queries (not GETs) waiting until it is cleared.
    """

    def __init__(self, name: str, tls: ssl.SSLContext | None = None) -> None:
        self.name = name
        self.asked: list[Asked] = []
        self.gets: list[str] = []
        self.connections = 0
        self.gone = 0
        self.reply: Callable[[Asked], bytes | None] = lambda _: answer({"response": self.name})
        self.get: Callable[[Asked], bytes | None] = lambda _: ALIVE
        self.hold = False
        self.port = 0
        self._tls = tls
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._free = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self.start()

    @property
    def url(self) -> str:
        return f"http{'s' if self._tls else ''}://127.0.0.1:{self.port}"

    def start(self) -> None:
        async def listen() -> None:
            self._server = await asyncio.start_server(
                self._serve, "127.0.0.1", self.port, ssl=self._tls
            )
            self.port = self._server.sockets[0].getsockname()[1]

        self._do(listen)

    def stop(self) -> None:
        """As a killed process: nothing listens, and all connections end."""

        async def stop() -> None:
            assert self._server is not None
            self._server.close()
            self.drop_now()

        self._do(stop)

    def drop(self) -> None:
        """End all connections, and go on."""

        async def drop() -> None:
            self.drop_now()

        self._do(drop)

    def drop_now(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    def let_go(self) -> None:
        self.hold = False
        self._loop.call_soon_threadsafe(self._free.set)

    def end(self) -> None:
        self.stop()
        self.let_go()

        async def last() -> None:
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()

        self._do(last)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, what: Callable[[], Any]) -> None:
        asyncio.run_coroutine_threadsafe(what(), self._loop).result(timeout=10)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        try:
            while True:
                query = await self._read(reader)
                data = await self._answer(query)
                if data is None:
                    break
                writer.write(data)
                if b"Connection: close" in data:
                    break
        except (OSError, asyncio.IncompleteReadError):
            self.gone += 1
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> Asked:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        method, path, _ = head[0].split(" ")
        pairs = [line.split(": ", 1) for line in head[1:] if line]
        headers = {name.lower(): value for name, value in pairs}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        return Asked(method, path, headers, body)

    async def _answer(self, query: Asked) -> bytes | None:
        if query.method == "GET":
            self.gets.append(query.path)
            return self.get(query)
        self.asked.append(query)
        if self.hold:
            await self._free.wait()
        return self.reply(query)


@pytest.fixture
def servers() -> Iterator[list[Server]]:
    made = [Server(name) for name in ("a", "b", "c")]
    yield made
    for one in made:
        one.end()
