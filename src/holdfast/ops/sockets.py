"""The API's listening sockets: the supervisor binds them, every API process inherits them.

So a process that dies takes no connection with it but its own, and none is refused
while it is started again.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from typing import Final

from holdfast.ops.settings import ApiSettings, http_url
from holdfast.web.server import inherited, listen

LISTEN_ENV: Final = "HOLDFAST_LISTEN_FDS"


def own_ports(api: ApiSettings) -> dict[str, int]:
    """The services that have a port of their own too: API's name -> port."""
    ports = {"baremetal": api.ports.baremetal, "orchestration": api.ports.orchestration}
    return {name: port for name, port in ports.items() if port}


def listening(api: ApiSettings) -> list[socket.socket]:
    """The common address, then the services' own ports. Raises ``ConfigError`` if one is taken."""
    return [listen(api.host, port) for port in (api.port, *own_ports(api).values())]


def to_pass(sockets: Sequence[socket.socket]) -> dict[str, str]:
    """The environment that tells a child which descriptors they are."""
    return {LISTEN_ENV: ",".join(str(sock.fileno()) for sock in sockets)}


def passed(environ: Mapping[str, str]) -> list[socket.socket] | None:
    """The sockets the supervisor passed, in the same order; None if there is none."""
    text = environ.get(LISTEN_ENV)
    return [inherited(int(descriptor)) for descriptor in text.split(",")] if text else None


def url_of(sock: socket.socket) -> str:
    """The address of a listening socket; one that listens everywhere is shown as loopback."""
    host, port = sock.getsockname()[:2]
    return http_url(str(host), int(port))
