"""The one function through which a node gets anything from elsewhere (security.md).

The address is checked in the step that connects to it, so no name can change in between.
Private addresses are refused unless listed, redirects are followed by us and checked anew, no
credential follows one, no proxy is taken from the environment, and size and time have bounds.
"""

from __future__ import annotations

import asyncio
import hashlib
import socket
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Any, Final, TypeAlias

import aiohttp
import msgspec
from yarl import URL

from holdfast.serving.errors import FetchError

Network: TypeAlias = IPv4Network | IPv6Network
AddressInfo: TypeAlias = tuple[int, int, int, str, tuple[Any, ...]]
_REDIRECTS_MAX: Final = 5
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_CHUNK_BYTES: Final = 1 << 18


class FetchSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``private_networks``: those not of the public Internet that may be fetched from (CIDR)."""

    schemes: tuple[str, ...] = ("https",)
    private_networks: list[str] = []
    timeout_s: float = 600.0
    bytes_max: int = 2 << 30


async def fetch(url: str, sha256: str, target: Path, settings: FetchSettings) -> None:
    """Write what the URL has to ``target`` if its digest is ``sha256``; raises ``FetchError``."""
    listed = [ip_network(text) for text in settings.private_networks]

    def open_socket(info: AddressInfo) -> socket.socket:
        family, kind, protocol, _, address = info
        try:
            check_address(str(address[0]), listed)
        except PermissionError as error:  # aiohttp would keep the reason to itself
            raise FetchError(f"{_shown(url)} leads to a place not allowed: {error}.") from None
        opened = socket.socket(family, kind, protocol)
        opened.setblocking(False)
        return opened

    connector = aiohttp.TCPConnector(socket_factory=open_socket)
    session = aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=60),
        trust_env=False,
        auto_decompress=False,
        headers={"Accept-Encoding": "identity"},
    )
    try:
        async with asyncio.timeout(settings.timeout_s), session:
            await _follow(session, URL(url), sha256, target, settings)
    except TimeoutError:
        raise FetchError(f"{_shown(url)} did not come within {settings.timeout_s:g} s.") from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise FetchError(f"{_shown(url)} cannot be fetched: {error}.") from None


async def _follow(
    session: aiohttp.ClientSession, url: URL, sha256: str, target: Path, settings: FetchSettings
) -> None:
    for _ in range(_REDIRECTS_MAX + 1):
        if url.scheme not in settings.schemes:
            raise FetchError(
                f"{_shown(str(url))}: only {', '.join(settings.schemes)} is fetched from."
            )
        if url.user is not None or url.password is not None:
            raise FetchError(f"{_shown(str(url))}: a URL holds no credentials.")
        async with session.get(url, allow_redirects=False) as response:
            if response.status in _REDIRECTS and "Location" in response.headers:
                url = url.join(URL(response.headers["Location"]))
                continue
            if response.status != 200:
                raise FetchError(f"{_shown(str(url))} answered with status {response.status}.")
            await _receive(response, sha256, target, settings.bytes_max)
            return
    raise FetchError(f"{_shown(str(url))} was reached over too many redirects.")


async def _receive(
    response: aiohttp.ClientResponse, sha256: str, target: Path, bytes_max: int
) -> None:
    digest = hashlib.sha256()
    total = 0
    with target.open("wb") as file:
        async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
            total += len(chunk)
            if total > bytes_max:
                raise FetchError(f"More than {bytes_max} bytes were sent.")
            digest.update(chunk)
            file.write(chunk)
    if digest.hexdigest() != sha256.lower():
        raise FetchError(f"What came has the digest {digest.hexdigest()}, not the one expected.")


def check_address(text: str, listed: list[Network]) -> None:
    """Raises ``PermissionError`` for an address that is not public, unless it is listed."""
    address = ip_address(text.partition("%")[0])
    if address.version == 6 and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    within = any(network.version == address.version and address in network for network in listed)
    if not (address.is_global and not address.is_multicast) and not within:
        raise PermissionError(f"{address} is a private address, not in private_networks")


def _shown(url: str) -> str:
    """A URL fit for a message: no credentials, no query."""
    try:
        return str(URL(url).with_user(None).with_query(None))
    except ValueError:
        return "The URL"
