"""Settings of the processes of a host. Each other package brings its own section."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

import msgspec

from holdfast.store.broker.address import addresses

EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - how it is shown

ENGINE_MB_MIN: Final = 512  # an idle one has 300; what it handles comes on top

Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]
Processes = Annotated[int, msgspec.Meta(ge=0, le=256)]
Seconds = Annotated[float, msgspec.Meta(gt=0, le=3600)]


class DataSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where this host keeps keys, logs, and the embedded database."""

    dir: str = ""
    """Data directory; empty: HOLDFAST_DATA_DIR, /var/lib/holdfast as root, else below the home."""


class DatabaseSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """PostgreSQL: the one that is configured, or an embedded one."""

    url: str = ""
    """postgresql://user:password@host:port/name; empty: embedded, run by ``holdfast up``.
    Several servers, of which one leads: user:password@host1:port1,host2:port2/name."""
    pool_max: Annotated[int, msgspec.Meta(ge=2, le=200)] = 10
    """Connections one process keeps at most."""

    def faults(self) -> list[str]:
        if self.url and not self.url.startswith(("postgresql://", "postgres://")):
            return ["database.url must begin with postgresql:// (no other database is supported)"]
        return []


class BrokerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """RabbitMQ, if there is one: wakes the engines; what there is to do is in the database."""

    url: str = ""
    """amqp://user:password@host:port/vhost, or amqps://; several servers of a cluster:
    user:password@host1,host2/vhost. Empty: the engines are woken by PostgreSQL's NOTIFY."""

    def faults(self) -> list[str]:
        """Never quotes the URL: it has a password in it."""
        try:
            if self.url:
                addresses(self.url)
        except ValueError as fault:
            return [f"broker.url {fault}"]
        return []


class HostSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What this host's members say of where they are."""

    name: str = ""
    """Empty: the host's own name."""
    zone: str = "default"
    """Availability zone (P17): spread the hosts of a deployment over several."""


class ApiPorts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Services that are also served at the root of a port of their own; 0: none."""

    baremetal: Port = 0
    """Ironic's own port is 6385."""
    orchestration: Port = 0
    """Heat's own port is 8004 (X4)."""


class ApiSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The ``api`` role."""

    host: str = "127.0.0.1"
    """Address to listen on; loopback unless told otherwise."""
    port: Port = 8080
    """0: any free one, shown at start and written to clouds.yaml."""
    public_url: str = ""
    """What clients are told, as behind a balancer; empty: http://host:port."""
    processes: Processes = 2
    ports: ApiPorts = ApiPorts()


class ConductorSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The ``conductor`` role."""

    processes: Processes = 2
    """At least two for high availability (I7)."""
    group: str = ""
    """Conductor group: these conductors take only nodes of the same group."""


class ApiNodeSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The ``apinode`` role: nodes that answer queries; the rest of one is in its apinode.toml."""

    processes: Processes = 0
    host: str = "127.0.0.1"
    """Address to listen on; loopback unless told otherwise."""
    port: Port = 12_000
    """Port of the first of this host; each further one has the next. 0: any free ones."""
    look_s: Seconds = 2.0
    """How often a node reads what it shall serve, and says what it does."""


class EngineSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The ``engine`` role: runs the jobs of stacks."""

    processes: Processes = 2
    """Engines of this host (Heat: ``num_engine_workers``; X5). Any number may run anywhere."""
    jobs_max: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 100
    """Operations one engine has in hand at a time; those that wait for something take no place."""
    pool_overflow: Annotated[int, msgspec.Meta(ge=0, le=200)] = 20
    """Connections an engine may open above ``database.pool_max`` while it is busy (X18); those
    that nobody needs for five minutes are closed again."""
    memory_max_mb: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 4096
    """Address space an engine may have, so that a fault in a resource type ends one engine and
    not the host; its work goes on elsewhere. 0: no limit."""

    def faults(self) -> list[str]:
        if 0 < self.memory_max_mb < ENGINE_MB_MIN:
            return [
                f"engine.memory_max_mb ({self.memory_max_mb}) is less than an engine needs to "
                f"start: set at least {ENGINE_MB_MIN}, or 0 for no limit"
            ]
        return []


class RackSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The ``rack`` role: the BMC gateway, one for a whole deployment; on loopback by default."""

    host: str = "127.0.0.1"
    """Address to listen on; loopback unless told otherwise."""
    port: Port = 8083
    """0: any free one."""
    url: str = ""
    """Another host's gateway (with its gateway.secret copied here); then this host runs none."""
    plain_http: bool = False
    """Allow ``host`` or ``url`` beyond loopback without TLS: on a network of your own only."""

    @property
    def gateway_url(self) -> str:
        """Where the conductors of this host reach the gateway."""
        return self.url or http_url(self.host, self.port)

    def faults(self) -> list[str]:
        """The gateway's secret travels in every request: beyond loopback only on purpose."""
        remote = _http_host(self.url) if self.url else self.host
        if remote is None:
            return ["rack.url must be http://host:port (the gateway has no TLS yet)"]
        if self.plain_http or _is_loopback(remote):
            return []
        return [
            f"rack.{'url' if self.url else 'host'} ({remote}) is beyond loopback, and the gateway "
            "has no TLS: set rack.plain_http = true if nobody else reaches that network"
        ]


class LogSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Structured logs: JSON lines, or for people on a terminal."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = "auto"
    bytes_max: Annotated[int, msgspec.Meta(ge=100_000)] = 50_000_000
    """A role's log file is moved aside (one generation is kept) beyond this size."""


class SupervisorSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``holdfast up``."""

    port: Port = 8082
    """Loopback port with /metrics of all roles, /readyz and /livez; 0: any free one."""
    ready_s: Seconds = 60.0
    """How long a start may take before it is given up."""
    backoff_min_s: Seconds = 0.1
    """Wait before a role that died is started again; doubled each time it dies soon after."""
    backoff_max_s: Seconds = 10.0
    stop_s: Seconds = 90.0
    """How long a role may drain before it is killed."""

    def faults(self) -> list[str]:
        if self.backoff_min_s > self.backoff_max_s:
            return [
                f"supervisor.backoff_min_s ({self.backoff_min_s}) must not exceed "
                f"supervisor.backoff_max_s ({self.backoff_max_s})"
            ]
        return []


def http_url(host: str, port: int) -> str:
    """An address as a URL; one that means "everywhere" is shown as loopback."""
    shown = EVERYWHERE.get(host, host)
    return f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"


def _http_host(url: str) -> str | None:
    """The host of an http URL, if it is one."""
    try:
        split = urlsplit(url)
    except ValueError:
        return None
    return split.hostname if split.scheme == "http" else None


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
