"""What is said of a node that does not answer, and how one may be named."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from holdfast.errors import ConfigError, HoldfastError, UnavailableError
from holdfast.serving.operating.api import NodeApi, cause_of, node_url, without_url


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@contextmanager
def silent() -> Iterator[int]:
    """A port whose connections are closed at once."""
    import threading

    with socket.create_server(("127.0.0.1", 0)) as server:

        def close_each() -> None:
            while True:
                try:
                    server.accept()[0].close()
                except OSError:
                    return

        threading.Thread(target=close_each, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


async def why(url: str) -> str:
    async with NodeApi(url, "a-key") as api:
        with pytest.raises(UnavailableError) as told:
            await api.status()
    return told.value.message


async def test_a_node_that_does_not_answer_is_told_with_its_url_and_the_cause():
    port = free_port()
    told = f"http://127.0.0.1:{port} does not answer: connection refused."
    assert await why(f"http://127.0.0.1:{port}") == told
    assert await why(f"127.0.0.1:{port}/") == told
    with silent() as port:
        said = await why(f"http://127.0.0.1:{port}")
    assert said.startswith(f"http://127.0.0.1:{port} does not answer: ")
    assert "(" not in said


async def test_a_name_that_is_none_is_said_so():
    assert "its host's name is not known" in await why("http://no-such-host.invalid:1")


def test_what_is_no_json_is_hardly_an_api_node():
    assert "not JSON" in cause_of(ValueError("Expecting value"))
    assert cause_of(TimeoutError()) == "nothing came in time"


@pytest.mark.parametrize(
    ("told", "url"),
    [
        ("localhost:21501", "http://localhost:21501"),
        (" http://a:1/ ", "http://a:1"),
        ("https://a", "https://a"),
        ("[::1]:12000", "http://[::1]:12000"),
    ],
)
def test_a_url_without_a_scheme_is_http(told: str, url: str):
    assert node_url(told) == url


@pytest.mark.parametrize("told", ["", "ftp://a", "http://", "http://a:x", "http://a:99999"])
def test_what_is_no_url_is_refused(told: str):
    with pytest.raises(ConfigError, match="not a node's URL"):
        node_url(told)


def test_a_node_is_not_named_twice():
    url = "http://a:1"
    assert without_url(HoldfastError(f"{url}: no"), url) == "no"
    assert without_url(HoldfastError(f"{url} is gone"), url) == "is gone"
