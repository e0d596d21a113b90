"""Services that shall be served, and that no API node is there for."""

from __future__ import annotations

from collections.abc import Iterable

from holdfast.fleet.model import Service
from holdfast.fleet.store import ROLE
from holdfast.store.model import Member, MemberState

ADVICE = "start one: `holdfast up --apinodes N`, or `holdfast run apinode`"


def unserved(services: Iterable[Service], members: Iterable[Member]) -> list[str]:
    """A sentence, or two: who is served by nobody, as no node in its zones is up. Pure."""
    zones = {m.zone for m in members if m.role == ROLE and m.state is MemberState.UP}
    without = [
        one
        for one in sorted(services, key=lambda one: one.name)
        if one.deleted_at is None and not any(one.is_in(zone) for zone in zones)
    ]
    if not without:
        return []
    if not zones:
        return [f"no API node is up to serve {', '.join(one.name for one in without)}"]
    return [
        f"no API node is up to serve {one.name} in its zones, {', '.join(one.zones)}"
        for one in without
    ]
