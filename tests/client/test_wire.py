"""Answers as they come: in any pieces, of any framing; and what is no answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.client.addresses import parse
from holdfast.client.errors import WireError
from holdfast.client.wire import Answer, Query, Reader, authorization
from holdfast.errors import InvalidInputError

LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nRetry-After: 7\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"
CLOSING = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"
OLD = b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello"
CONTINUED = b"HTTP/1.1 100 Continue\r\n\r\n" + LENGTH


def fed(data: bytes, cuts: list[int]) -> Answer | None:
    reader = Reader(1000)
    answer: Answer | None = None
    at = 0
    for cut in [*sorted(cuts), len(data)]:
        if at < cut <= len(data):
            assert answer is None
            answer = reader.feed(data[at:cut])
            at = cut
    return answer


@given(
    kind=st.sampled_from([LENGTH, CHUNKED, CLOSING, OLD, CONTINUED]),
    cuts=st.lists(st.integers(1, 120), max_size=8),
)
def test_an_answer_may_come_in_any_pieces(kind: bytes, cuts: list[int]):
    answer = fed(kind, cuts)
    assert answer is not None
    assert (answer.status, answer.body) == (200, b"hello")
    assert answer.keep == (kind in (LENGTH, CHUNKED, CONTINUED))
    assert answer.retry_after_s == (7.0 if kind in (LENGTH, CONTINUED) else 0.0)


def test_an_answer_without_a_length_ends_with_the_connection():
    reader = Reader(1000)
    assert reader.feed(b"HTTP/1.1 200 OK\r\n\r\nhel") is None
    assert reader.feed(b"lo") is None
    answer = reader.end()
    assert answer is not None
    assert (answer.body, answer.keep) == (b"hello", False)


@pytest.mark.parametrize("part", [b"", b"HTTP/1.1 200 OK\r\nContent-", LENGTH[:-1], CHUNKED[:-2]])
def test_half_an_answer_is_none(part: bytes):
    reader = Reader(1000)
    if part:
        assert reader.feed(part) is None
    assert reader.end() is None


def test_a_reader_takes_one_answer_after_the_other():
    reader = Reader(1000)
    for _ in range(3):
        answer = reader.feed(LENGTH)
        assert answer is not None
        assert answer.body == b"hello"
        reader.begin()


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n" + b"x" * 2000,
        b"HTTP/1.1 200 OK\r\nA: " + b"x" * 70_000 + b"\r\n\r\n",
        LENGTH + LENGTH,
    ],
)
def test_what_is_no_answer_or_too_large_is_refused(data: bytes):
    with pytest.raises(WireError):
        Reader(1000).feed(data)


def test_a_query_carries_the_time_that_is_left():
    query = Query("POST", "/public/api/v1/s/e/run", authorization("k", None), b"{}")
    data = query.to_bytes(parse("http://h:12000/base/"), 1.5)
    assert data.startswith(b"POST /base/public/api/v1/s/e/run HTTP/1.1\r\nHost: h:12000\r\n")
    assert b"\r\nHoldfast-Deadline-Ms: 1500\r\n" in data
    assert b"\r\nAuthorization: Basic azo=\r\n" in data
    assert data.endswith(b"\r\n\r\n{}")


@pytest.mark.parametrize(
    ("path", "header"), [("/a b", b"v"), ("/a\r\nX: y", b"v"), ("/ä", b"v"), ("/a", b"v\r\nX: y")]
)
def test_nothing_can_be_slipped_into_a_query(path: str, header: bytes):
    with pytest.raises(InvalidInputError):
        Query("POST", path, ((b"A", header),), b"")


@pytest.mark.parametrize("token", ["a b", "a\r\nX: y", ""])
def test_a_token_that_is_none_is_refused_or_left_out(token: str):
    if token:
        with pytest.raises(InvalidInputError):
            authorization(None, token)
    else:
        assert authorization(None, token) == ()


@pytest.mark.parametrize(
    "url",
    ["", "a:12000", "ftp://a", "http://", "http://a:x", "http://u@a", "http://a?q", "http://a b"],
)
def test_what_is_no_url_of_a_node_is_refused(url: str):
    with pytest.raises(InvalidInputError):
        parse(url)


def test_an_ipv6_address_is_bracketed_in_the_host_header():
    assert parse("http://[::1]:12000").authority == "[::1]:12000"
    assert parse("https://a/").authority == "a"
