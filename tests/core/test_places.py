"""Jobs that a limit keeps back: how many go before each, and what people are told."""

from __future__ import annotations

from uuid import UUID

from holdfast.core.places import places_ahead
from holdfast.core.status import explain, job_document
from holdfast.sim.memstore import MemStore
from holdfast.store.model import JobLimit, Member, MemberSpec, NewJob, ObjectRef, Submission

LIMIT = JobLimit(what="cleaning", kinds=("thing.clean", "thing.wipe"), running_max=1)


class Scene:
    """Two owners of two shards each, and jobs that come one after the other."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.store = MemStore(lambda: self.now, {"thing": None})
        self.owners: list[Member] = []
        self.count = 0

    async def begin(self) -> None:
        await self.store.ensure_shards("", 4)
        for number in (1, 2):
            spec = MemberSpec(
                id=UUID(int=number), role="conductor", slot=f"conductor-{number}", host="h"
            )
            member = await self.store.register(spec, 5.0)
            await self.store.take("", [2 * number - 2, 2 * number - 1], member.id, member.epoch)
            self.owners.append(member)

    async def submit(self, kind: str) -> UUID:
        """A job for a new thing; things fill the shards in turn."""
        self.count += 1
        self.now += 1
        ref = self.store.add_object("thing", {"uuid": UUID(int=100 + self.count)})
        job = NewJob(id=UUID(int=1000 + self.count), kind=kind, object=ref)
        await self.store.submit(Submission(job=job))
        return job.id

    async def poll(self) -> None:
        for owner in self.owners:
            await self.store.acquire(owner.id, owner.epoch, [], 100, [LIMIT])

    def owner_of(self, job: UUID) -> UUID | None:
        return self.store.tables.shards[""][self.store.tables.jobs[job].shard].owner


async def test_those_ahead_are_older_of_the_same_owner_and_under_the_same_limit():
    scene = Scene()
    await scene.begin()
    jobs = [await scene.submit(("thing.clean", "thing.wipe")[n % 2]) for n in range(12)]
    free = await scene.submit("thing.power")
    await scene.poll()
    found = await places_ahead(scene.store, await scene.store.jobs())
    for owner in scene.owners:
        mine = [job for job in jobs if scene.owner_of(job) == owner.id]
        assert mine[0] not in found  # it runs
        assert [found[job] for job in mine[1:]] == list(range(len(mine) - 1))
    assert free not in found
    assert len(found) == 10


async def test_people_are_told_what_a_job_waits_for():
    scene = Scene()
    await scene.begin()
    jobs = [await scene.submit("thing.clean") for _ in range(8)]
    await scene.poll()
    last = await scene.store.job(jobs[-1])
    assert last is not None
    document = await explain(scene.store, last.object)
    assert document is not None
    sentence = (
        "Job thing.clean waits for a free place: 1 cleanings per conductor at a time, "
        f"{document['job']['ahead']} ahead of it."
    )
    assert sentence in document["sentences"]
    assert (document["job"]["kept_back"], document["job"]["wake_at"]) == (True, None)
    assert job_document(last)["ahead"] is None


async def test_where_nobody_waits_nothing_is_asked():
    scene = Scene()
    assert await places_ahead(scene.store, []) == {}
    await scene.begin()
    job = await scene.submit("thing.clean")
    await scene.poll()
    found = await scene.store.job(job)
    assert found is not None
    assert await places_ahead(scene.store, [found]) == {}
    assert await explain(scene.store, ObjectRef("thing", UUID(int=5))) is None
