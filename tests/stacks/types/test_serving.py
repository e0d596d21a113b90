"""Generations and services on API nodes, over the real tables, with nodes that are models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from tests.stacks.types.bench import Bench, Clock, Crash

from holdfast.errors import InvalidInputError
from holdfast.fleet.model import Actual, Pulled, Served, Wanted
from holdfast.fleet.store import Fleet
from holdfast.stacks.resource import Ready, ResourceFailedError
from holdfast.stacks.types.serving_generation import ServingGeneration
from holdfast.stacks.types.serving_service import ServingService
from holdfast.store.pg.database import Database

DIGEST = "ab" * 32
JOIN = """
insert into member (id, role, slot, host, zone, grp, version, address, epoch, state, lease_s,
                    lease_until)
values ($1, 'apinode', $2, 'h', $3, '', '1', '', nextval('epoch_seq'), 'up', 1000,
        clock_timestamp() + interval '1000 seconds') returning epoch
"""


class Nodes:
    """API nodes as far as the tables know. What they do takes one look."""

    def __init__(self, db: Database, fleet: Fleet) -> None:
        self._db = db
        self._fleet = fleet
        self._epochs: dict[UUID, int] = {}
        self.slots: dict[str, UUID] = {}
        self.serves: dict[UUID, UUID] = {}
        self.order: list[str] = []  # who took which generation, when
        self.bad: Callable[[str, UUID], bool] = lambda _slot, _generation: False

    async def join(self, slot: str, zone: str) -> None:
        ident = self.slots[slot] = uuid4()
        self._epochs[ident] = await self._db.fetchval(JOIN, ident, slot, zone)

    async def look(self) -> None:
        wanted = await self._fleet.wanted()
        for slot, ident in self.slots.items():
            actual = self._actual(slot, ident, wanted)
            await self._fleet.report(ident, self._epochs[ident], actual)

    def _actual(self, slot: str, ident: UUID, wanted: Wanted) -> Actual:
        services: dict[UUID, Served] = {}
        for one in wanted.services:
            if one.deleted_at is not None:
                self.serves.pop(ident, None)
                continue
            target, error = one.wanted_on(ident), ""
            if self.bad(slot, target):
                error = "test query 1, of endpoint 'add', is answered 500"
            elif self.serves.get(ident) != target:
                self.serves[ident] = target
                self.order.append(slot)
            has = self.serves.get(ident)
            services[one.id] = Served(
                wanted=target, generation=has, ready=has is not None, error=error, serving_s=60.0
            )
        return Actual(
            generations={
                one.id: Pulled(error="404")
                if "absent" in one.url
                else Pulled(service="sums", generation=one.url.rsplit("/", 1)[1])
                for one in wanted.generations
                if one.deleted_at is None
            },
            services=services,
        )


@pytest.fixture
def fleet(db: Database) -> Fleet:
    return Fleet(db)


@pytest.fixture
async def nodes(db: Database, fleet: Fleet) -> Nodes:
    made = Nodes(db, fleet)
    for slot, zone in (("n1", "east"), ("n2", "east"), ("n3", "west")):
        await made.join(slot, zone)
    return made


class House:
    """Benches of one stack."""

    def __init__(self, fleet: Fleet, nodes: Nodes) -> None:
        self.clock = Clock()
        self.call = {"serving": fleet}
        self.nodes = nodes

    async def generation(self, name: str) -> Bench:
        bench = Bench(
            ServingGeneration(),
            {"url": f"http://packages.example/{name}", "digest": DIGEST},
            clock=self.clock,
            call=self.call,
            name=name,
        )
        await bench.create(each=self.nodes.look)
        return bench

    def service(self, generation: Bench, **more: Any) -> Bench:
        given = {"name": "sums", "generation": generation.row.physical_id, **more}
        return Bench(ServingService(), given, clock=self.clock, call=self.call, name="sums")

    async def changed(self, service: Bench, generation: Bench, **how: Any) -> Ready:
        self.clock.now += 10.0
        given = {"name": "sums", "generation": generation.row.physical_id}
        done = await service.update(given, each=self.nodes.look, **how)
        assert isinstance(done, Ready)
        return done


@pytest.fixture
def house(fleet: Fleet, nodes: Nodes) -> House:
    return House(fleet, nodes)


def ident(bench: Bench) -> UUID:
    return UUID(bench.row.physical_id)


async def test_a_generation_is_ready_when_a_node_has_it(house: House):
    made = await house.generation("v1")
    assert made.row.attributes == {"service": "sums", "generation": "v1"}


async def test_a_package_that_no_node_can_fetch_fails_with_the_reason(house: House):
    with pytest.raises(ResourceFailedError, match="no API node can have the package; n1 on h: 404"):
        await house.generation("absent")


@pytest.mark.parametrize(
    "given",
    [
        {"url": "ftp://a/b", "digest": DIGEST},
        {"url": "http://user:password@a/b", "digest": DIGEST},
        {"url": "http://a/b", "digest": "short"},
    ],
)
def test_what_is_no_address_or_digest_is_refused(given: dict[str, str]):
    with pytest.raises(InvalidInputError):
        Bench(ServingGeneration(), given)


async def test_short_keys_are_refused_and_of_others_only_digests_are_kept(
    house: House, db: Database
):
    first = await house.generation("v1")
    with pytest.raises(InvalidInputError):
        house.service(first, keys={"web": "short"})
    await house.service(first, keys={"web": "a-long-enough-key"}).create(each=house.nodes.look)
    kept = str([dict(row.items()) for row in await db.fetch("select * from serving_service")])
    assert "'web'" in kept
    assert "a-long-enough-key" not in kept


@pytest.mark.parametrize("crash_at", [None, 0, 1, 2, 3, 4])
async def test_an_update_goes_node_by_node_and_zone_by_zone_wherever_engines_die(
    house: House, fleet: Fleet, crash_at: int | None
):
    first, second = await house.generation("v1"), await house.generation("v2")
    service = house.service(first)
    await service.create(each=house.nodes.look, crash_at=crash_at)
    assert set(house.nodes.serves.values()) == {ident(first)}
    house.nodes.order.clear()
    done = await house.changed(service, second, crash_at=crash_at)
    assert house.nodes.order == ["n1", "n2", "n3"]
    assert done.attributes == {"nodes": ["n1", "n2", "n3"], "generation": "v2"}
    row = await fleet.service(ident(service))
    assert row is not None
    assert (row.generation, row.next, row.moved) == (ident(second), None, ())


@pytest.mark.parametrize("crash_at", [None, 0, 1, 2, 3])
async def test_a_node_that_fails_its_gate_sets_all_back_and_is_named(
    house: House, crash_at: int | None
):
    first, second = await house.generation("v1"), await house.generation("v2")
    service = house.service(first)
    await service.create(each=house.nodes.look)
    house.nodes.order.clear()
    house.nodes.bad = lambda slot, generation: slot == "n2" and generation == ident(second)
    with pytest.raises(ResourceFailedError, match=r"n2 on h: .*endpoint 'add'"):
        await house.changed(service, second, crash_at=crash_at)
    assert house.nodes.order == ["n1", "n1"]  # there and back; n3 was never touched
    assert set(house.nodes.serves.values()) == {ident(first)}
    third = await house.generation("v3")
    await house.changed(service, third)
    assert set(house.nodes.serves.values()) == {ident(third)}


async def test_an_update_that_overtakes_another_rolls_out_only_its_own(house: House):
    first, second = await house.generation("v1"), await house.generation("v2")
    third = await house.generation("v3")
    service = house.service(first)
    await service.create(each=house.nodes.look)

    async def cut_off() -> None:
        await house.nodes.look()
        if "n1" in house.nodes.order:
            raise Crash

    house.nodes.order.clear()
    house.clock.now += 10.0
    given = {"name": "sums", "generation": second.row.physical_id}
    with pytest.raises(Crash):
        await service.update(given, each=cut_off)
    assert house.nodes.serves[house.nodes.slots["n1"]] == ident(second)
    await house.changed(service, third)
    assert set(house.nodes.serves.values()) == {ident(third)}


async def test_a_name_is_one_services_only(house: House):
    first = await house.generation("v1")
    await house.service(first).create(each=house.nodes.look)
    other = Bench(
        ServingService(),
        {"name": "sums", "generation": first.row.physical_id},
        clock=house.clock,
        call=house.call,
        name="other",
    )
    with pytest.raises(Exception, match="another service called 'sums'"):
        await other.create(each=house.nodes.look)


async def test_what_is_deleted_goes_from_every_node_and_needed_generations_stay(house: House):
    first = await house.generation("v1")
    service = house.service(first)
    await service.create(each=house.nodes.look)
    with pytest.raises(Exception, match="sums still has this generation"):
        await first.delete()
    await service.delete(each=house.nodes.look)
    assert house.nodes.serves == {}
    await first.delete(each=house.nodes.look)
    with pytest.raises(ResourceFailedError, match="not told of this package"):
        await first.do("observe", first.row.action)


async def test_without_nodes_it_waits_and_says_so(db: Database, fleet: Fleet):
    bench = Bench(
        ServingGeneration(),
        {"url": "http://packages.example/v1", "digest": DIGEST},
        call={"serving": fleet},
    )
    found = await bench.kind.create(bench.context())
    assert getattr(found, "reason", "") == "no API node is a member yet"
