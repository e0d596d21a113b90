"""The BMC gateway and its links as this host sees them; it is no member and keeps no lease."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import msgspec

from holdfast.bmc.client import GatewayClient
from holdfast.errors import HoldfastError
from holdfast.ops.datadir import DataDir
from holdfast.ops.settings import RackSettings

CLOSED = "closed"  # of a breaker: the BMC answers


class BrokenLink(msgspec.Struct, frozen=True, kw_only=True):
    """A BMC that the gateway does not get through to. ``last``: how the last command ended."""

    bmc: str
    breaker: str
    last: str | None


class GatewayLinks(msgspec.Struct, frozen=True, kw_only=True):
    """``fault``: why the gateway could not be asked. ``silent``: BMCs it never had to ask yet."""

    url: str
    fault: str | None = None
    draining: bool = False
    bmcs: int = 0
    silent: int = 0
    commands: int = 0
    waiting: int = 0
    broken: tuple[BrokenLink, ...] = ()


async def look(rack: RackSettings, datadir: DataDir) -> GatewayLinks | None:
    """Ask the gateway of this host's configuration; None where nobody here can ask it.

    That is on a host without its secret, or where its port is chosen at each start.
    """
    if not datadir.gateway_secret.exists() or not (rack.url or rack.port):
        return None
    secret = datadir.gateway_secret.read_text(encoding="utf-8").strip()
    client = GatewayClient(rack.gateway_url, secret)
    try:
        return links_of(rack.gateway_url, await client.status())
    except HoldfastError as fault:
        return GatewayLinks(url=rack.gateway_url, fault=fault.message)
    finally:
        await client.close()


def links_of(url: str, status: Mapping[str, Any]) -> GatewayLinks:
    """What ``GatewayCore.status`` says of the links."""
    bmcs = cast("list[dict[str, Any]]", status["bmcs"])
    return GatewayLinks(
        url=url,
        draining=status["draining"],
        bmcs=len(bmcs),
        silent=sum(one["breaker"] is None for one in bmcs),
        commands=status["open_commands"],
        waiting=sum(one["waiting"] for one in bmcs),
        broken=tuple(
            BrokenLink(bmc=one["bmc"], breaker=one["breaker"], last=one["last"])
            for one in bmcs
            if one["breaker"] not in (None, CLOSED)
        ),
    )
