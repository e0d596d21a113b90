"""Answers as bytes: heads are made once for each status."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

import msgspec

from holdfast import __version__
from holdfast.serving.errors import error_body

JSON: Final = "application/json"
_VERSIONS: Final = f"DSS-API-Version: 1\r\nDSS-Version: holdfast-{__version__}\r\n"
_AGAIN: Final = "Retry-After: 1\r\n"
_KEEP: Final = b"\r\n\r\n"
_CLOSE: Final = b"\r\nConnection: close\r\n\r\n"
_heads: Final[dict[tuple[int, str], bytes]] = {}


class Answer(msgspec.Struct, frozen=True):
    """What an admin call, the probe or a document answers."""

    status: int = 200
    body: bytes = b""
    content_type: str = JSON
    close: bool = False


def head(status: int, content_type: str = JSON) -> bytes:
    """All of the head before the length."""
    found = _heads.get((status, content_type))
    if found is None:
        phrase = HTTPStatus(status).phrase
        again = _AGAIN if status in (429, 503) else ""
        asked = 'WWW-Authenticate: Basic realm="holdfast"\r\n' if status == 401 else ""
        allowed = "Allow: GET, HEAD, POST, DELETE\r\n" if status == 405 else ""
        found = (
            f"HTTP/1.1 {status} {phrase}\r\n{_VERSIONS}{again}{asked}{allowed}"
            f"Content-Type: {content_type}\r\nContent-Length: "
        ).encode()
        _heads[status, content_type] = found
    return found


def answer_bytes(status: int, body: bytes, *, close: bool, content_type: str = JSON) -> bytes:
    """A whole answer."""
    end = _CLOSE if close else _KEEP
    return b"".join((head(status, content_type), b"%d" % len(body), end, body))


def json_answer(document: Any, status: int = 200) -> Answer:
    """Plain data as an answer."""
    return Answer(status, msgspec.json.encode(document))


def error_answer(error: BaseException, *, close: bool = False) -> Answer:
    """An error as an answer."""
    status, body = error_body(error)
    return Answer(status, body, close=close)
