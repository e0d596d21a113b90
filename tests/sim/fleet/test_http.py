"""The small HTTP server, over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from holdfast.sim.fleet.http import HttpServer, Reply, Request, json_response

HOST = "127.0.0.1"


class App:
    def __init__(self) -> None:
        self.held: list[Reply] = []
        self.arrived = asyncio.Event()

    def __call__(self, request: Request, reply: Reply) -> None:
        if request.path == "/hold":
            self.held.append(reply)
            self.arrived.set()
        elif request.path == "/drop":
            reply(None)
        elif request.path == "/bug":
            raise RuntimeError("a bug")
        else:
            reply(json_response([request.method, request.path, request.parameters(),
                                 request.body.decode()]))  # fmt: skip


@pytest.fixture
async def app() -> App:
    return App()


@pytest.fixture
async def server(app: App) -> AsyncIterator[HttpServer]:
    server = HttpServer(app, HOST, 0)
    await server.open()
    yield server
    server.close()


async def talk(server: HttpServer, sent: bytes, answers: int = 1) -> bytes:
    """Send, and return what came until so many answers' bodies or the end of the stream."""
    reader, writer = await asyncio.open_connection(HOST, server.port)
    writer.write(sent)
    got = b""
    while got.count(b"HTTP/1.1 ") < answers or not got.endswith((b"]", b"\r\n\r\n")):
        part = await reader.read(65_536)
        if not part:
            break
        got += part
    writer.close()
    return got


async def test_a_request_arrives_whole_and_decoded(server):
    sent = b"POST /a%20b?x=1&y HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody"
    assert (await talk(server, sent)).endswith(b'["POST","/a b",{"x":"1","y":""},"body"]')


async def test_pipelined_requests_are_answered_in_order_even_when_the_first_takes_long(server, app):
    sent = b"GET /hold HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\nGET /3 HTTP/1.1\r\n\r\n"
    talking = asyncio.create_task(talk(server, sent, 3))
    await app.arrived.wait()
    app.held.pop()(json_response(["first"]))
    got = await talking
    assert got.index(b"first") < got.index(b"/2") < got.index(b"/3")


async def test_a_request_that_wants_no_keep_alive_gets_none(server):
    assert b"Connection: close" in await talk(server, b"GET / HTTP/1.0\r\n\r\n")


async def test_an_unanswered_request_ends_the_connection(server):
    assert await talk(server, b"GET /drop HTTP/1.1\r\n\r\n") == b""


async def test_no_http_is_answered_with_400_and_a_bug_with_500(server, caplog):
    assert b" 400 " in await talk(server, b"nonsense\r\n\r\n")
    assert b" 500 " in await talk(server, b"GET /bug HTTP/1.1\r\n\r\n")
    assert "a bug" in caplog.text


async def test_head_answers_without_a_body(server):
    got = await talk(server, b"HEAD /x HTTP/1.1\r\nConnection: close\r\n\r\n")
    assert got.endswith(b"\r\n\r\n")
    assert b"Content-Length: 19" in got


async def test_a_closed_server_refuses_connections_and_can_open_again_on_its_port(server):
    port = server.port
    server.close()
    with pytest.raises(OSError, match="Connect call failed"):
        await asyncio.open_connection(HOST, port)
    await server.open()
    assert server.port == port
    assert b" 200 " in await talk(server, b"GET / HTTP/1.1\r\n\r\n")
