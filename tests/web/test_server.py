"""The server on real sockets: own ports, limits, drain."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncGenerator
from contextlib import suppress

import pytest
from tests.web.conftest import assembled

from holdfast.errors import ConfigError
from holdfast.web.app import AppParts
from holdfast.web.server import ApiServer, inherited, listen
from holdfast.web.settings import WebSettings

SETTINGS = WebSettings(drain_s=0, finish_s=1, head_bytes_max=2048, access_log=False)


class Running:
    """A server with a common port and one of its own for things."""

    def __init__(self, parts: AppParts) -> None:
        self.sockets = [listen("127.0.0.1", 0), listen("127.0.0.1", 0)]
        self.port, self.own_port = (sock.getsockname()[1] for sock in self.sockets)
        self.application = assembled(parts, ports={self.own_port: "things"}, settings=SETTINGS)
        self.server = ApiServer(self.application, self.sockets, SETTINGS)

    async def ask(self, text: str, port: int | None = None) -> bytes:
        """Send bytes on a connection of their own; return all that comes until it closes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port or self.port)
        writer.write(text.encode())
        try:
            return await asyncio.wait_for(reader.read(), 10)
        finally:
            writer.close()


@pytest.fixture
async def running(parts: AppParts) -> AsyncGenerator[Running]:
    running = Running(parts)
    task = asyncio.create_task(running.server.run())
    while not running.server.started:
        await asyncio.sleep(0)
    yield running
    running.server.stop()
    await task


def request(path: str, *headers: str) -> str:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: hf", *headers, "", ""])


CLOSE = "Connection: close"


async def test_common_and_own_port_are_one_application(running: Running):
    common = await running.ask(request("/things", CLOSE))
    own = await running.ask(request("/", CLOSE), running.own_port)
    assert json.loads(common.split(b"\r\n\r\n")[1])["api"] == "http://hf/things"
    assert json.loads(own.split(b"\r\n\r\n")[1])["api"] == "http://hf"
    assert b"server:" not in common.lower(), "what we run on is nobody's business"


async def test_a_head_that_is_too_large_ends_the_connection(running: Running):
    # Piece by piece, so that no single read holds all of it.
    reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
    answer = b""
    with suppress(ConnectionError):  # closed with something unread: the kernel resets it
        writer.write(b"GET /livez HTTP/1.1\r\nHost: hf\r\n")
        for number in range(1000):
            writer.write(f"X-{number}: {'x' * 64}\r\n".encode())
            await writer.drain()
        answer = await asyncio.wait_for(reader.read(), 10)
    assert not answer or answer.startswith(b"HTTP/1.1 400")
    writer.close()


async def test_a_large_body_does_not_count_as_head(running: Running):
    reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
    for _ in range(2):  # on one connection
        body = b" " * 4000
        head = f"POST /identity/v3/auth/tokens HTTP/1.1\r\nHost: hf\r\nContent-Length: {len(body)}"
        writer.write(head.encode() + b"\r\n\r\n" + body)
        answer = await asyncio.wait_for(reader.readuntil(b"\r\n"), 10)
        assert b" 400 " in answer
        rest = await reader.readuntil(b"\r\n\r\n")
        assert b"x-openstack-request-id" in rest, "answered by the application"
        length = int(rest.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        assert b"not valid JSON" in await reader.readexactly(length)
    writer.close()


async def test_garbage_is_400(running: Running):
    assert (await running.ask("\x16\x03\x01 nonsense\r\n\r\n")).startswith(b"HTTP/1.1 400")


async def test_drain_says_no_closes_kept_connections_and_ends(parts: AppParts):
    running = Running(parts)
    task = asyncio.create_task(running.server.run())
    while not running.server.started:
        await asyncio.sleep(0)
    reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
    writer.write(request("/readyz").encode())
    assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
    await reader.readexactly(len(b'{"status":"ready","faults":[]}'))
    running.application.health.draining = True
    writer.write(request("/readyz").encode())
    answer = await asyncio.wait_for(reader.read(), 10)  # until the server closes it
    assert b"503" in answer
    assert b"connection: close" in answer.lower()
    writer.close()
    await running.server.drain()
    await asyncio.wait_for(task, 10)
    with pytest.raises(OSError):  # noqa: PT011  # refused
        await running.ask(request("/livez"))


def test_a_port_that_is_taken_says_so():
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"cannot listen on 127.0.0.1:{port}"):
            listen("127.0.0.1", port)


def test_a_socket_is_inherited_by_its_descriptor():
    with listen("127.0.0.1", 0) as parent:
        port = parent.getsockname()[1]
        child = inherited(socket.dup(parent.fileno()))
        assert child.getsockname()[1] == port
        child.close()
    with pytest.raises(ConfigError, match="not a socket"):
        inherited(9999)


def test_a_head_and_its_body_leave_in_one_piece(parts: AppParts):
    """Whoever is killed in between leaves a client with all of an answer, or nothing."""
    import uvloop

    async def main() -> int:
        running = Running(parts)
        task = asyncio.create_task(running.server.run())
        while not running.server.started:
            await asyncio.sleep(0)
        pieces = await asyncio.to_thread(count_pieces, running.port)
        running.server.stop()
        await task
        return pieces

    def count_pieces(port: int) -> int:
        pieces = 0
        with socket.create_connection(("127.0.0.1", port)) as sock:
            for _ in range(200):
                sock.sendall(request("/things").encode())
                pieces += 1
                answer = sock.recv(65536)
                while not answer.endswith(b"}") and not answer.endswith(b"]"):
                    pieces += 1
                    answer += sock.recv(65536)
        return pieces

    assert uvloop.run(main()) == 200
