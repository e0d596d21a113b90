"""A client of the public API that remembers what it asked and what it was answered.

An answer of 2xx is a promise. A lost answer, or 503, leaves open whether the request took
effect; then the client looks, and repeats what shows no effect, as any sane client does.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

import aiohttp
import msgspec

from holdfast.cli.client import Cloud

Document = dict[str, Any]

MICROVERSION: Final = {"X-OpenStack-Ironic-API-Version": "1.82"}
NO_ANSWER: Final = 0
UNAVAILABLE: Final = 503
RETRY_S: Final = 0.2


class Request(msgspec.Struct, kw_only=True):
    """One line of the history. ``status`` 0: no answer came."""

    at: float  # seconds since the run's start
    what: str
    node: str
    status: int = NO_ANSWER
    took_s: float = 0.0
    said: str = ""


class History:
    """Everything that was asked, in order of asking."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self.requests: list[Request] = []

    def asked(self, what: str, node: str) -> Request:
        request = Request(at=self.now(), what=what, node=node)
        self.requests.append(request)
        return request

    def now(self) -> float:
        return time.monotonic() - self._began

    def acknowledged(self, what: str) -> list[Request]:
        """What was answered with 2xx, of a kind."""
        return [r for r in self.requests if r.what == what and 200 <= r.status < 300]

    def internal_errors(self) -> list[Request]:
        """5xx that tell of a bug: all but 503."""
        return [r for r in self.requests if r.status >= 500 and r.status != UNAVAILABLE]

    def counts(self) -> dict[int, int]:
        """Requests by status."""
        found: dict[int, int] = {}
        for request in self.requests:
            found[request.status] = found.get(request.status, 0) + 1
        return dict(sorted(found.items()))


class Client:
    """One user. Use it as an asynchronous context manager."""

    def __init__(self, cloud: Cloud, history: History) -> None:
        self._cloud = cloud
        self.history = history
        self._root = cloud.auth_url.removesuffix("/v3").removesuffix("/identity")
        self._token = ""
        self._session: aiohttp.ClientSession | None = None
        self._logging_in = asyncio.Lock()

    async def __aenter__(self) -> Client:
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=15), connector=aiohttp.TCPConnector(limit=16)
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def ask(
        self, method: str, path: str, body: Any = None, *, what: str = "", node: str = ""
    ) -> tuple[int, Any]:
        """One request, recorded if ``what`` names it; status 0 if no answer came."""
        token = await self._fresh_token()
        request = self.history.asked(what, node) if what else Request(at=0, what="", node="")
        began = time.monotonic()
        headers = {"X-Auth-Token": token, **MICROVERSION}
        status, text, _ = await self._send(method, f"{self._root}{path}", body, headers)
        request.took_s = time.monotonic() - began
        request.status = status
        if status >= 400:
            request.said = text[:300].decode(errors="replace")
        if status == 401 and token == self._token:
            self._token = ""  # over: ask for a new one at the next request
        return status, _decoded(text)

    async def read(self, path: str) -> Any:
        """GET until it is answered."""
        while True:
            status, document = await self.ask("GET", path)
            if status == 200:
                return document
            if status not in (NO_ANSWER, UNAVAILABLE, 401):
                raise AssertionError(f"GET {path}: {status} {document}")
            await asyncio.sleep(RETRY_S)

    async def _fresh_token(self) -> str:
        async with self._logging_in:
            while not self._token:
                self._token = await self._log_in()
                if not self._token:
                    await asyncio.sleep(RETRY_S)
            return self._token

    async def _log_in(self) -> str:
        auth = self._cloud.auth
        domain = {"id": auth.get("user_domain_id", "default")}
        user = {"name": auth["username"], "password": auth["password"], "domain": domain}
        body = {
            "auth": {
                "identity": {"methods": ["password"], "password": {"user": user}},
                "scope": {"project": {"name": auth.get("project_name"), "domain": domain}},
            }
        }
        request = self.history.asked("log in", "")
        url = f"{self._cloud.auth_url}/auth/tokens"
        request.status, text, headers = await self._send("POST", url, body, {})
        request.said = text[:300].decode(errors="replace") if request.status >= 400 else ""
        if request.status not in (201, NO_ANSWER, UNAVAILABLE):
            raise AssertionError(f"cannot log in: {request.status} {request.said}")
        return headers.get("x-subject-token", "")

    async def _send(
        self, method: str, url: str, body: Any, headers: dict[str, str]
    ) -> tuple[int, bytes, dict[str, str]]:
        assert self._session is not None
        try:
            async with self._session.request(method, url, json=body, headers=headers) as response:
                told = {name.lower(): value for name, value in response.headers.items()}
                return response.status, await response.read(), told
        except (aiohttp.ClientError, TimeoutError, OSError):
            return NO_ANSWER, b"", {}


def _decoded(text: bytes) -> Any:
    try:
        return msgspec.json.decode(text) if text else None
    except msgspec.DecodeError:
        return None
