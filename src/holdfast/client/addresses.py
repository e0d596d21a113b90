"""Where an instance is."""

from __future__ import annotations

import dataclasses
from urllib.parse import urlsplit

from holdfast.errors import InvalidInputError


@dataclasses.dataclass(frozen=True, slots=True)
class Address:
    """``host`` is what it is called (Host header, certificate), ``ip`` where it is, if known."""

    tls: bool
    host: str
    port: int
    prefix: str = ""
    ip: str = ""

    @property
    def authority(self) -> str:
        """As in a Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"

    def __str__(self) -> str:
        at = f" at {self.ip}" if self.ip else ""
        return f"http{'s' if self.tls else ''}://{self.authority}{self.prefix}{at}"


def parse(url: str) -> Address:
    """An instance's base URL; raises ``InvalidInputError``."""
    try:
        parts = urlsplit(url.strip())
        port = parts.port
    except ValueError:
        raise InvalidInputError(f"{url!r} is no URL of an API node.") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidInputError(f"{url!r} is no URL of an API node, as http://host:12000 is.")
    if parts.username or parts.query or parts.fragment:
        raise InvalidInputError(f"{url!r} has more than scheme, host, port and path.")
    if any(ord(letter) <= 32 or ord(letter) > 126 for letter in parts.netloc + parts.path):
        raise InvalidInputError(f"{url!r} has characters that a URL cannot have.")
    tls = parts.scheme == "https"
    return Address(tls, parts.hostname, port or (443 if tls else 80), parts.path.rstrip("/"))
