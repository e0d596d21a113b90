"""HTTP/1.1 as this client needs it: a query's bytes, and the answer from what has come.

One reader for both faces, on httptools: http.client's headers alone cost more than a whole query
here, and it has no asyncio; see ``benchmarks/client.py``.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any, Final, cast

import httptools

from holdfast.client.addresses import Address
from holdfast.client.errors import AnswerTooLargeError, WireError
from holdfast.errors import InvalidInputError

_HEADER_BYTES_MAX: Final = 64 << 10
_RETRY_AFTER_MAX_S: Final = 3600.0
_ERROR_BYTES_MAX: Final = 64 << 10
Headers = Sequence[tuple[bytes, bytes]]


class Answer:
    """An answer, whole. ``keep``: whether the connection may be used again."""

    __slots__ = ("body", "headers", "keep", "retry_after_s", "status")

    def __init__(self) -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = b""
        self.keep = False
        self.retry_after_s = 0.0

    def error_type(self) -> str:
        """What an error calls itself (``errorType``, compat.md); empty if it is not told so."""
        if self.status < 400 or len(self.body) > _ERROR_BYTES_MAX:
            return ""
        try:
            document: Any = json.loads(self.body)
        except (ValueError, RecursionError):
            return ""
        if not isinstance(document, dict):
            return ""
        kind = cast("dict[str, Any]", document).get("errorType")
        return kind if isinstance(kind, str) else ""


class Reader:
    """Bytes in, one answer out. Raises ``WireError`` for what is none."""

    __slots__ = (
        "_answer", "_bytes_max", "_delimited", "_headed", "_header_bytes", "_parser", "_parts",
        "_size", "answer", "heard",
    )  # fmt: skip

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self.begin()

    def begin(self) -> None:
        """Expect the next answer."""
        self.answer: Answer | None = None
        self.heard = False  # whether anything has come
        self._parser = httptools.HttpResponseParser(self)
        self._clear()

    def _clear(self) -> None:
        self._answer = Answer()
        self._parts: list[bytes] = []
        self._size = 0
        self._header_bytes = 0
        self._delimited = self._headed = False

    def feed(self, data: bytes) -> Answer | None:
        """The answer, once it is whole."""
        self.heard = True
        try:
            self._parser.feed_data(data)
        except WireError:
            raise
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            cause = error.__context__
            if isinstance(cause, WireError):
                raise cause from None
            raise WireError("What came is no HTTP answer.") from None
        return self.answer

    def end(self) -> Answer | None:
        """The other side has closed: the answer, if its end was to be told by that."""
        if self._headed and not self._delimited and self.answer is None:
            self._finish(keep=False)
        return self.answer

    # ---- the parser's calls --------------------------------------------------------------------

    def on_header(self, name: bytes, value: bytes) -> None:
        self._header_bytes += len(name) + len(value)
        if self._header_bytes > _HEADER_BYTES_MAX:
            raise WireError("The answer's headers are too long.")
        self._answer.headers.append((name, value))
        size = len(name)
        if size == 11 and name.lower() == b"retry-after" and value.isdigit():
            self._answer.retry_after_s = min(float(value[:9]), _RETRY_AFTER_MAX_S)
        elif name.lower() in (b"content-length", b"transfer-encoding"):
            self._delimited = True
            if value.isdigit() and int(value[:18]) > self._bytes_max:
                raise self._too_large()

    def on_headers_complete(self) -> None:
        self._headed = True
        self._answer.status = self._parser.get_status_code()
        if self._answer.status in (204, 304):
            self._delimited = True

    def on_body(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > self._bytes_max:
            raise self._too_large()
        self._parts.append(data)

    def _too_large(self) -> AnswerTooLargeError:
        return AnswerTooLargeError(
            f"The answer is larger than {self._bytes_max} bytes: ask for less at once, or raise "
            "answer_bytes_max in the client's Settings."
        )

    def on_message_complete(self) -> None:
        if self.answer is not None:
            raise WireError("More came than was asked for.")
        if self._answer.status < 200:
            self._clear()  # a word on the way (RFC 9110, 15.2); the answer is still to come
            return
        self._finish(keep=bool(self._parser.should_keep_alive()) and self._delimited)

    def _finish(self, *, keep: bool) -> None:
        answer = self._answer
        answer.body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        answer.keep = keep
        self.answer = answer


def authorization(api_key: str | None, bearer_token: str | None) -> Headers:
    """The header of a service's key, as dataikuapi sends it. Raises ``InvalidInputError``."""
    if api_key is not None and bearer_token is not None:
        raise InvalidInputError("Give an api_key or a bearer_token, not both.")
    if api_key:
        word = base64.b64encode(f"{api_key}:".encode())
        return ((b"Authorization", b"Basic " + word),)
    if bearer_token:
        word = bearer_token.encode()
        if any(byte <= 32 or byte > 126 for byte in word):
            raise InvalidInputError("A bearer_token has no spaces or control characters.")
        return ((b"Authorization", b"Bearer " + word),)
    return ()


class Query:
    """A query's method, path, headers and body; its bytes differ by instance and time left."""

    __slots__ = ("_head", "body", "method", "path")

    def __init__(self, method: str, path: str, headers: Headers, body: bytes) -> None:
        self.method = method
        self.path = path
        self.body = body
        lines = b"".join(b"%b: %b\r\n" % pair for pair in headers)
        if lines.count(b"\n") != len(headers) or not path.isascii() or " " in path:
            raise InvalidInputError("A header or the path has characters that cannot be sent.")
        self._head = lines

    def to_bytes(self, address: Address, left_s: float) -> bytes:
        """What to send to an instance with so much time left."""
        head = (
            f"{self.method} {address.prefix}{self.path} HTTP/1.1\r\nHost: {address.authority}\r\n"
            f"Content-Length: {len(self.body)}\r\n"
            f"Holdfast-Deadline-Ms: {max(1, int(left_s * 1000))}\r\n"
        )
        return b"".join((head.encode("ascii"), self._head, b"\r\n", self.body))
