"""``store.port.ObjectStore`` and the placing of objects, on both stores."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest
from tests.store.stores import LEASE_S, Scene, fence_of

from holdfast.errors import ConflictError, FenceLostError, InvalidInputError, NotFoundError
from holdfast.store.model import ObjectRef


async def test_a_document_comes_back_as_it_was_put_in(scene: Scene):
    await scene.store.ensure_shards("", 4)
    instance = uuid4()
    given = {
        "name": "n1",
        "extra": {"a": [1, 2.5, None, True], "ü": "€"},
        "driver_secrets": b"\x00\xff",
        "instance_uuid": instance,
        "provision_updated_at": 1_700_000_000.123456,
        "traits": ["CUSTOM_A", "HW_B"],
    }
    node = await scene.bench.add_node(**given)
    document = await scene.store.get_object(node)
    assert document is not None
    assert {name: document[name] for name in given} == given
    assert document["uuid"] == node.id
    assert document["entered_epoch"] > 0
    assert document["last_error"] is None
    assert await scene.store.get_object(ObjectRef("node", uuid4())) is None


async def test_objects_fill_the_shards_of_their_group_evenly(scene: Scene):
    await scene.store.ensure_shards("", 4)
    await scene.store.ensure_shards("other", 2)
    for _ in range(10):
        await scene.bench.add_node()
    assert sorted(c.objects for c in await scene.store.claims("")) == [2, 2, 3, 3]
    assert sorted(c.objects for c in await scene.store.claims("other")) == [0, 0]


async def test_a_group_without_shards_takes_no_object(scene: Scene):
    with pytest.raises(NotFoundError):
        await scene.bench.add_node("nowhere")


async def test_an_owner_reads_what_it_owns_with_the_fences_for_it(scene: Scene):
    owner = await scene.owner()
    other = await scene.member("conductor-2")
    nodes = [await scene.bench.add_node(name=f"n{n}", power_state="power on") for n in range(6)]
    claims = await scene.store.claims("")
    await scene.store.hand_over([fence_of(claims[0])], other.id, other.epoch)
    claims = {c.shard: c for c in await scene.store.claims("")}

    found = await scene.store.owned_objects("node", owner.id, owner.epoch, ["name", "power_state"])
    others = await scene.store.owned_objects("node", other.id, other.epoch, [])
    assert sorted(ref.id for ref, _, _ in found + others) == sorted(node.id for node in nodes)
    for ref, fence, document in found:
        assert fence == fence_of(claims[fence.shard])
        assert document["name"] == await scene.field(ref, "name")
        assert set(document) == {"name", "power_state"}
        assert await scene.store.fence_for(ref, owner.id, owner.epoch) == fence
        assert await scene.store.fence_for(ref, other.id, other.epoch) is None
    assert {fence.shard for _, fence, _ in others} == {0}


async def test_a_gone_member_owns_nothing(scene: Scene):
    owner = await scene.owner()
    node = await scene.bench.add_node()
    await scene.bench.pass_time(LEASE_S * 5)  # expired, but still the owner
    assert await scene.store.fence_for(node, owner.id, owner.epoch) is not None
    await scene.store.end_lease(owner.id, owner.epoch, "killed")
    assert await scene.store.owned_objects("node", owner.id, owner.epoch, ["name"]) == []
    assert await scene.store.fence_for(node, owner.id, owner.epoch) is None


async def test_another_incarnation_owns_nothing(scene: Scene):
    owner = await scene.owner()
    node = await scene.bench.add_node()
    assert await scene.store.owned_objects("node", owner.id, owner.epoch + 1, ["name"]) == []
    assert await scene.store.fence_for(node, owner.id, owner.epoch + 1) is None
    assert await scene.store.fence_for(ObjectRef("node", uuid4()), owner.id, owner.epoch) is None


async def test_an_owner_patches_its_object(scene: Scene):
    owner = await scene.owner()
    node = await scene.bench.add_node(last_error="old", extra={"kept": 1})
    fence = await scene.store.fence_for(node, owner.id, owner.epoch)
    assert fence is not None
    await scene.store.patch_object(fence, node, {"power_state": "power off", "last_error": None})
    assert await scene.field(node, "power_state") == "power off"
    assert await scene.field(node, "last_error") is None
    assert await scene.field(node, "extra") == {"kept": 1}
    assert await scene.field(node, "updated_at") is not None
    await scene.store.patch_object(fence, node, {})


async def test_a_patch_that_names_no_field_of_the_object_is_refused(scene: Scene):
    owner = await scene.owner()
    node = await scene.bench.add_node()
    fence = await scene.store.fence_for(node, owner.id, owner.epoch)
    assert fence is not None
    with pytest.raises(InvalidInputError):
        await scene.store.patch_object(fence, node, {"power_state = 'x' --": "y"})
    with pytest.raises(InvalidInputError):
        await scene.store.owned_objects("node", owner.id, owner.epoch, ["nothing"])
    with pytest.raises(InvalidInputError):
        await scene.store.get_object(ObjectRef("teapot", uuid4()))


async def test_who_lost_the_claim_patches_nothing(scene: Scene):
    owner = await scene.owner()
    node = await scene.bench.add_node()
    fence = await scene.store.fence_for(node, owner.id, owner.epoch)
    assert fence is not None
    await scene.store.end_lease(owner.id, owner.epoch, "killed")
    with pytest.raises(FenceLostError):  # though nobody has taken the shard yet
        await scene.store.patch_object(fence, node, {"power_state": "stale"})
    other = await scene.member("conductor-2")
    await scene.store.take("", [fence.shard], other.id, other.epoch)
    for patch in ({"power_state": "stale"}, {}):
        with pytest.raises(FenceLostError):
            await scene.store.patch_object(fence, node, patch)
    assert await scene.field(node, "power_state") is None


async def test_a_fence_covers_the_objects_of_its_own_shard_only(scene: Scene):
    await scene.owner(shards=2)
    first, second = await scene.bench.add_node(), await scene.bench.add_node()
    shard = await scene.field(first, "shard")
    claim = (await scene.store.claims(""))[shard]
    with pytest.raises(FenceLostError):
        await scene.store.patch_object(fence_of(claim), second, {"power_state": "x"})
    with pytest.raises(NotFoundError):
        await scene.store.patch_object(
            fence_of(claim), ObjectRef("node", uuid4()), {"power_state": "x"}
        )


async def test_a_route_keeps_its_term_until_the_gateway_begins_anew(scene: Scene):
    await scene.store.ensure_shards("", 1)
    node = await scene.bench.add_node()
    gateway, incarnation = uuid4(), uuid4()
    first = await scene.store.grant_route(node, gateway, incarnation)
    assert await scene.store.grant_route(node, gateway, incarnation) == first
    restarted = await scene.store.grant_route(node, gateway, uuid4())
    assert restarted.term > first.term
    again = await scene.store.grant_route(node, gateway, incarnation)
    assert again.term > restarted.term


async def test_a_bmc_stays_with_its_gateway(scene: Scene):
    await scene.store.ensure_shards("", 1)
    node, other = await scene.bench.add_node(), await scene.bench.add_node()
    first, second, incarnation = uuid4(), uuid4(), uuid4()
    granted = await scene.store.grant_route(node, first, incarnation)
    with pytest.raises(ConflictError, match=str(first)) as refused:
        await scene.store.grant_route(node, second, uuid4())
    assert refused.value.details["kind"] == "gateway"
    assert await scene.store.grant_route(node, first, incarnation) == granted
    assert (await scene.store.grant_route(other, second, uuid4())).term > granted.term


async def test_the_floor_is_the_claims_epoch_or_that_of_entering_if_higher(scene: Scene):
    await scene.store.ensure_shards("", 1)
    node = await scene.bench.add_node()
    entered = await scene.field(node, "entered_epoch")
    gateway, incarnation = uuid4(), uuid4()
    assert (await scene.store.grant_route(node, gateway, incarnation)).floor == entered
    member = await scene.member()
    [claim] = await scene.store.take("", [0], member.id, member.epoch)
    assert (await scene.store.grant_route(node, gateway, incarnation)).floor == claim.epoch
    late = await scene.bench.add_node()
    entered = await scene.field(late, "entered_epoch")
    assert entered > claim.epoch
    assert (await scene.store.grant_route(late, gateway, incarnation)).floor == entered


async def test_there_is_no_route_to_what_does_not_exist(scene: Scene):
    with pytest.raises(NotFoundError):
        await scene.store.grant_route(ObjectRef("node", uuid4()), uuid4(), uuid4())


async def test_an_owner_reads_only_those_it_names_and_only_the_idle_ones(scene: Scene):
    owner = await scene.owner()
    a, b, c = [await scene.bench.add_node(name=f"n{n}") for n in range(3)]
    await scene.submit(b)

    async def read(**which: Any) -> set[UUID]:
        found = await scene.store.owned_objects("node", owner.id, owner.epoch, ["name"], **which)
        return {ref.id for ref, _, _ in found}

    assert await read() == {a.id, b.id, c.id}
    assert await read(idle=True) == {a.id, c.id}
    assert await read(only=[a.id, b.id, uuid4()]) == {a.id, b.id}
    assert await read(only=[a.id, b.id], idle=True) == {a.id}
    assert await read(only=[]) == set()


async def test_what_an_owner_saw_is_overwritten_only_while_it_is_still_so(scene: Scene):
    owner = await scene.owner()
    node = await scene.bench.add_node(power_state="power on", updated_at=1_700_000_000.123457)
    fence = await scene.store.fence_for(node, owner.id, owner.epoch)
    assert fence is not None
    [(_, _, seen)] = await scene.store.owned_objects(
        "node", owner.id, owner.epoch, ["power_state", "updated_at"]
    )
    assert await scene.store.patch_idle(fence, node, {"power_state": "power off"}, seen)
    assert await scene.field(node, "power_state") == "power off"
    # It was written since, were it only with the same value.
    assert not await scene.store.patch_idle(fence, node, {"power_state": "power on"}, seen)
    assert await scene.field(node, "power_state") == "power off"
    assert not await scene.store.patch_idle(fence, node, {}, {})


async def test_a_busy_object_is_left_to_its_job(scene: Scene):
    owner = await scene.owner()
    node = await scene.bench.add_node(power_state="power on")
    fence = await scene.store.fence_for(node, owner.id, owner.epoch)
    assert fence is not None
    seen = {"power_state": "power on"}
    await scene.submit(node)
    assert not await scene.store.patch_idle(fence, node, {"power_state": "power off"}, seen)
    assert await scene.field(node, "power_state") == "power on"


async def test_a_lost_claim_overwrites_nothing_that_was_seen(scene: Scene):
    owner = await scene.owner()
    node = await scene.bench.add_node(power_state="power on")
    fence = await scene.store.fence_for(node, owner.id, owner.epoch)
    assert fence is not None
    await scene.pass_on(owner)
    for seen in ({"power_state": "power on"}, {"power_state": "other"}):
        with pytest.raises(FenceLostError):
            await scene.store.patch_idle(fence, node, {"power_state": "power off"}, seen)
    with pytest.raises(InvalidInputError):
        await scene.store.patch_idle(fence, node, {"power_state": "power off"}, {"nothing": 1})
    assert await scene.field(node, "power_state") == "power on"
