"""Services that nobody is there for are named."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest

from holdfast.fleet.model import Service
from holdfast.fleet.unserved import unserved
from holdfast.store.model import Member, MemberState


def service(name: str, *zones: str, deleted_at: float | None = None) -> Service:
    return Service(
        id=uuid4(),
        project="p",
        name=name,
        generation=UUID(int=1),
        zones=zones,
        deleted_at=deleted_at,
    )


def node(zone: str, state: MemberState = MemberState.UP, role: str = "apinode") -> Member:
    return Member(
        id=uuid4(),
        role=role,
        slot=f"{role}-1",
        host="h",
        zone=zone,
        group="",
        version="1",
        address="",
        epoch=1,
        state=state,
        drain_requested=False,
        lease_until=0.0,
        registered_at=0.0,
    )


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ([], ["no API node is up to serve a, b"]),
        ([node("east", MemberState.DRAINING)], ["no API node is up to serve a, b"]),
        ([node("east", role="engine")], ["no API node is up to serve a, b"]),
        ([node("west")], ["no API node is up to serve b in its zones, east"]),
        ([node("west"), node("east")], []),
    ],
)
def test_a_service_without_an_api_node_in_its_zones_is_named(
    members: list[Member], said: list[str]
):
    services = [service("b", "east"), service("a"), service("old", deleted_at=1.0)]
    assert unserved(services, members) == said
    assert unserved(services[2:], members) == []
