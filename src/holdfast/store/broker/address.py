"""The URL of the broker: one or several hosts, in our spelling or that of oslo.messaging."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

SCHEMES: Final = {"amqp": "amqp", "amqps": "amqps", "rabbit": "amqp"}
PORTS: Final = {"amqp": 5672, "amqps": 5671}
HEARTBEAT_S: Final = 5  # a partition is noticed after three of them at the latest


@dataclass(frozen=True)
class Address:
    """One server. ``shown`` is for eyes: host, port and virtual host, no credentials."""

    url: str = field(repr=False)
    shown: str


def addresses(url: str) -> list[Address]:
    """The servers that ``amqp://user:password@host1:port,host2/vhost`` names, in order.

    A host without credentials has those of the one before it. Raises ``ValueError``, which
    never quotes the URL.
    """
    scheme, mark, rest = url.partition("://")
    if not mark or scheme not in SCHEMES:
        raise ValueError("must begin with amqp:// or amqps:// (or rabbit://)")
    scheme = SCHEMES[scheme]
    hosts, slash, path = rest.partition("/")
    path, _, query = path.partition("?")
    if "heartbeat=" not in query:
        query = f"{query}&heartbeat={HEARTBEAT_S}" if query else f"heartbeat={HEARTBEAT_S}"
    found: list[Address] = []
    user = ""
    for part in hosts.split(","):
        own, at, place = part.rpartition("@")
        user = own if at else user
        if set(user) & set("#?[]"):
            raise ValueError("has a character in its user or password that must be written as %XX")
        host, port = _place(place, PORTS[scheme])
        login = f"{user}@" if user else ""
        found.append(
            Address(
                url=f"{scheme}://{login}{host}:{port}{slash or '/'}{path}?{query}",
                shown=f"{host}:{port}/{path}",
            )
        )
    return found


def _place(place: str, default: int) -> tuple[str, int]:
    try:
        split = urlsplit(f"//{place}")
        host, port = split.hostname, split.port
    except ValueError:
        raise ValueError("has a host or a port that is none") from None
    if not host or split.path or split.query or split.fragment:
        raise ValueError("names no host")
    return (f"[{host}]" if ":" in host else host), port or default
