"""What every connection is told, so that a host that is gone without a word is noticed."""

from __future__ import annotations

import socket
from typing import Final

# An instance may think for long; its kernel still answers. One that does not for some 3 s is gone.
_SILENCE_MS: Final = 3000
_OPTIONS: Final = (
    (socket.SOL_SOCKET, "SO_KEEPALIVE", 1),
    (socket.IPPROTO_TCP, "TCP_NODELAY", 1),
    (socket.IPPROTO_TCP, "TCP_KEEPIDLE", 1),
    (socket.IPPROTO_TCP, "TCP_KEEPINTVL", 1),
    (socket.IPPROTO_TCP, "TCP_KEEPCNT", 2),
    (socket.IPPROTO_TCP, "TCP_USER_TIMEOUT", _SILENCE_MS),
)


def set_options(one: socket.socket) -> None:
    """Set what this system has of them."""
    for level, name, value in _OPTIONS:
        option = getattr(socket, name, None)
        if option is not None:
            one.setsockopt(level, option, value)
