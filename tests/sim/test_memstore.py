"""sim.memstore, beyond what both stores are held to (``tests/store/test_conformance*.py``)."""

from __future__ import annotations

from uuid import UUID

import pytest

from holdfast.errors import ConflictError, InvalidInputError, NotFoundError
from holdfast.sim.memstore import MemStore
from holdfast.store.model import Member, MemberSpec, NewJob, ObjectRef, Submission

LEASE_S = 10.0


class Clock:
    """The database's clock, moved by hand."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> MemStore:
    columns = ("uuid", "grp", "shard", "entered_epoch", "extra", "power_state", "updated_at")
    return MemStore(clock, {"node": columns})


async def member(store: MemStore, number: int = 1) -> Member:
    spec = MemberSpec(id=UUID(int=number), role="conductor", slot=f"c{number}", host="h")
    return await store.register(spec, LEASE_S)


async def node(store: MemStore, number: int = 1) -> ObjectRef:
    await store.ensure_shards("", 4)
    return store.add_object("node", {"uuid": UUID(int=number), "extra": {"a": [1]}})


async def test_objects_fill_the_shards_evenly(store: MemStore):
    for number in range(12):
        await node(store, number)
    assert [claim.objects for claim in await store.claims("")] == [3, 3, 3, 3]


async def test_a_removed_object_leaves_its_shard(store: MemStore):
    ref = await node(store)
    store.remove_object(ref)
    assert await store.get_object(ref) is None
    assert sum(claim.objects for claim in await store.claims("")) == 0


async def test_an_object_needs_a_group_with_shards_and_a_free_key(store: MemStore):
    with pytest.raises(NotFoundError):
        store.add_object("node", {"uuid": UUID(int=1)})
    ref = await node(store)
    with pytest.raises(ConflictError):
        store.add_object("node", {"uuid": ref.id})
    with pytest.raises(InvalidInputError):
        store.add_object("node", {"uuid": UUID(int=2), "shard": 3})
    with pytest.raises(InvalidInputError):
        store.add_object("node", {"uuid": UUID(int=2), "colour": "red"})


async def test_what_is_handed_out_shares_nothing_with_what_is_kept(store: MemStore):
    ref = await node(store)
    document = await store.get_object(ref)
    assert document is not None
    document["extra"]["a"].append(2)
    args = {"target": ["power on"]}
    new = NewJob(id=UUID(int=7), kind="node.power", object=ref, args=args)
    job = await store.submit(Submission(job=new))
    job.args["target"].append("power off")
    args["target"].append("reboot")
    assert (await store.get_object(ref) or {})["extra"] == {"a": [1]}
    found = await store.job(UUID(int=7))
    assert found is not None
    assert found.args == {"target": ["power on"]}


@pytest.mark.parametrize("comes_back", ["restart", "failover"])
async def test_nobody_is_reaped_until_a_lease_after_the_database_came_back(
    store: MemStore, clock: Clock, comes_back: str
):
    await store.reap()
    clock.now += 100
    await member(store)
    clock.now += LEASE_S + 1
    getattr(store, comes_back)()
    assert await store.reap() == []  # notices it
    clock.now += LEASE_S - 0.1
    assert await store.reap() == []
    clock.now += 0.2
    assert [gone.slot for gone in await store.reap()] == ["c1"]


async def test_epochs_jump_ahead_at_a_failover(store: MemStore):
    before = await member(store, 1)
    store.failover()
    assert (await member(store, 2)).epoch > before.epoch + 999


async def test_every_change_somebody_may_wait_for_is_hinted_at(store: MemStore):
    heard: set[str] = set()
    store.tables.hints.append(heard.add)
    ref = await node(store)
    me = await member(store)
    assert "members" in heard
    await store.take("", range(4), me.id, me.epoch)
    assert "claims" in heard
    await store.submit(Submission(job=NewJob(id=UUID(int=7), kind="k", object=ref)))
    assert "jobs" in heard
