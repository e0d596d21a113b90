"""Where the instances are: a list, a DNS name, or what the nodes themselves say (D10, D11)."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import socket
import ssl
from collections.abc import Sequence
from typing import Any, Final, Protocol, TypeAlias, cast

from holdfast.client.addresses import Address, parse
from holdfast.client.errors import AnswerTooLargeError, LostError
from holdfast.client.streams import connect
from holdfast.client.wire import Answer, Query
from holdfast.errors import InvalidInputError

NODES_PATH: Final = "/nodes"
_LIST_BYTES_MAX: Final = 1 << 20
_NODES_MAX: Final = 10_000
_ASKED_MAX: Final = 32
_TIMEOUT_S: Final = 2.0


class Source(Protocol):
    """Knows where instances are."""

    def known(self) -> list[Address]:
        """What is known without asking anybody."""
        ...

    async def find(self, tls: ssl.SSLContext | None) -> list[Address]:
        """All, asked anew; empty if that cannot be said now (what was known then stays)."""
        ...


class StaticList:
    """These, always."""

    def __init__(self, urls: Sequence[str]) -> None:
        self._addresses = [parse(url) for url in urls]
        if not self._addresses:
            raise InvalidInputError("Name at least one API node.")

    def known(self) -> list[Address]:
        return self._addresses

    async def find(self, tls: ssl.SSLContext | None) -> list[Address]:
        return self._addresses


class DnsName:
    """Every A and AAAA record of the URL's host is an instance; asked again as time goes by.

    (SRV records are not read: the standard library cannot.)
    """

    def __init__(self, url: str) -> None:
        self._address = parse(url)

    def known(self) -> list[Address]:
        return []

    async def find(self, tls: ssl.SSLContext | None) -> list[Address]:
        asked = self._address
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(asked.host, asked.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            return []
        ips = dict.fromkeys(str(one[4][0]) for one in found)
        return [dataclasses.replace(asked, ip=ip) for ip in ips]


class NodeList:
    """What ``GET /nodes`` of the nodes says, ``{"nodes": [URL, …]}``; the first by ``seeds``.

    Whoever may say where the nodes are gets the queries and their keys; so a list of a node
    reached by https may name https URLs only.
    """

    def __init__(self, seeds: Sequence[str]) -> None:
        self._seeds = StaticList(seeds).known()
        self._last: list[Address] = []

    def known(self) -> list[Address]:
        return self._seeds

    async def find(self, tls: ssl.SSLContext | None) -> list[Address]:
        asked = list(dict.fromkeys([*self._last, *self._seeds]))[:_ASKED_MAX]
        lists = await asyncio.gather(*[self._ask(node, tls) for node in asked])
        # All of them: one that has just come may know but itself.
        found = list(dict.fromkeys(address for one in lists for address in one))
        self._last = found or self._last
        return found

    async def _ask(self, node: Address, tls: ssl.SSLContext | None) -> list[Address]:
        try:
            answer = await get(node, NODES_PATH, _TIMEOUT_S, tls)
            document: Any = json.loads(answer.body) if answer.status == 200 else None
            urls = cast("list[str]", document["nodes"] if document else [])
            addresses = [parse(url) for url in urls[:_NODES_MAX]]
        except (LostError, ValueError, KeyError, TypeError, AttributeError, InvalidInputError):
            return []
        return [one for one in addresses if one.tls or not node.tls]


Where: TypeAlias = str | Sequence[str] | Source


def source_of(where: Where) -> Source:
    """A URL or several of them are a static list."""
    if isinstance(where, str):
        return StaticList([where])
    if isinstance(where, Sequence):
        return StaticList(where)
    return where


async def get(address: Address, path: str, timeout_s: float, tls: ssl.SSLContext | None) -> Answer:
    """One GET on a connection of its own. Raises ``LostError``; ``sent`` tells silence."""
    stream = await connect(address, timeout_s, _LIST_BYTES_MAX, tls)
    query = Query("GET", path, ((b"Connection", b"close"),), b"")
    try:
        async with asyncio.timeout(timeout_s):
            return await stream.ask(query.to_bytes(address, timeout_s))
    except TimeoutError:
        raise LostError("its probe was not answered in time", sent=True) from None
    except AnswerTooLargeError as error:
        raise LostError(error.message, sent=False) from None
    finally:
        stream.close()
