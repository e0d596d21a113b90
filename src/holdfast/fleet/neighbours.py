"""Where the other API nodes of the same control plane are, as its members say (D10, D11)."""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Iterable

from yarl import URL

from holdfast.errors import InvalidInputError
from holdfast.serving.peers import checked
from holdfast.store.model import Member, MemberState


def addresses(members: Iterable[Member], host: str) -> list[str]:
    """Base URLs of the API nodes (``members``) that take queries and stay, as seen from ``host``.

    A loopback address of another host is none, and neither is what is no URL.
    """
    found: set[str] = set()
    for member in members:
        stays = member.state is MemberState.UP and not member.drain_requested
        with contextlib.suppress(InvalidInputError):
            url = checked(member.address)
            if stays and (member.host == host or not _is_loopback(url)):
                found.add(url)
    return sorted(found)


def _is_loopback(url: str) -> bool:
    name = URL(url).host or ""
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"
