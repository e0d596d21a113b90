"""Which of several servers is written to; real failovers are in tests/chaos/test_failover.py."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from holdfast.store.pg import hosts
from holdfast.store.pg.hosts import NoPrimaryError, connect, places

URL = "postgresql://u:p@one,two:5433/holdfast"


class Server:
    """A PostgreSQL as far as it is asked. ``timeline`` None: a standby."""

    def __init__(self, timeline: str | None = None, *, cluster: int = 1, hangs: bool = False):
        self.row = {"cluster": cluster, "timeline": timeline}
        self.hangs = hangs
        self.open = 0

    async def fetchrow(self, _statement: str) -> dict[str, Any]:
        return self.row

    def terminate(self) -> None:
        self.open -= 1


Servers = dict[str, Server]


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> Servers:
    """By name; one that is not there refuses connections."""
    there: Servers = {}

    async def answer(_dsn: str, host: str = "", **_: object) -> Server:
        server = there.get(host)
        if server is None:
            raise ConnectionRefusedError(f"{host} refuses")
        if server.hangs:
            await asyncio.Event().wait()
        server.open += 1
        return server

    monkeypatch.setattr(hosts.asyncpg, "connect", answer)
    monkeypatch.setattr(hosts, "OTHERS_S", 0.0)
    monkeypatch.setattr(hosts, "_newest", {})
    return there


@pytest.mark.parametrize(
    ("dsn", "found"),
    [
        (URL, [("one", 5432), ("two", 5433)]),
        ("postgresql://u:p@[fd00::1]:6000,[fd00::2]/h", [("fd00::1", 6000), ("fd00::2", 5432)]),
        ("postgresql:///h?host=one,two&port=6000,6001", [("one", 6000), ("two", 6001)]),
        ("postgresql:///h?host=one,two&port=6000", [("one", 6000), ("two", 6000)]),
        ("postgresql://u@one/h", [("one", 5432)]),
        ("postgresql://u:p@/h?host=/run/postgresql", []),
    ],
)
def test_the_servers_that_a_url_names(dsn: str, found: list[tuple[str, int]]):
    assert places(dsn) == found


async def test_the_one_that_is_no_standby_is_taken_and_the_other_left_in_peace(servers: Servers):
    servers |= {"one": Server(), "two": Server("00000001")}
    assert await connect(URL) is servers["two"]
    assert (servers["one"].open, servers["two"].open) == (0, 1)


async def test_one_that_swallows_packets_delays_nobody(servers: Servers):
    servers |= {"one": Server(hangs=True), "two": Server("00000001")}
    async with asyncio.timeout(5):
        assert await connect(URL) is servers["two"]


async def test_of_two_primaries_the_one_of_the_newer_timeline_is_taken(servers: Servers):
    servers |= {"one": Server("00000009"), "two": Server("0000000A")}
    assert await connect(URL) is servers["two"]
    assert servers["one"].open == 0


async def test_what_was_seen_once_is_never_gone_back_behind(servers: Servers):
    servers |= {"one": Server("00000001"), "two": Server("00000002")}
    await connect(URL)
    del servers["two"]
    with pytest.raises(NoPrimaryError, match=r"timeline 1 answers, and 2 was seen.*two refuses"):
        await connect(URL)
    assert servers["one"].open == 0


async def test_a_proxy_that_leads_to_a_primary_of_the_past_is_not_followed(servers: Servers):
    servers[""] = Server("00000002")
    await connect("postgresql://proxy/h")
    servers[""] = Server("00000001")
    with pytest.raises(NoPrimaryError, match="before a failover"):
        await connect("postgresql://proxy/h")
    assert servers[""].open == 0


async def test_another_cluster_has_a_life_of_its_own(servers: Servers):
    servers[""] = Server("00000007")
    await connect("postgresql://proxy/h")
    servers[""] = Server("00000001", cluster=2)  # a dump, restored into a new cluster
    assert await connect("postgresql://proxy/h") is servers[""]


async def test_without_a_primary_everybodys_reason_is_told(servers: Servers):
    servers["one"] = Server()
    with pytest.raises(NoPrimaryError, match=r"one:5432, two:5433 .*standby answers; two refuses"):
        await connect(URL)
    assert servers["one"].open == 0


async def test_a_single_standby_may_be_looked_at(servers: Servers):
    servers[""] = Server()
    assert await connect("postgresql://proxy/h") is servers[""]
