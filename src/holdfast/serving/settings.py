"""What a node can be told: ``apinode.toml`` in its data directory, every member optional.

Durations in seconds, sizes in bytes. Nothing here is needed to start one.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Final

import msgspec

from holdfast.errors import ConfigError
from holdfast.serving.generations.mounted import WorkerSettings
from holdfast.serving.packages.fetch import FetchSettings
from holdfast.serving.packages.opening import Limits as PackageLimits

FILE: Final = "apinode.toml"


class HttpSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The port. ``drain_notice_s``: how long a draining node goes on, so that balancers notice.

    ``request_timeout_s``: for a body to come, or an answer to be read; a second more for each
    10 kB of it. ``connections_max``: beyond it, idle ones give way, and some are for the probe.
    """

    host: str = "127.0.0.1"
    port: int = 12_000
    body_bytes_max: int = 16 << 20
    bodies_bytes_max: int = 512 << 20  # of all whose queries have no answer yet
    header_bytes_max: int = 32 << 10
    connections_max: int = 10_000
    head_timeout_s: float = 10.0  # from the connection, or a request's first byte, to its head
    request_timeout_s: float = 30.0
    keepalive_s: float = 600.0
    drain_notice_s: float = 10.0
    drain_max_s: float = 60.0
    loading_max_s: float = 120.0  # the probe of a node that starts waits no longer for a service
    successor_max_s: float = 900.0  # to load everything, when it is to take this node's place


class PlaceSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the node is. ``url``: how clients reach it, if not by host and port as listened on.

    ``peers``: URLs of other nodes, of which more are learned; its own among them is no harm.
    ``zone``: nodes of one zone are upgraded one after the other, before those of the next.
    """

    url: str = ""
    zone: str = ""
    peers: tuple[str, ...] = ()


class AuditSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The query audit. ``sampling``: the share of queries written; errors always are.

    ``ship``: a URL that the lines are sent to as well (``front.shipping``), with
    ``ship_authorization`` as the header of that name.
    """

    enabled: bool = True
    sampling: float = 1.0
    bodies: bool = False
    file_bytes_max: int = 100 << 20
    files: int = 5
    ship: str = ""
    ship_authorization: str = ""


class PackageSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which packages are taken. ``trusted_keys``: Ed25519 public keys, in hex."""

    trusted_keys: list[str] = []
    signed_only: bool = False
    archive_folders: tuple[str, ...] = ("/",)  # where importFromArchive may read
    limits: PackageLimits = PackageLimits()
    fetch: FetchSettings = FetchSettings()


class NodeSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All of it. ``connections``: databases for SQL endpoints, name to URL."""

    http: HttpSettings = HttpSettings()
    node: PlaceSettings = PlaceSettings()
    audit: AuditSettings = AuditSettings()
    packages: PackageSettings = PackageSettings()
    workers: WorkerSettings = WorkerSettings()
    connections: dict[str, str] = {}


def read_settings(data: Path) -> NodeSettings:
    """The settings of a data directory; raises ``ConfigError``."""
    path = data / FILE
    if not path.exists():
        return NodeSettings()
    try:
        return msgspec.convert(tomllib.loads(path.read_text("utf-8")), NodeSettings)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, UnicodeError) as error:
        raise ConfigError(f"{path} is not right: {error}.") from None
