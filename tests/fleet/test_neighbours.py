"""Which members are API nodes that a client may ask, and at what address."""

from __future__ import annotations

from uuid import UUID

from holdfast.fleet.neighbours import addresses
from holdfast.store.model import Member, MemberState


def member(address: str, *, host: str = "here", state: str = "up", drain: bool = False) -> Member:
    return Member(
        id=UUID(int=1),
        role="apinode",
        slot="apinode-1",
        host=host,
        zone="",
        group="",
        version="1",
        address=address,
        epoch=1,
        state=MemberState(state),
        drain_requested=drain,
        lease_until=0.0,
        registered_at=0.0,
    )


def test_who_is_up_and_stays_is_told_of_and_nobody_else():
    """D10, D11."""
    found = [
        member("http://a:2/"),
        member("http://a:1"),
        member("http://draining:1", state="draining"),
        member("http://gone:1", state="gone"),
        member("http://leaving:1", drain=True),
        member(""),
        member("unix:/run/node"),
    ]
    assert addresses(found, "here") == ["http://a:1", "http://a:2"]


def test_a_loopback_address_is_of_its_own_host_only():
    for url in ("http://127.0.0.1:1", "http://[::1]:1", "http://localhost:1"):
        assert addresses([member(url)], "here") == [url]
        assert addresses([member(url, host="there")], "here") == []
    assert addresses([member("http://10.0.0.1:1", host="there")], "here") == ["http://10.0.0.1:1"]
