"""A database that lost its last stretch: the sequence jumps, owners and routes follow."""

from __future__ import annotations

from uuid import uuid4

import pytest
from tests.store.stores import PgBench, Scene

from holdfast.bmc.errors import StaleTermError, StaleTokenError
from holdfast.bmc.gate import Gate, Mark
from holdfast.errors import FenceLostError
from holdfast.store.events import EventFilter
from holdfast.store.pg.epochs import PgEpochs

SEEN = 5_000_000  # what the gateway has seen before the database lost its memory


async def test_every_epoch_in_use_and_to_come_lies_above_what_was_seen(pg: PgBench):
    scene = Scene(pg)
    await scene.owner(shards=4)
    epochs = PgEpochs(pg.db)
    assert await epochs.used() <= await epochs.last() < SEEN
    raised = await epochs.raise_above(SEEN)
    assert raised.claims == 4
    assert raised.last > SEEN
    assert {claim.epoch > SEEN for claim in await pg.store.claims("")} == {True}
    assert (await scene.member("conductor-2")).epoch > raised.last
    page = await pg.store.events(None, 10, EventFilter(kinds=("audit.epochs.raise",)))
    assert [event.data["above"] for event in page.events] == [SEEN]


async def test_a_gateway_that_refused_everything_obeys_again(pg: PgBench):
    scene = Scene(pg)
    owner = await scene.owner()
    node = await pg.add_node()
    gateway, incarnation = uuid4(), uuid4()
    gate = Gate(incarnation, {node.id: Mark(SEEN, SEEN)})
    grant = await pg.store.grant_route(node, gateway, incarnation)
    fence = await pg.store.fence_for(node, owner.id, owner.epoch)
    assert fence is not None
    with pytest.raises(StaleTermError):
        gate.floor(node.id, incarnation=incarnation, term=grant.term, floor=grant.floor)
    with pytest.raises(StaleTokenError):
        gate.admit(node.id, SEEN, fence.epoch)

    await PgEpochs(pg.db).raise_above(SEEN)

    grant = await pg.store.grant_route(node, gateway, incarnation)
    fence = await pg.store.fence_for(node, owner.id, owner.epoch)
    assert fence is not None
    gate.floor(node.id, incarnation=incarnation, term=grant.term, floor=grant.floor)
    gate.admit(node.id, grant.term, fence.epoch)


async def test_a_job_in_hand_goes_on_under_the_new_epoch_of_the_same_owner(pg: PgBench):
    scene = Scene(pg)
    owner = await scene.owner()
    begun = await scene.begun(owner)
    await PgEpochs(pg.db).raise_above(SEEN)
    with pytest.raises(FenceLostError):
        await pg.store.begin_step(begun.fence, begun.job.id, "first")
    [again] = await scene.acquire(owner)
    assert again.job.id == begun.job.id
    assert again.fence.epoch > SEEN
    await pg.store.begin_step(again.fence, again.job.id, "first")


async def test_it_may_be_repeated(pg: PgBench):
    await Scene(pg).owner()
    epochs = PgEpochs(pg.db)
    first = await epochs.raise_above(SEEN)
    second = await epochs.raise_above(SEEN)
    assert second.claims == second.routes == 0
    assert second.last == first.last
