"""From an owner to many BMCs: routes, floors and seals of observations."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from uuid import UUID

import pytest
from tests.bmc.fakes import ADDRESS, GATEWAY, MEMBER

from holdfast.bmc.commands import Command, GatewayIdentity, Observed, Origin, Target
from holdfast.bmc.dispatch import Dispatcher
from holdfast.bmc.errors import BmcUnreachableError, FloorNeededError, GatewayUnavailableError
from holdfast.bmc.observing import Ask, Observer
from holdfast.errors import HoldfastError, NotFoundError
from holdfast.store.model import Json, ObjectRef, RouteGrant

NODES = [ObjectRef("node", UUID(int=n)) for n in range(3)]


class Site:
    """Routes and a gateway; ``faults`` are what the gateway says of a BMC."""

    def __init__(self) -> None:
        self.grants: list[UUID] = []
        self.asked: list[Command] = []
        self.faults: dict[UUID, HoldfastError] = {}
        self.gone: UUID | None = None
        self.broken = False
        self.seals = 0
        self.observer = Observer(Dispatcher(self, self, self._seal), self)

    def _seal(self, secrets: dict[str, Json], public_key: bytes, context: bytes) -> bytes:
        self.seals += 1
        return repr((secrets, context)).encode()

    async def grant_route(self, obj: ObjectRef, gateway: UUID, incarnation: UUID) -> RouteGrant:
        self.grants.append(obj.id)
        if obj.id == self.gone:
            raise NotFoundError("it was deleted")
        return RouteGrant(term=5, floor=1)

    async def identity(self) -> GatewayIdentity:
        return GATEWAY

    async def floor(self, bmc: UUID, *, incarnation: UUID, term: int, floor: int) -> None:
        pass

    async def command(self, command: Command) -> dict[str, Json]:
        raise NotImplementedError

    async def observe(self, commands: Sequence[Command]) -> AsyncGenerator[list[Observed]]:
        if self.broken:
            raise GatewayUnavailableError("no answer")
        self.asked = list(commands)
        for index, one in enumerate(commands):
            error = self.faults.get(one.bmc)
            yield [
                Observed(index=index, seconds=0.1, result={} if not error else None, error=error)
            ]

    async def pass_(self, version: object = 1, address: str = ADDRESS) -> dict[int, Observed]:
        asks = [
            Ask(
                obj=node,
                token=7,
                target=Target(address=address),
                version=version,  # pyright: ignore[reportArgumentType]
                secrets=lambda: {"password": "p"},
                origin=Origin(member=MEMBER, epoch=7, step="power-sync"),
                deadline_s=4.0,
            )
            for node in NODES
        ]
        found = [one async for together in self.observer.observe(asks) for one in together]
        assert len({one.index for one in found}) == len(found)
        return {one.index: one for one in found}


async def test_observations_go_in_the_lane_of_power_sync_and_read_the_power_only():
    site = Site()
    assert len(await site.pass_()) == 3
    for node, one in zip(NODES, site.asked, strict=True):
        assert (one.bmc, one.action, one.lane, one.term, one.token) == (
            node.id,
            "observe",
            "sync",
            5,
            7,
        )
        assert (one.params, one.deadline_s) == ({"power_only": True}, 4.0)
        assert one.origin.header().endswith("step=power-sync;attempt=0")


async def test_a_seal_and_a_route_are_made_once():
    site = Site()
    for _ in range(3):
        await site.pass_()
    assert (site.seals, len(site.grants)) == (3, 3)


@pytest.mark.parametrize("change", [{"version": 2}, {"address": "http://192.0.2.2"}])
async def test_a_seal_is_made_anew_when_the_credentials_or_the_address_change(change):
    site = Site()
    await site.pass_()
    old = site.asked[0].sealed
    await site.pass_(**change)
    assert site.seals == 6
    assert site.asked[0].sealed != old or "version" in change


async def test_what_is_out_of_date_is_read_again_for_that_machine_only():
    site = Site()
    site.faults[NODES[1].id] = FloorNeededError("who is that?")
    found = await site.pass_()
    assert isinstance(found[1].error, FloorNeededError)
    site.faults.clear()
    assert (await site.pass_())[1].error is None
    assert [site.grants.count(node.id) for node in NODES] == [1, 2, 1]


async def test_a_machine_without_a_route_does_not_keep_the_others_from_being_asked():
    site = Site()
    site.gone = NODES[0].id
    site.faults[NODES[2].id] = BmcUnreachableError("nobody there")
    found = await site.pass_()
    assert isinstance(found[0].error, NotFoundError)
    assert found[1].error is None
    assert isinstance(found[2].error, BmcUnreachableError)


async def test_a_gateway_that_does_not_answer_is_raised():
    site = Site()
    site.broken = True
    with pytest.raises(GatewayUnavailableError):
        await site.pass_()


async def test_what_is_forgotten_is_granted_and_sealed_anew():
    site = Site()
    await site.pass_()
    site.observer.forget(NODES[0])
    await site.pass_()
    assert (site.seals, site.grants.count(NODES[0].id), site.grants.count(NODES[1].id)) == (4, 2, 1)
