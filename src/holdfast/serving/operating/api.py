"""The admin API of one node, and its probe."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final
from urllib.parse import quote, urlsplit

import aiohttp
import msgspec

from holdfast.errors import ConfigError, ConflictError, HoldfastError, UnavailableError

_CONNECT_S: Final = 10
_READ_S: Final = 600
_PROBE_S: Final = 3


class NodeApi:
    """One node's; errors are ``ConflictError`` (it refused) or ``UnavailableError``."""

    def __init__(self, url: str, key: str) -> None:
        self.url = node_url(url)
        self._key = key
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> NodeApi:
        basic = base64.b64encode(f"{self._key}:".encode()).decode()
        self._session = aiohttp.ClientSession(
            headers={"Authorization": f"Basic {basic}"},
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S, sock_read=_READ_S),
            # A node that was restarted shall not be met on a connection of before.
            connector=aiohttp.TCPConnector(force_close=True),
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def is_alive(self) -> bool:
        """What balancers see."""
        timeout = aiohttp.ClientTimeout(total=_PROBE_S)
        try:
            async with self._open().get(f"{self.url}/isAlive/", timeout=timeout) as response:
                return response.status == 200
        except (aiohttp.ClientError, OSError, TimeoutError):
            return False

    async def status(self) -> dict[str, Any]:
        """The node in one document."""
        return await self.call("GET", "node")

    async def upload(self, service: str, file: Path) -> None:
        """Create the service if it is not there, and send the package."""
        services = (await self.call("GET", "services"))["services"]
        if all(one["serviceId"] != service for one in services):
            await self.call("POST", "services/", body=msgspec.json.encode({"serviceId": service}))
        with file.open("rb") as opened:
            digest = await asyncio.to_thread(hashlib.file_digest, opened, "sha256")
        path = f"services/{name(service)}/generations/actions/upload?sha256={digest.hexdigest()}"
        await self.call("POST", path, body=_chunks(file))

    async def call(
        self, method: str, path: str, body: bytes | AsyncIterator[bytes] | None = None
    ) -> dict[str, Any]:
        """One call, its answer as JSON."""
        try:
            async with self._open().request(
                method, f"{self.url}/admin/api/{path}", data=body
            ) as response:
                document: dict[str, Any] = await response.json(content_type=None)
        except (aiohttp.ClientError, OSError, ValueError, TimeoutError) as error:
            raise UnavailableError(f"{self.url} does not answer: {cause_of(error)}.") from None
        if response.status >= 400:
            told = str(document.get("message", response.status))
            raise ConflictError(f"{self.url}: {told}")
        return document

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise UnavailableError("The session is not open.")
        return self._session


def node_url(text: str) -> str:
    """A node's URL as it is told: without a scheme it is http. Raises ``ConfigError``."""
    text = text.strip()
    url = text if "://" in text else f"http://{text}"
    try:
        parts = urlsplit(url)
        fit = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        fit = False
    if not fit:
        raise ConfigError(f"{text!r} is not a node's URL; one is like http://host:12000.")
    return url.rstrip("/")


def cause_of(error: Exception) -> str:
    """Why nothing came of a request, in words."""
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "its host's name is not known"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"its certificate is refused ({error.certificate_error})"
    if isinstance(error, TimeoutError):
        return "nothing came in time"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "it closed the connection"
    if isinstance(error, ValueError) and not isinstance(error, aiohttp.ClientError):
        return "what it says is not JSON, so it is hardly an API node"
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        return os.strerror(error.errno).lower()
    return str(error) or type(error).__name__


def without_url(error: HoldfastError, url: str) -> str:
    """What an error says, for where its node is named already."""
    return error.message.removeprefix(url).lstrip(": ")


def name(text: str) -> str:
    """A name as part of a path."""
    return quote(text, safe="")


async def _chunks(file: Path) -> AsyncIterator[bytes]:
    with file.open("rb") as opened:
        while chunk := await asyncio.to_thread(opened.read, 1 << 20):
            yield chunk
