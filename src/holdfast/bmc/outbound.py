"""The one place through which the gateway connects anywhere (security.md, "outbound fetches").

Every connection, whatever name or URL led to it, is checked by the address it is
made to, after the name was resolved and in the same step. Redirects are never
followed here, no cookies are kept, no proxy is taken from the environment, and
answers are read up to a bound.
"""

from __future__ import annotations

import socket
import ssl
import zlib
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeAlias

import aiohttp
import msgspec

from holdfast.bmc.settings import BmcSettings, Network
from holdfast.errors import InvalidInputError
from holdfast.store.model import Json

AddressInfo: TypeAlias = tuple[int, int, int, str, tuple[Any, ...]]
Connected: TypeAlias = Callable[[str, bool], None]
"""Called with the URL's scheme, and whether the connection was made anew or used again."""


class DeniedError(PermissionError):
    """No connection is made to that address. Not what the kernel says when it has its reasons."""

    def __init__(self) -> None:
        # Alike for all addresses of a name, so that only a name that leads nowhere else fails so.
        super().__init__(
            "it is in a network that bmc.denied_networks refuses, or on the gateway's own host "
            "(bmc.allow_loopback)"
        )


def is_denied(error: Exception) -> bool:
    """Whether a connection failed for good: trying again would not help."""
    return isinstance(error, aiohttp.ClientConnectorError) and isinstance(
        error.os_error, DeniedError
    )


class AnswerError(Exception):
    """An answer that cannot be read; the message is the end of a sentence about who sent it."""


def new_session(settings: BmcSettings, connected: Connected) -> aiohttp.ClientSession:
    """A client session for BMCs or agents. Must be made inside the loop, and closed.

    Each request passes its URL's scheme as ``trace_request_ctx``.
    """
    denied = settings.denied()

    def open_socket(info: AddressInfo) -> socket.socket:
        family, kind, protocol, _, address = info
        if is_within(str(address[0]), denied):
            raise DeniedError
        opened = socket.socket(family, kind, protocol)
        opened.setblocking(False)
        return opened

    async def made(_: object, context: SimpleNamespace, __: object) -> None:
        connected(context.trace_request_ctx, True)

    async def reused(_: object, context: SimpleNamespace, __: object) -> None:
        connected(context.trace_request_ctx, False)

    trace = aiohttp.TraceConfig()
    trace.on_connection_create_end.append(made)
    trace.on_connection_reuseconn.append(reused)
    connector = aiohttp.TCPConnector(
        limit=settings.connections_max,
        limit_per_host=settings.connections_per_bmc_max,
        keepalive_timeout=settings.keepalive_s,
        socket_factory=open_socket,
    )
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(sock_connect=settings.connect_timeout_s),
        trace_configs=[trace],
        trust_env=False,
        auto_decompress=False,
        headers={"Accept": "application/json", "Accept-Encoding": "identity"},
    )


def is_within(address: str, allowed: tuple[Network, ...]) -> bool:
    """Whether an address literal is in one of the networks; an IPv4 in IPv6 clothes is IPv4."""
    parsed = ip_address(address.partition("%")[0])
    if parsed.version == 6 and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    return any(parsed.version == network.version and parsed in network for network in allowed)


async def read_json(response: aiohttp.ClientResponse, bytes_max: int) -> Json:
    """The body as JSON, ``None`` when it is empty; raises ``AnswerError``."""
    body = await _read(response, bytes_max)
    if not body.strip():
        return None
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise AnswerError("answered with something that is not JSON") from None


async def _read(response: aiohttp.ClientResponse, bytes_max: int) -> bytes:
    too_large = AnswerError(f"sent an answer larger than {bytes_max} bytes")
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > bytes_max:
            raise too_large
    encoding = response.headers.get("Content-Encoding", "identity").lower()
    if encoding == "identity":
        return bytes(body)
    # Some BMCs compress whether asked to or not; a small body may unfold into a huge one.
    if encoding not in ("gzip", "deflate"):
        raise AnswerError("answered in a content encoding it was not asked for")
    unfold = zlib.decompressobj(wbits=47 if encoding == "gzip" else zlib.MAX_WBITS)
    try:
        plain = unfold.decompress(bytes(body), bytes_max + 1)
    except zlib.error:
        raise AnswerError("answered with damaged compression") from None
    if len(plain) > bytes_max:
        raise too_large
    return plain


class Trust:
    """TLS contexts, made once per certificate file and its age."""

    def __init__(self, settings: BmcSettings) -> None:
        self._folders = [Path(folder).resolve() for folder in settings.ca_folders]
        self._by_file: dict[tuple[Path, int], ssl.SSLContext] = {}

    def for_bmc(self, verify_ca: bool | str) -> ssl.SSLContext | bool:
        """What aiohttp wants as ``ssl`` for a ``Target.verify_ca``.

        Raises ``InvalidInputError`` for a file outside ``ca_folders`` or without
        certificates; the two are not told apart, so nothing is learnt of other files.
        """
        if isinstance(verify_ca, bool):
            return verify_ca
        path = Path(verify_ca).resolve()
        try:
            if not any(path.is_relative_to(folder) for folder in self._folders):
                raise PermissionError
            key = (path, path.stat().st_mtime_ns)
            context = self._by_file.get(key)
            if context is None:
                context = ssl.create_default_context(
                    cafile=None if path.is_dir() else path, capath=path if path.is_dir() else None
                )
                self._by_file[key] = context
        except (OSError, ssl.SSLError):
            folders = ", ".join(map(str, self._folders))
            raise InvalidInputError(
                f"verify_ca {verify_ca!r} is not a file of CA certificates in {folders}."
            ) from None
        return context


def trust_of_pem(pem: str) -> ssl.SSLContext:
    """A TLS context that trusts the certificates given as text, or ``InvalidInputError``."""
    try:
        return ssl.create_default_context(cadata=pem)
    except (ssl.SSLError, ValueError):
        raise InvalidInputError("verify_ca holds no usable PEM certificate.") from None
