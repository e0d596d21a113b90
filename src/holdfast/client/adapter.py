"""requests' transport, carried out by the blocking client."""

from __future__ import annotations

import io
import ssl
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit

import requests
from requests.adapters import BaseAdapter
from requests.structures import CaseInsensitiveDict
from requests.utils import get_encoding_from_headers

from holdfast.client.blocking import Blocking
from holdfast.client.calls import is_hedged
from holdfast.client.discovery import Source
from holdfast.client.errors import AnswerTooLargeError, DeadlineError
from holdfast.client.settings import DEADLINE_MAX_S, Settings
from holdfast.client.wire import Answer, Query
from holdfast.errors import HoldfastError, InvalidInputError

_QUERIES: Final = "/public/api/v1/"
# Told by us for each instance; or what an answer would have to be unpacked for.
_OURS: Final = {"host", "content-length", "connection", "accept-encoding", "transfer-encoding"}


class NodesAdapter(BaseAdapter):
    """Sends what is below any of ``bases`` to whichever node the client chooses."""

    def __init__(
        self,
        source: Source,
        bases: Sequence[str],
        service: str | None,
        pure: frozenset[str],
        settings: Settings,
        tls: ssl.SSLContext | None,
    ) -> None:
        super().__init__()
        self._bases = sorted((urlsplit(base).path for base in bases), key=len, reverse=True)
        self._pure = pure
        self._settings = settings
        self._source = source
        self._service = quote(service, safe="") if service is not None else None
        self._tls = tls
        self._trust: tuple[Any, Any] | None = None
        self._engine: Blocking | None = None
        self._lock = threading.Lock()

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: float | tuple[float | None, float | None] | None = None,
        verify: bool | str = True,
        cert: str | bytes | tuple[str | bytes, str | bytes] | None = None,
        proxies: Mapping[str, str] | None = None,
    ) -> requests.Response:
        path = self._path(request)
        # As a node reads it: what is a function's must not be hedged for how it is written.
        parts = [unquote(one) for one in path.partition("?")[0].split("/") if one]
        endpoint, action = parts[-2], parts[-1]
        # A client that gives up reading after so long wants an answer within it.
        given_s = timeout[1] if isinstance(timeout, tuple) else timeout
        query = Query(str(request.method), path, self._headers(request), _body(request))
        engine = self._engine_for(verify, cert)
        try:
            answer, _ = engine.ask(
                query,
                "/".join(parts[3:]),
                self._settings.deadline_s if given_s is None else min(given_s, DEADLINE_MAX_S),
                hedged=is_hedged(action, endpoint, self._pure),
                service=parts[3] if len(parts) > 3 else "",
            )
        except DeadlineError as error:
            raise requests.exceptions.ReadTimeout(error.message, request=request) from None
        except AnswerTooLargeError as error:
            raise requests.exceptions.RequestException(error.message, request=request) from None
        except HoldfastError as error:
            raise requests.exceptions.ConnectionError(error.message, request=request) from None
        return _response(request, answer)

    def close(self) -> None:
        if self._engine is not None:
            self._engine.close()

    def _engine_for(self, verify: bool | str, cert: Any) -> Blocking:
        """Made by the first query, which says whom to trust; raises ``InvalidInputError``."""
        engine = self._engine
        if engine is None:
            with self._lock:
                engine = self._engine
                if engine is None:
                    tls = self._tls or _tls(verify, cert)
                    engine = Blocking(self._source, self._settings, self._service, tls)
                    self._trust = (verify, cert)
                    self._engine = engine
        if self._tls is None and self._trust != (verify, cert):
            raise InvalidInputError("verify and cert are of the session, not of each query.")
        return engine

    def __getstate__(self) -> dict[str, Any]:
        """In another process it begins anew, as requests' own adapters do."""
        state = dict(self.__dict__, _engine=None, _trust=None)
        del state["_lock"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()

    def _path(self, request: requests.PreparedRequest) -> str:
        """Below an instance's base; a base that ends in a slash has made two of it (compat.md)."""
        path = request.path_url
        for base in self._bases:
            if path.startswith(f"{base}/"):
                path = "/" + path[len(base) :].lstrip("/")
                break
        if not path.startswith(_QUERIES):
            text = (
                f"{path} is no query: a session of several nodes sends queries only. The admin "
                "API is each node's own; use a plain session for it."
            )
            raise requests.exceptions.InvalidURL(text, request=request)
        return path

    def _headers(self, request: requests.PreparedRequest) -> list[tuple[bytes, bytes]]:
        headers: Mapping[str, Any] = request.headers
        return [
            (_latin(name), _latin(value))
            for name, value in headers.items()
            if name.lower() not in _OURS
        ]


def _tls(verify: bool | str, cert: Any) -> ssl.SSLContext | None:
    """As requests would; None is the system's authorities."""
    if verify is True and cert is None:
        return None
    try:
        if isinstance(verify, str):
            file, folder = (None, verify) if Path(verify).is_dir() else (verify, None)
            context = ssl.create_default_context(cafile=file, capath=folder)
        else:
            context = ssl.create_default_context()
        if not verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if cert is not None:
            context.load_cert_chain(*((cert,) if isinstance(cert, str) else cert))
    except OSError as error:
        raise InvalidInputError(f"verify or cert cannot be used: {error}.") from None
    return context


def _latin(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("latin-1")


def _body(request: requests.PreparedRequest) -> bytes:
    body: Any = request.body
    if body is None:
        return b""
    if isinstance(body, str):
        return body.encode()
    if not isinstance(body, bytes):
        text = "A query's body is text or bytes: what is read once cannot be sent twice."
        raise requests.exceptions.InvalidSchema(text, request=request)
    return body


def _response(request: requests.PreparedRequest, answer: Answer) -> requests.Response:
    response = requests.Response()
    response.status_code = answer.status
    pairs = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in answer.headers]
    response.headers = CaseInsensitiveDict(pairs)
    response.encoding = get_encoding_from_headers(response.headers)
    response.raw = io.BytesIO(answer.body)
    response.url = str(request.url)
    response.request = request
    return response
