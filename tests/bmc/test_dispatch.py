"""From an owner to the gateway: routes are granted, floors sent, stale memory read again."""

from __future__ import annotations

import random
from uuid import UUID

import msgspec
import pytest
from tests.bmc.fakes import ADDRESS, BMC, GATEWAY, MEMBER, Machine, Memory

from holdfast.bmc.commands import Command, GatewayIdentity, Origin, Target
from holdfast.bmc.dispatch import Dispatcher
from holdfast.bmc.errors import (
    FloorNeededError,
    GatewayUnavailableError,
    OtherGatewayError,
    StaleTokenError,
)
from holdfast.bmc.gateway import GatewayCore, NoWatcher
from holdfast.bmc.sealing import new_private_key, public_key_of, unseal
from holdfast.bmc.settings import BmcSettings
from holdfast.errors import ConflictError
from holdfast.store.model import ObjectRef, RouteGrant

NODE = ObjectRef("node", BMC)


class Routes:
    """The route table of a store: a new (gateway, incarnation) draws a new term."""

    def __init__(self) -> None:
        self.owner: tuple[UUID, UUID] | None = None
        self.term = 0
        self.floor = 1
        self.grants = 0
        self.taken = False

    async def grant_route(self, obj: ObjectRef, gateway: UUID, incarnation: UUID) -> RouteGrant:
        self.grants += 1
        if self.taken:
            raise ConflictError("it belongs to gateway X", kind="gateway")
        if self.owner != (gateway, incarnation):
            self.owner = (gateway, incarnation)
            self.term += 1
        return RouteGrant(term=self.term, floor=self.floor)


class World:
    """A store's routes, a gateway that can lose its state, and a dispatcher."""

    def __init__(self) -> None:
        self.routes = Routes()
        self.machine = Machine()
        self.memory = Memory()
        self.gateway = Through(self)
        self.dispatcher = Dispatcher(self.routes, self.gateway)
        self.identity = GATEWAY
        self.private_key = b""

    async def start(self, *, incarnation: int) -> None:
        self.private_key = new_private_key()
        self.identity = GatewayIdentity(
            id=GATEWAY.id,
            incarnation=UUID(int=incarnation),
            public_key=public_key_of(self.private_key),
        )
        self.memory = Memory()
        self.core = GatewayCore(
            identity=self.identity,
            known={},
            memory=self.memory,
            device=self.machine,
            unseal=lambda sealed, context: unseal(sealed, self.private_key, context),
            settings=BmcSettings(),
            watcher=NoWatcher(),
            chance=random.Random(1),
        )

    async def send(self, token: int = 7):
        return await self.dispatcher.send(
            NODE,
            token,
            Target(address=ADDRESS),
            {"password": "p"},
            "observe",
            {},
            Origin(member=MEMBER, epoch=0),
        )


class Through:
    """The gateway of the world as it is now, behind the port."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.commands: list[Command] = []

    async def identity(self):
        return await self.world.core.identity()

    async def floor(self, bmc, *, incarnation, term, floor):
        await self.world.core.floor(bmc, incarnation=incarnation, term=term, floor=floor)

    async def command(self, command):
        self.commands.append(command)
        return await self.world.core.command(command)


@pytest.fixture
async def world():
    made = World()
    await made.start(incarnation=1)
    return made


async def test_the_route_is_granted_once_and_the_secret_arrives(world):
    await world.send()
    await world.send()
    assert world.routes.grants == 1
    assert world.machine.secrets == [{"password": "p"}] * 2
    assert b"password" not in msgspec.json.encode(world.gateway.commands[0])


async def test_nothing_goes_through_a_gateway_that_the_bmc_does_not_belong_to(world):
    world.routes.taken = True
    with pytest.raises(OtherGatewayError, match="belongs to gateway X") as refused:
        await world.send()
    assert refused.value.transient  # an operator is about to mend it
    assert world.gateway.commands == []
    world.routes.taken = False
    await world.send()


async def test_the_origin_carries_the_token(world):
    await world.send(9)
    assert world.gateway.commands[0].origin.epoch == 9


async def test_a_gateway_that_lost_its_state_is_granted_a_new_term_and_reads_the_secret(world):
    await world.send()
    await world.start(incarnation=2)
    await world.send()
    assert world.routes.term == 2
    assert world.gateway.commands[-1].term == 2


async def test_two_owners_of_memory_agree_after_one_of_them_learnt_of_the_loss(world):
    other = Dispatcher(world.routes, world.gateway)
    await world.send()
    await world.start(incarnation=2)
    await other.send(
        NODE, 7, Target(address=ADDRESS), {}, "observe", {}, Origin(member=MEMBER, epoch=7)
    )
    await world.send()  # its term is stale now, not unknown
    assert world.routes.term == 2


async def test_a_stale_token_is_not_tried_again(world):
    world.routes.floor = 8
    with pytest.raises(StaleTokenError):
        await world.send(7)
    assert len(world.gateway.commands) == 1


async def test_a_lost_answer_is_not_repeated(world):
    async def lost(command):
        world.gateway.commands.append(command)
        raise GatewayUnavailableError("gone")

    world.gateway.command = lost
    with pytest.raises(GatewayUnavailableError):
        await world.send()
    assert len(world.gateway.commands) == 1


async def test_a_gateway_that_never_learns_is_given_up_after_three_tries(world):
    async def forgetful(command):
        world.gateway.commands.append(command)
        raise FloorNeededError("who?")

    world.gateway.command = forgetful
    with pytest.raises(FloorNeededError):
        await world.send()
    assert len(world.gateway.commands) == 3
    assert world.routes.grants == 3
