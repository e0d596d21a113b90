"""Conductors and drivers as the Bare Metal API shows them: views of the core's members."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from holdfast.baremetal.drivers import DRIVERS, Driver
from holdfast.errors import NotFoundError
from holdfast.store.model import Member, MemberState
from holdfast.store.port import MemberStore

ROLE = "conductor"


class Conductor(msgspec.Struct, frozen=True, kw_only=True):
    """A conductor under the name that nodes show in ``conductor``. Times: epoch seconds."""

    hostname: str
    group: str
    alive: bool
    registered_at: float


class Conductors:
    """Which conductors there are, and which drivers they offer."""

    def __init__(self, store: MemberStore, hardware_types: Sequence[str]) -> None:
        self._store = store
        self.hardware_types = hardware_types

    async def all(self) -> list[Conductor]:
        """Every conductor by hostname, those that are gone too; each name once."""
        found: dict[str, Conductor] = {}
        for member in await self._store.members(ROLE, gone=True):
            seen = _conductor(member)
            other = found.get(seen.hostname)
            if other is None or (other.alive, other.registered_at) < (
                seen.alive,
                seen.registered_at,
            ):
                found[seen.hostname] = seen
        return sorted(found.values(), key=lambda conductor: conductor.hostname)

    async def named(self, hostname: str) -> Conductor:
        """One conductor. Raises ``NotFoundError``."""
        for conductor in await self.all():
            if conductor.hostname == hostname:
                return conductor
        raise NotFoundError(f"Conductor {hostname} could not be found.")

    async def alive(self) -> list[str]:
        """Hostnames of those that are up."""
        return [conductor.hostname for conductor in await self.all() if conductor.alive]

    def driver(self, name: str) -> Driver:
        """One driver. Raises ``NotFoundError`` naming those there are."""
        if name not in self.hardware_types:
            known = ", ".join(self.hardware_types)
            raise NotFoundError(f"The driver '{name}' could not be found; there are: {known}")
        return DRIVERS[name]

    def drivers(self) -> list[Driver]:
        """Those that are enabled."""
        return [DRIVERS[name] for name in self.hardware_types]


def _conductor(member: Member) -> Conductor:
    return Conductor(
        hostname=f"{member.slot}.{member.host}",
        group=member.group,
        alive=member.state is not MemberState.GONE,
        registered_at=member.registered_at,
    )
