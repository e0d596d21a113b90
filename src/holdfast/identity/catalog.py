"""The service catalog: which APIs this deployment has, and where they are.

It is made from what ``web`` serves, not stored: an address in it is that by which the
client reached us (or the configured public one), so it is right behind any balancer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import msgspec

INTERFACES = ("public", "internal", "admin")


PROJECT = "%(project_id)s"
"""In a path: the project of the token that asks; without one the API is not in its catalog."""


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """One API: its catalog type, its name, and the path of its root under the address.

    The path may hold ``PROJECT``.
    """

    type: str
    name: str
    path: str

    @property
    def id(self) -> str:
        """Stable over restarts and processes: derived from the type."""
        return uuid5(NAMESPACE_URL, f"holdfast:service:{self.type}").hex


class Catalog:
    """The services of one deployment, in one region."""

    def __init__(self, services: Sequence[Service], region: str) -> None:
        self.services = tuple(services)
        self.region = region

    def endpoints(self, service: Service, address: str) -> list[dict[str, Any]]:
        """The service's endpoints under an address (``http://host:port``, no slash at its end)."""
        return [
            {
                "id": uuid5(NAMESPACE_URL, f"holdfast:endpoint:{service.type}:{interface}").hex,
                "interface": interface,
                "region": self.region,
                "region_id": self.region,
                "url": f"{address}{service.path}",
            }
            for interface in INTERFACES
        ]

    def view(self, address: str, project: str | None = None) -> list[dict[str, Any]]:
        """The catalog as tokens carry it, for a token of this project."""
        return [
            {
                "id": service.id,
                "type": service.type,
                "name": service.name,
                "endpoints": self.endpoints(_of_project(service, project), address),
            }
            for service in self.services
            if project is not None or PROJECT not in service.path
        ]


def _of_project(service: Service, project: str | None) -> Service:
    if project is None:
        return service
    return msgspec.structs.replace(service, path=service.path.replace(PROJECT, project))
