"""Connections that end at a bad moment; bodies and answers too large (both faces).

What these servers do no well-kept server does, so they are plain sockets in a thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import pytest
from tests.client.servers import Server, answer

from holdfast.client import (
    AnswerError,
    AnswerTooLargeError,
    ApiNodes,
    AsyncApiNodes,
    DeadlineError,
    NoInstanceError,
    Settings,
)
from holdfast.client.addresses import parse
from holdfast.client.errors import LostError
from holdfast.client.lines import Line, Lines

TOO_LARGE = answer(
    {"errorType": "BodyTooLargeError", "message": "The body is larger than 100 bytes."},
    413,
    "Connection: close\r\n",
)


Serve: TypeAlias = Callable[[socket.socket, threading.Event], None]


class Plain:
    """Gives each connection to ``serve``, in a thread, with the event that all is over."""

    def __init__(self, serve: Serve) -> None:
        self.connections = 0
        self._serve = serve
        self._over = threading.Event()
        self._serving: list[threading.Thread] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                one, _ = self._listening.accept()
                self.connections += 1
                self._serving.append(threading.Thread(target=self._talk, args=(one,)))
                self._serving[-1].start()

    def _talk(self, one: socket.socket) -> None:
        with one, contextlib.suppress(OSError):
            one.settimeout(5)
            self._serve(one, self._over)

    def end(self) -> None:
        self._over.set()
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for thread in (self._thread, *self._serving):
            thread.join()


def refuse(one: socket.socket, _: threading.Event) -> None:
    """Read a part, answer, close with the rest unread: the kernel sends a reset."""
    one.recv(100)
    one.sendall(TOO_LARGE)


def refuse_and_stay(one: socket.socket, over: threading.Event) -> None:
    """Answer and read no more, but do not close either."""
    one.recv(100)
    one.sendall(TOO_LARGE)
    over.wait(10)


@pytest.fixture
def plain() -> Iterator[Callable[[Serve], Plain]]:
    made: list[Plain] = []

    def make(serve: Serve) -> Plain:
        made.append(Plain(serve))
        return made[-1]

    yield make
    for one in made:
        one.end()


@pytest.fixture(params=["threads", "loop"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


class Face:
    """Either client, asked from a test's thread."""

    def __init__(self, kind: str, urls: list[str], **told: Any) -> None:
        self._runner = asyncio.Runner()
        made = ApiNodes if kind == "threads" else AsyncApiNodes
        settings: dict[str, Any] = {"probe_s": 0.0, **told}
        self.client: Any = made(urls, "s", "key", settings=Settings(**settings))

    def ask(self, **arguments: Any) -> str:
        return self.call(lambda: self.client.run_function("f", **arguments))["response"]

    def call(self, what: Callable[[], Any]) -> Any:
        async def run() -> Any:
            told = what()
            return await told if asyncio.iscoroutine(told) else told

        return self._runner.run(run()) if isinstance(self.client, AsyncApiNodes) else what()

    def states(self) -> list[str]:
        return [one["state"] for one in self.client.instances()]

    def __enter__(self) -> Face:
        return self

    def __exit__(self, *_: object) -> None:
        self.call(self.client.close)
        self._runner.close()


@pytest.mark.parametrize("serve", [refuse, refuse_and_stay])
def test_a_body_that_is_too_large_is_the_413_and_nobodys_death(kind: str, plain: Any, serve: Serve):
    """The node answers while the body is still being sent, and reads no more of it."""
    nodes = [plain(serve) for _ in range(2)]
    with Face(kind, [one.url for one in nodes]) as face:
        for _ in range(6):
            with pytest.raises(AnswerError, match=r"413.*larger than 100 bytes") as told:
                face.ask(x="a" * (8 << 20))
            assert told.value.answer_status == 413
        assert face.states() == ["used", "used"]
    assert sum(one.connections for one in nodes) == 6


def test_an_answer_that_is_too_large_is_said_and_asked_for_once(kind: str, servers: list[Server]):
    told = b"HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\n"
    pieces = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nbb8\r\n" + b"x" * 3000
    for large in (told, pieces):
        for one in servers:
            one.asked.clear()
            one.reply = lambda _, large=large: large
        with Face(kind, [one.url for one in servers], answer_bytes_max=1000) as face:
            for _ in range(12):
                with pytest.raises(AnswerTooLargeError, match=r"1000 bytes.*answer_bytes_max"):
                    face.ask()
            assert set(face.states()) == {"used"}
            assert all(one["inFlight"] == 0 for one in face.client.instances())
        assert sum(len(one.asked) for one in servers) == 12


def close_the_second(one: socket.socket, _: threading.Event) -> None:
    """Answer a query, then close when the next has come: the race of a kept connection."""
    one.recv(65536)
    one.sendall(answer({"response": "a"}))
    one.recv(65536)


def test_the_only_node_may_close_a_kept_connection_as_it_is_used_again(kind: str, plain: Any):
    """Without the budget, at once, and without a mark against it."""
    node = plain(close_the_second)
    none = {"budget_burst": 0.0, "budget_share": 0.0, "budget_per_s": 0.0}
    with Face(kind, [node.url], backoff_s=5.0, **none) as face:
        began = time.monotonic()
        assert [face.ask() for _ in range(20)] == ["a"] * 20
        assert time.monotonic() - began < 4.0
        assert face.states() == ["used"]
    assert node.connections == 20


def close_the_first(one: socket.socket, _: threading.Event) -> None:
    one.recv(65536)


def test_a_new_connection_that_ends_without_an_answer_is_a_failure(kind: str, plain: Any):
    node = plain(close_the_first)
    with Face(kind, [node.url], backoff_s=0.001) as face:
        with pytest.raises(NoInstanceError, match="before it answered"):
            face.ask()
        assert face.states() == ["shunned"]


def read_nothing(_: socket.socket, over: threading.Event) -> None:
    over.wait(10)


def test_the_deadline_holds_while_a_body_is_being_sent(kind: str, plain: Any):
    node = plain(read_nothing)
    with Face(kind, [node.url]) as face:
        began = time.monotonic()
        with pytest.raises(DeadlineError):
            face.call(lambda: face.client.within(0.3).run_function("f", x="a" * (32 << 20)))
        assert 0.25 < time.monotonic() - began < 2.0


@pytest.mark.parametrize("host", ["a..b", "x" * 70, "." * 3])
def test_a_name_that_cannot_be_one_is_said(kind: str, host: str):
    with (
        Face(kind, [f"http://{host}:1"], attempts_max=1) as face,
        pytest.raises(NoInstanceError, match="cannot be connected to"),
    ):
        face.ask()


def test_all_addresses_of_a_host_share_the_time(monkeypatch: pytest.MonkeyPatch):
    """A name with many dead addresses must not take as many time-outs."""
    places = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 1))] * 10
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: places)

    class Silent:
        timeout = 0.0

        def __init__(self, *_: Any) -> None: ...

        def settimeout(self, timeout_s: float) -> None:
            self.timeout = timeout_s

        def connect(self, _: Any) -> None:
            now[0] += self.timeout
            raise TimeoutError("timed out")

        def close(self) -> None: ...

    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(socket, "socket", Silent)
    with pytest.raises(LostError, match="timed out"):
        Lines(Settings(), None).connect(parse("http://many.test:1"), 1.0)
    assert now[0] == pytest.approx(1.0)


def test_connections_of_a_closed_client_are_not_kept(servers: list[Server]):
    """Closed while queries were under way: those are answered, then nothing is left."""
    node = servers[0]
    client = ApiNodes(node.url, "s", settings=Settings(probe_s=0.0))
    node.hold = True
    told: list[Any] = []
    thread = threading.Thread(target=lambda: told.append(client.run_function("f")))
    thread.start()
    while not node.asked:
        threading.Event().wait(0.001)
    client.close()
    node.let_go()
    thread.join()
    assert told == [{"response": "a"}]
    assert not client._engine._lines._idle
    assert client.run_function("f") == {"response": "a"}  # a later query begins anew
    assert client._engine._lines._idle
    client.close()


@pytest.mark.parametrize("error", [ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError])
def test_part_of_a_tls_record_is_no_end(error: type[Exception]):
    """Readable, as poll() sees it, need not be anything to read."""

    class Raising:
        def setblocking(self, _: bool) -> None: ...

        def recv(self, _: int) -> bytes:
            raise error

    line: Any = Raising()
    assert Line(line, 1000).receive() is None
