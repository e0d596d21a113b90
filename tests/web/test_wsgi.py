"""The WSGI side of the API (I2): PEP 3333 in front of an ASGI application."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from holdfast.errors import ConfigError
from holdfast.web.wsgi import BODY_BYTES_MAX, WsgiApplication

Send = Callable[[dict[str, Any]], Any]


class Echo:
    """An ASGI application that answers with what it was asked, and notes how it lives."""

    def __init__(self) -> None:
        self.life: list[str] = []
        self.threads: set[int] = set()

    async def __call__(self, scope: Any, receive: Any, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        self.threads.add(threading.get_ident())
        if scope["path"] == "/stream":
            headers = [(b"content-type", b"text/event-stream")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            raise AssertionError("a refused stream goes no further")
        if scope["path"] == "/crash":
            raise ZeroDivisionError("a bug")
        body = (await receive())["body"]
        said = {
            "method": scope["method"],
            "path": scope["path"],
            "query": scope["query_string"].decode(),
            "headers": {k.decode(): v.decode("latin-1") for k, v in scope["headers"]},
            "server": list(scope["server"]),
            "scheme": scope["scheme"],
            "body": body.decode(),
        }
        headers = [(b"x-a", b"1"), (b"x-a", b"2"), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": 202, "headers": headers})
        await send({"type": "http.response.body", "body": b"", "more_body": True})
        await send({"type": "http.response.body", "body": json.dumps(said).encode()})

    async def _live(self, receive: Any, send: Send) -> None:
        for kind in ("startup", "shutdown"):
            assert (await receive())["type"] == f"lifespan.{kind}"
            self.life.append(kind)
            await send({"type": f"lifespan.{kind}.complete"})


@pytest.fixture
def wsgi() -> Iterator[tuple[WsgiApplication, Echo]]:
    app = Echo()

    @asynccontextmanager
    async def opened() -> AsyncGenerator[Any]:
        yield app

    made = WsgiApplication(opened)
    yield made, app
    if made._engine is not None:
        made._engine.stop()


def call(wsgi: WsgiApplication, path: str = "/", body: bytes = b"", **environ: Any) -> Any:
    """(status, headers, body) of one request."""
    told: list[Any] = []
    base = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": path,
        "QUERY_STRING": "a=%20b",
        "SERVER_NAME": "hf",
        "SERVER_PORT": "6385",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(body)),
        "HTTP_X_AUTH_TOKEN": "sesame",
        "wsgi.url_scheme": "https",
        "wsgi.input": io.BytesIO(body),
    }
    chunks = wsgi({**base, **environ}, lambda *said: told.append(said))
    ((status, headers),) = told
    return status, headers, json.loads(b"".join(chunks))


def test_a_request_comes_through_whole(wsgi):
    status, headers, said = call(wsgi[0], "/v1/n\xc3\xa4mlich", b"{}")
    assert status.startswith("202 ")
    assert headers == [("x-a", "1"), ("x-a", "2")]  # how connections are kept is not ours
    assert said == {
        "method": "POST",
        "path": "/v1/nämlich",
        "query": "a=%20b",
        "headers": {
            "x-auth-token": "sesame",
            "content-type": "application/json",
            "content-length": "2",
        },
        "server": ["hf", 6385],
        "scheme": "https",
        "body": "{}",
    }


def test_all_requests_meet_one_loop_that_lives_and_ends_in_good_order(wsgi):
    made, app = wsgi
    threads = [threading.Thread(target=call, args=(made,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(app.threads) == 1
    assert threading.get_ident() not in app.threads
    made._engine.stop()
    assert app.life == ["startup", "shutdown"]


def test_an_event_stream_is_refused_in_a_sentence(wsgi):
    status, _, said = call(wsgi[0], "/stream")
    assert status == "501 Not Implemented"
    assert "event streams are not served here" in said["message"]


def test_a_crash_is_500_and_keeps_its_secrets(wsgi):
    status, _, said = call(wsgi[0], "/crash")
    assert status == "500 Internal Server Error"
    assert "bug" not in said["message"]


def test_a_body_without_a_length_is_read_only_if_the_server_ends_it(wsgi):
    endless: dict[str, Any] = {"wsgi.input": io.BytesIO(b"never read")}
    said = call(wsgi[0], CONTENT_LENGTH="", **endless)[2]
    assert said["body"] == ""
    chunked: dict[str, Any] = {
        "wsgi.input": io.BytesIO(b"all of it"),
        "wsgi.input_terminated": True,
    }
    assert call(wsgi[0], CONTENT_LENGTH="", **chunked)[2]["body"] == "all of it"


def test_a_body_that_is_far_too_large_is_not_read(wsgi):
    said = call(wsgi[0], CONTENT_LENGTH=str(BODY_BYTES_MAX + 1))[2]
    assert (said["body"], said["headers"]["content-length"]) == ("", str(BODY_BYTES_MAX + 1))


def test_what_cannot_start_says_why_and_is_tried_again():
    faults = [ConfigError("no database: set [database] url")]
    app = Echo()

    @asynccontextmanager
    async def opened() -> AsyncGenerator[Any]:
        if faults:
            raise faults.pop()
        yield app

    wsgi = WsgiApplication(opened)
    status, headers, said = call(wsgi)
    assert status == "503 Service Unavailable"
    assert ("retry-after", "1") in headers
    assert "set [database] url" in said["message"]
    failed: Any = wsgi._engine
    failed._thread.join()
    assert call(wsgi)[0].startswith("202 ")
    running: Any = wsgi._engine
    running.stop()
