"""Engines and APIs as the Orchestration API lists them: views of the core's members (X21)."""

from __future__ import annotations

import msgspec

from holdfast.core.settings import CoreSettings
from holdfast.store.model import Member, MemberState
from holdfast.store.port import MemberStore

BINARIES = {"engine": "heat-eng", "api": "heat-api"}
"""Heat's names of what these roles do."""


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """One process. Times: epoch seconds. ``updated_at``: when it last renewed its lease."""

    id: str
    binary: str
    engine_id: str
    hostname: str
    host: str
    topic: str
    report_interval: float
    up: bool
    created_at: float
    updated_at: float
    deleted_at: float | None


class Engines:
    """Which processes run stacks, and which answer for them."""

    def __init__(self, members: MemberStore, core: CoreSettings) -> None:
        self._members = members
        self._lease_s = core.lease_s

    async def services(self) -> list[Service]:
        """Every process of each role; of those that are gone the last incarnation of each slot."""
        found: list[Service] = []
        for role, binary in BINARIES.items():
            latest: dict[tuple[str, str], Member] = {}
            for member in await self._members.members(role, gone=True):
                key = (member.host, member.slot)
                other = latest.get(key)
                if other is None or _rank(other) < _rank(member):
                    latest[key] = member
            found += [self._service(member, binary) for _, member in sorted(latest.items())]
        return found

    def _service(self, member: Member, binary: str) -> Service:
        up = member.state is not MemberState.GONE
        renewed = member.lease_until - self._lease_s
        return Service(
            id=str(member.id),
            binary=binary,
            engine_id=str(member.id),
            hostname=f"{member.slot}.{member.host}",
            host=member.host,
            topic="engine" if binary == "heat-eng" else "api",
            report_interval=self._lease_s / 3,
            up=up,
            created_at=member.registered_at,
            updated_at=max(member.registered_at, renewed),
            deleted_at=None if up else member.lease_until,
        )


def _rank(member: Member) -> tuple[bool, float]:
    return member.state is not MemberState.GONE, member.registered_at
