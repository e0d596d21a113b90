"""Settings of the gateway (section ``[bmc]``)."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, TypeAlias

import msgspec

Seconds = Annotated[float, msgspec.Meta(gt=0, le=86400)]
Count = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
Bytes = Annotated[int, msgspec.Meta(ge=1024, le=1 << 30)]
Network: TypeAlias = IPv4Network | IPv6Network

PRIVATE_NETWORKS = (
    "127.0.0.0/8",
    "::1/128",
    "10.0.0.0/8",  # RFC 1918
    "172.16.0.0/12",
    "192.168.0.0/16",
    "fc00::/7",  # RFC 4193
)
LINK_LOCAL_NETWORKS = ("169.254.0.0/16", "fe80::/10")  # where clouds serve their metadata
LOOPBACK_NETWORKS = ("127.0.0.0/8", "::1/128", "0.0.0.0/8", "::/128")  # RFC 1122, RFC 4291
CA_FOLDERS = ("/etc/ssl", "/etc/pki", "/usr/share/ca-certificates", "/usr/local/share")


class BreakerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a BMC that does not answer is left alone, and for how long."""

    failures: Count = 5
    """Consecutive refused connections or time-outs that open the breaker."""
    backoff_first_s: Seconds = 2.0
    """How long it stays open at first; doubled after each failed probe."""
    backoff_max_s: Seconds = 60.0
    """The longest it stays open."""
    jitter: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.2
    """Each time is shortened by up to this share, so that probes do not come in step."""


class BmcSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that bounds what the gateway does."""

    deadline_max_s: Seconds = 600.0
    """No command may take longer, whatever deadline it asks for; waiting in line counts."""
    connect_timeout_s: Seconds = 5.0
    """For the TCP and TLS handshakes with a BMC or an agent."""
    keepalive_s: Seconds = 90.0
    """How long an idle connection to a BMC is kept."""
    connections_max: Count = 8192
    """Connections to all BMCs and agents together."""
    connections_per_bmc_max: Count = 4
    """Connections to one BMC address."""
    commands_max: Count = 20_000
    """Commands in line or in flight in the whole gateway; more are refused at once."""
    commands_per_bmc_max: Count = 32
    """Commands in line for one BMC; more are refused at once."""
    observations_max: Count = 1000
    """Observations of power sync in line or in flight; more wait before the line."""
    give_way_s: Annotated[float, msgspec.Meta(ge=0, le=60)] = 0.05
    """How long an observation of power sync may keep another command of its BMC waiting."""
    power_on_per_s: Annotated[float, msgspec.Meta(ge=0, le=10_000)] = 50.0
    """Machines switched on per second by this gateway, for the supplies' sake; 0: no bound."""
    power_on_burst: Count = 100
    """How many may be switched on at once after a quiet while."""
    late_s: Annotated[float, msgspec.Meta(ge=0, le=600)] = 2.0
    """How late a BMC may still act on a request that nobody waits for any more: after a
    time-out a new owner's commands, and after a start of the gateway all, wait so long."""
    answer_bytes_max: Bytes = 4 << 20
    """Largest answer taken from a BMC or an agent."""
    request_bytes_max: Bytes = 64 << 20
    """Largest request taken from a conductor (an agent command may carry a config drive)."""
    discovery_s: Seconds = 600.0
    """How long the layout of a BMC's resources is remembered."""
    bmcs_remembered_max: Count = 20_000
    """BMCs whose layout and session are remembered."""
    logout_s: Seconds = 3.0
    """How long closing the Redfish sessions at a stop may take."""
    drain_s: Seconds = 30.0
    """How long a stop waits for commands in flight."""
    agent_networks: tuple[str, ...] = PRIVATE_NETWORKS
    """Where ramdisk agents may live; a call-back URL elsewhere is refused."""
    denied_networks: tuple[str, ...] = LINK_LOCAL_NETWORKS
    """Where no connection goes at all, whatever name or URL leads there."""
    allow_loopback: bool = False
    """Whether BMCs and agents may be on the gateway's own host, as simulated ones are. What
    else listens there takes whoever comes from loopback for one of its own. ``holdfast up``
    allows it while it runs its own database and its APIs are reached from this host only."""
    ca_folders: tuple[str, ...] = CA_FOLDERS
    """Folders that a BMC's ``verify_ca`` file must be in."""
    breaker: BreakerSettings = BreakerSettings()

    def denied(self) -> tuple[Network, ...]:
        """All networks to which no connection is made."""
        loopback = () if self.allow_loopback else LOOPBACK_NETWORKS
        return networks((*self.denied_networks, *loopback))

    def faults(self) -> list[str]:
        """What no single field shows: networks and relations between times."""
        found: list[str] = []
        for name in ("agent_networks", "denied_networks"):
            for text in getattr(self, name):
                try:
                    ip_network(text)
                except ValueError as error:
                    found.append(f"bmc.{name}: {error}; write it as 10.0.0.0/8 or fd00::/8")
        if self.breaker.backoff_first_s > self.breaker.backoff_max_s:
            found.append("bmc.breaker.backoff_first_s must not exceed bmc.breaker.backoff_max_s")
        if self.connect_timeout_s > self.deadline_max_s:
            found.append("bmc.connect_timeout_s must not exceed bmc.deadline_max_s")
        return found


def networks(texts: tuple[str, ...]) -> tuple[Network, ...]:
    """Parse networks; raises ``ValueError`` for what ``BmcSettings.faults`` reports."""
    return tuple(ip_network(text) for text in texts)
