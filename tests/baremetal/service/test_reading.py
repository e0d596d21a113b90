from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest
from tests.baremetal.people import ADMIN, ALICE, BOB, BaremetalFixture

from holdfast.baremetal.fields import NODE
from holdfast.baremetal.resources import NODES
from holdfast.baremetal.service.filters import NodeFilter, PageQuery, PortFilter
from holdfast.baremetal.service.reading import selection
from holdfast.errors import ForbiddenError, InvalidInputError, NotFoundError
from holdfast.identity.policy import Caller
from holdfast.store.model import MemberSpec


async def names(
    fixture: BaremetalFixture, who: Caller = ADMIN, page: dict[str, Any] | None = None, **asked: Any
) -> list[str]:
    query = PageQuery(fields=("name",), **(page or {}))
    found = await fixture.baremetal.read.nodes(who, NodeFilter(**asked), query)
    return [document["name"] for document in found]


async def three(fixture: BaremetalFixture, **columns: list[Any]) -> list[UUID]:
    """Nodes a, b and c, in that order, with these values."""
    made = [await fixture.node(name=name) for name in "abc"]
    for name, values in columns.items():
        for uuid, value in zip(made, values, strict=True):
            await fixture.set(uuid, **{name: value})
    return made


async def test_nodes_come_in_the_order_of_their_creation(fixture: BaremetalFixture):
    await three(fixture)
    assert await names(fixture) == ["a", "b", "c"]
    assert await names(fixture, page={"sort_dir": "desc"}) == ["c", "b", "a"]


@pytest.mark.parametrize("direction", ["asc", "desc"])
@pytest.mark.parametrize("key", ["resource_class", "power_state", "id", "conductor_group", "name"])
@pytest.mark.parametrize("limit", [1, 2, 3])
async def test_pages_follow_one_another_without_gap_or_repetition(
    fixture: BaremetalFixture, key: str, direction: str, limit: int
):
    for n in range(7):
        uuid = await fixture.node(name=f"n{n}")
        await fixture.set(uuid, resource_class=[None, "x", "y"][n % 3])
    page: dict[str, Any] = {"sort_key": key, "sort_dir": direction}
    whole = await names(fixture, page=page)
    assert len(whole) == 7
    paged: list[str] = []
    marker: UUID | None = None
    for _ in range(7):
        query = PageQuery(fields=("name",), limit=limit, marker=marker, **page)
        found = await fixture.baremetal.read.nodes(ADMIN, NodeFilter(), query)
        if not found:
            break
        paged += [document["name"] for document in found]
        marker = UUID(found[-1]["_uuid"])
    assert paged == whole


async def test_a_marker_that_is_not_there_is_said(fixture: BaremetalFixture):
    with pytest.raises(NotFoundError, match="marker"):
        await names(fixture, page={"marker": uuid4()})


async def test_the_marker_of_another_project_is_not_there_either(fixture: BaremetalFixture):
    foreign = await fixture.node(ALICE)
    query = PageQuery(fields=("name",), marker=foreign)
    with pytest.raises(NotFoundError, match=f"The marker {foreign} could not be found"):
        await fixture.baremetal.read.nodes(BOB, NodeFilter(), query)
    assert await fixture.baremetal.read.nodes(ALICE, NodeFilter(), query) == []


@pytest.mark.parametrize("key", sorted(NODES.owners_only))
async def test_what_a_lessee_is_not_shown_does_not_order_its_nodes(
    fixture: BaremetalFixture, key: str
):
    """The order of a list, and what comes after a marker, would tell what is in the field."""
    nodes = [await fixture.node(ALICE, name=name, lessee="bob") for name in ("x", "y")]
    await fixture.set(nodes[0], last_error="zzz")
    sort: dict[str, Any] = {"sort_key": key}
    for page in (sort, sort | {"marker": nodes[0]}):
        with pytest.raises((ForbiddenError, InvalidInputError), match=key):
            await names(fixture, BOB, page=page)
    if NODES.fields[key].sortable:
        assert set(await names(fixture, page=sort)) == {"x", "y"}


async def test_a_page_has_at_most_what_the_settings_say(fixture: BaremetalFixture):
    read = fixture.baremetal.read
    assert [read.page_size(asked) for asked in (None, 0, 7, 1000)] == [50, 50, 7, 50]
    with pytest.raises(InvalidInputError):
        read.page_size(-1)


@pytest.mark.parametrize("key", ["driver_info", "wings", "uuid; drop table node"])
async def test_an_order_that_is_none_is_refused(fixture: BaremetalFixture, key: str):
    with pytest.raises(InvalidInputError, match="invalid field for sorting"):
        await names(fixture, page={"sort_key": key})


async def test_each_filter_selects_what_it_says(fixture: BaremetalFixture):
    instance = uuid4()
    first, _, _ = await three(
        fixture,
        maintenance=[True, False, False],
        retired=[False, True, False],
        provision_state=["active", "enroll", "available"],
        resource_class=["gold", None, "lead"],
        owner=["p1", None, None],
        lessee=[None, "p1", None],
        instance_uuid=[instance, None, None],
        fault=[None, "power failure", None],
        description=["Rack 7", None, "rack 8"],
        shard_key=["s1", "s2", None],
    )
    expected: list[tuple[dict[str, Any], str]] = [
        ({"maintenance": True}, "a"),
        ({"maintenance": False}, "bc"),
        ({"retired": True}, "b"),
        ({"provision_state": "available"}, "c"),
        ({"resource_class": "gold"}, "a"),
        ({"owner": "p1"}, "a"),
        ({"lessee": "p1"}, "b"),
        ({"project": "p1"}, "ab"),
        ({"associated": True}, "a"),
        ({"associated": False}, "bc"),
        ({"instance_uuid": instance}, "a"),
        ({"fault": "power failure"}, "b"),
        ({"fault": "none"}, "ac"),
        ({"description_contains": "RACK"}, "ac"),
        ({"description_contains": "%"}, ""),
        ({"shard": ("s1", "s2")}, "ab"),
        ({"sharded": False}, "c"),
        ({"driver": "redfish"}, "abc"),
        ({"driver": "ipmi"}, ""),
        ({"conductor_group": ""}, "abc"),
        ({"conductor": "nobody"}, ""),
        ({"maintenance": False, "provision_state": "enroll"}, "b"),
    ]
    for asked, found in expected:
        assert "".join(await names(fixture, **asked)) == found, asked
    child = await fixture.node(name="d")
    await fixture.set(child, parent_node=first)
    assert await names(fixture, children=False) == ["a", "b", "c"]
    assert await names(fixture, parent_node=first) == ["d"]
    assert await fixture.baremetal.read.children(ADMIN, "a") == [str(child)]


async def test_a_list_shows_a_project_its_own_and_what_is_leased_to_it(fixture: BaremetalFixture):
    await fixture.node(ADMIN, name="of-admin")
    await fixture.node(ALICE, name="of-alice")
    await fixture.node(ALICE, name="leased", lessee="bob")
    await fixture.node(BOB, name="of-bob")
    assert set(await names(fixture, ALICE)) == {"of-alice", "leased"}
    assert set(await names(fixture, BOB)) == {"of-bob", "leased"}
    assert len(await names(fixture, ADMIN)) == 4


async def test_conductor_and_reservation_are_who_holds_the_node_now(fixture: BaremetalFixture):
    uuid = await fixture.node()
    spec = MemberSpec(id=uuid4(), role="conductor", slot="conductor-1", host="h1")
    member = await fixture.store.register(spec, 60)
    fields = ("conductor", "reservation")

    async def seen() -> tuple[str | None, str | None]:
        document = await fixture.baremetal.read.node(ADMIN, str(uuid), fields)
        return document["conductor"], document["reservation"]

    assert await seen() == (None, None)
    job = await fixture.busy(uuid)
    assert await seen() == (None, "queued")
    await fixture.store.take("", range(8), member.id, member.epoch)
    assert await seen() == ("conductor-1.h1", "conductor-1.h1")
    assert await fixture.baremetal.conductors.alive() == ["conductor-1.h1"]
    await fixture.end(job.id)
    assert await seen() == ("conductor-1.h1", None)
    found = await names(fixture, conductor="conductor-1.h1")
    assert found == [None]
    await fixture.store.end_lease(member.id, member.epoch, "test")
    assert await seen() == (None, None)
    (gone,) = await fixture.baremetal.conductors.all()
    assert (gone.hostname, gone.alive) == ("conductor-1.h1", False)


def test_a_query_selects_what_is_shown_and_joins_what_that_needs():
    """A defect of the reference not to be repeated: a ``fields=`` list saved nothing."""
    brief = selection(NODES, ("name", "power_state"))
    assert "join" not in brief.sql
    assert "driver_info" not in brief.sql
    assert brief.json == ()
    whole = selection(NODES, NODES.shown(95))
    assert whole.sql.count("left join") == 3


async def test_every_field_can_be_read(fixture: BaremetalFixture):
    uuid = await fixture.node(name="n1", extra={"a": [1, {"b": None}]})
    document = await fixture.baremetal.read.node(ADMIN, "n1", NODES.shown(95))
    links = {name for name, field in NODE.items() if field.kind == "links"}
    assert set(document) == set(NODE) - links | {"_uuid"}
    assert document["uuid"] == str(uuid)
    assert bytes(document["extra"]) == b'{"a": [1, {"b": null}]}'
    assert document["created_at"].endswith("+00:00")
    assert document["boot_interface"] == "redfish-virtual-media"


async def test_ports_are_seen_with_their_nodes(fixture: BaremetalFixture):
    mine = await fixture.node(ALICE, name="n1")
    other = await fixture.node(BOB)
    for n, node in enumerate((mine, mine, other)):
        await fixture.baremetal.ports.create(
            ADMIN, {"address": f"52:54:00:00:00:0{n}", "node_uuid": str(node)}
        )
    query = PageQuery(fields=("address",))

    async def seen(who: Caller, **asked: Any) -> list[str]:
        found = await fixture.baremetal.read.ports(who, PortFilter(**asked), query)
        return [document["address"][-1] for document in found]

    assert await seen(ADMIN) == ["0", "1", "2"]
    assert await seen(ALICE) == ["0", "1"]
    assert await seen(ALICE, node="n1") == ["0", "1"]
    assert await seen(ADMIN, address="52:54:00:00:00:02") == ["2"]
    with pytest.raises(NotFoundError):
        await seen(BOB, node="n1")
