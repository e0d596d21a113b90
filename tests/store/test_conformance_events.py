"""The event log, on both stores: what happened and who did it, in the change's transaction."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from tests.store.stores import Scene, fence_of

from holdfast.errors import ConflictError, InvalidInputError
from holdfast.store.events import (
    START,
    Actor,
    Event,
    EventFilter,
    NewEvent,
    Position,
    acting,
    told,
)
from holdfast.store.model import JobError, JobState, NewJob, StepEnd, StepSleep, Submission

ANN = Actor(user_id="u1", label="ann@demo", project="p1", request="req-1")


async def all_of(scene: Scene, *kinds: str, **where: Any) -> list[Event]:
    await scene.bench.settle()
    page = await scene.store.events(None, 1000, EventFilter(kinds=kinds, **where))
    assert not page.more
    return list(page.events)


async def test_a_members_life_is_told_once_each(scene: Scene):
    member = await scene.member()
    with acting(ANN):
        await scene.store.request_drain(member.id)
    for _ in range(2):
        await scene.store.mark_draining(member.id, member.epoch)
    await scene.store.end_lease(member.id, member.epoch, "drained")
    assert not await scene.store.end_lease(member.id, member.epoch, "again")
    found = await all_of(scene, "member.*")
    assert [event.kind for event in found] == [
        "member.registered", "member.drain_requested", "member.draining", "member.gone",
    ]  # fmt: skip
    for event in found:
        assert (event.object_kind, event.object_id) == ("member", str(member.id))
        assert (event.member, event.epoch, event.slot) == (member.id, member.epoch, "conductor-1")
        assert event.object_name == "conductor-1"
        assert event.data["host"] == "host-1"
    assert [event.actor for event in found] == [None, "ann@demo", None, None]
    assert found[-1].result == "drained"


async def test_the_reaper_tells_whom_it_marked(scene: Scene):
    member = await scene.member()
    await scene.store.reap()
    await scene.bench.pass_time(30)
    await scene.store.reap()
    (event,) = await all_of(scene, "member.gone")
    assert (event.member, event.result) == (member.id, "lease expired")


async def test_claims_that_move_together_are_one_line(scene: Scene):
    first = await scene.owner(shards=4)
    await scene.bench.add_node()
    second = await scene.member("conductor-2")
    claims = await scene.store.claims("")
    await scene.store.hand_over([fence_of(c) for c in claims[:3]], second.id, second.epoch)
    await scene.store.end_lease(first.id, first.epoch, "killed")
    await scene.store.take("", [3], second.id, second.epoch)
    await scene.store.take("", [3], second.id, second.epoch)  # takes nothing: no line
    found = await all_of(scene, "claims.moved")
    assert [(event.result, event.data["shards"]) for event in found] == [
        ("taken", 4), ("handed over", 3), ("taken", 1),
    ]  # fmt: skip
    assert (found[0].object_id, found[0].object_name) == ("", "default")
    assert found[0].data["from"] == {"nobody": 4}
    assert found[1].data["from"] == {"conductor-1": 3}
    assert (found[1].member, found[1].epoch) == (second.id, second.epoch)


async def test_a_submission_says_who_asked_for_what_and_not_with_which_arguments(scene: Scene):
    await scene.owner()
    node = await scene.bench.add_node(name="n1", project="p1", owner="p2")
    new = NewJob(id=uuid4(), kind="node.deploy", object=node, args={"configdrive": "secret"})
    with acting(ANN):
        await scene.store.submit(Submission(job=new, patch={"provision_state": "deploying"}))
        await scene.store.submit(Submission(job=new))  # repeated: told once
    submitted, changed = await all_of(scene, "job.*", "node.*")
    assert submitted.kind == "job.submitted"
    assert submitted.data == {"job": str(new.id), "job_kind": "node.deploy"}
    for event in (submitted, changed):
        assert (event.user_id, event.actor, event.project, event.request) == (
            "u1", "ann@demo", "p1", "req-1",
        )  # fmt: skip
        assert (event.object_kind, event.object_id) == ("node", str(node.id))
        assert event.object_name == "n1"
        assert set(event.projects) == {"p1", "p2"}
        assert event.member is None
    assert changed.kind == "node.provision_state"
    assert (changed.data["from"], changed.data["to"]) == ("enroll", "deploying")


async def test_what_is_refused_is_not_told(scene: Scene):
    await scene.owner()
    node = await scene.bench.add_node()
    refused = Submission(
        job=NewJob(id=uuid4(), kind="node.deploy", object=node),
        expect={"provision_state": ("available",)},
        patch={"provision_state": "deploying"},
    )
    with pytest.raises(ConflictError):
        await scene.store.submit(refused)
    assert await all_of(scene, "job.*", "node.*") == []


async def test_each_step_tells_what_it_changed_and_the_last_how_the_job_ended(scene: Scene):
    owner = await scene.owner()
    owned = await scene.begun(owner)
    job, fence = owned.job, owned.fence
    await scene.store.end_step(
        fence,
        job.id,
        StepEnd(
            step="first",
            attempt=1,
            patch={"power_state": "power on", "provision_state": "enroll", "extra": {"a": 1}},
            next_step="second",
        ),
    )
    begun = await scene.store.begin_step(fence, job.id, "second")
    await scene.store.sleep_step(
        fence,
        job.id,
        StepSleep(
            step="second",
            attempt=begun.attempt,
            seen_seq=0,
            wake_in_s=0,
            patch={"last_error": "the BMC does not answer"},
        ),
    )
    await scene.acquire(owner)
    begun = await scene.store.begin_step(fence, job.id, "second")
    end = StepEnd(
        step="second",
        attempt=begun.attempt,
        state=JobState.FAILED,
        error=JobError(code="bmc", message="gave up"),
        patch={"provision_state": "deploy failed", "last_error": "gave up"},
    )
    for _ in range(2):  # a lost answer, asked for again
        await scene.store.end_step(fence, job.id, end)
    power, trouble, *last = await all_of(scene, "node.*", "job.ended")
    assert power.kind == "node.power_state"  # an equal value and an unwatched field: no line
    assert power.data == {
        "from": None, "to": "power on",
        "job": str(job.id), "job_kind": "node.deploy", "step": "first",
    }  # fmt: skip
    assert (trouble.kind, trouble.data["error"]) == ("node.error", "the BMC does not answer")
    assert {event.kind for event in last} == {"node.provision_state", "node.error", "job.ended"}
    (ended,) = [event for event in last if event.kind == "job.ended"]
    assert (ended.result, ended.data["error"]) == ("failed", "gave up")
    for event in (power, trouble, *last):
        assert (event.member, event.epoch, event.slot) == (owner.id, fence.epoch, "conductor-1")
        assert event.user_id is None


async def test_an_error_that_goes_and_one_that_stays_are_not_told(scene: Scene):
    owner = await scene.owner()
    node = await scene.bench.add_node(last_error="old")
    fence = await scene.store.fence_for(node, owner.id, owner.epoch)
    assert fence is not None
    for error in ("old", None, "new", "new"):
        await scene.store.patch_object(fence, node, {"last_error": error, "extra": {}})
    (event,) = await all_of(scene, "node.*")
    assert (event.kind, event.data) == ("node.error", {"error": "new"})


async def test_an_end_without_a_patch_is_told_with_its_object(scene: Scene):
    owner = await scene.owner()
    owned = await scene.begun(owner)
    end = StepEnd(step="first", attempt=1, state=JobState.SUCCEEDED)
    await scene.store.end_step(owned.fence, owned.job.id, end)
    (ended,) = await all_of(scene, "job.ended")
    assert (ended.result, ended.object_id) == ("succeeded", str(owned.job.object.id))
    assert ended.data["error"] is None


async def test_a_cancellation_is_told_once_with_who_asked(scene: Scene):
    await scene.owner()
    node = await scene.bench.add_node(name="n1", project="p1")
    job = await scene.submit(node)
    with acting(ANN):
        assert await scene.store.cancel(job.id)
        assert await scene.store.cancel(job.id)
    assert not await scene.store.cancel(uuid4())
    (event,) = await all_of(scene, "job.cancel_requested")
    assert (event.actor, event.object_name, event.projects) == ("ann@demo", "n1", ("p1",))
    assert event.data["job"] == str(job.id)


async def test_a_reader_goes_on_where_it_stopped_and_misses_nothing(scene: Scene):
    for number in range(10):
        await scene.store.record([told("audit.test", data={"n": number})])
    await scene.bench.settle()
    seen: list[int] = []
    position = None
    while True:
        page = await scene.store.events(position, 3)
        seen += [event.data["n"] for event in page.events]
        position = page.position
        if not page.more:
            break
    assert seen == list(range(10))
    assert (await scene.store.events(position, 3)).events == ()
    await scene.store.record([told("audit.test", data={"n": 10})])
    await scene.bench.settle()
    page = await scene.store.events(position, 3)
    assert [event.data["n"] for event in page.events] == [10]


async def test_the_newest_come_first_if_asked_for(scene: Scene):
    for number in range(5):
        await scene.store.record([told("audit.test", data={"n": number})])
    await scene.bench.settle()
    page = await scene.store.events(None, 2, order="newest")
    assert [event.data["n"] for event in page.events] == [4, 3]
    assert page.more
    page = await scene.store.events(page.position, 10, order="newest")
    assert [event.data["n"] for event in page.events] == [2, 1, 0]
    assert not page.more


async def test_filters_by_kind_object_and_project(scene: Scene):
    await scene.store.record(
        [
            told("audit.user.create", ("user", "u1"), name="ann"),
            told("audit.user_x.create", ("user", "u2"), projects=["p1", None, "p1"]),
            told("job.ended", ("node", "n1"), projects=["p2"]),
        ]
    )

    await scene.bench.settle()

    async def kinds(**where: Any) -> list[str]:
        page = await scene.store.events(START, 10, EventFilter(**where))
        return [event.kind for event in page.events]

    assert await kinds(kinds=("audit.*",)) == ["audit.user.create", "audit.user_x.create"]
    assert await kinds(kinds=("audit.user.*", "job.ended")) == ["audit.user.create", "job.ended"]
    assert await kinds(kinds=("audit.user_x*",)) == ["audit.user_x.create"]
    assert await kinds(object=("user", "u1")) == ["audit.user.create"]
    assert await kinds(visible_to="p1") == ["audit.user_x.create"]
    assert await kinds(visible_to="p9") == []
    for wrong in ("x%", "Node.*", "", "a" * 200):
        with pytest.raises(InvalidInputError):
            await kinds(kinds=(wrong,))


async def test_an_event_keeps_everything_it_was_given(scene: Scene):
    member = await scene.member()
    given = NewEvent(
        kind="audit.test",
        object_kind="thing",
        object_id="7",
        object_name="seven",
        projects=("p1",),
        result="ok",
        data={"a": [1, None, {"b": "ü\0"}]},
        member=member.id,
        epoch=member.epoch,
        user_id="u1",
        actor="ann@demo",
        project="p1",
        request="req-1",
    )
    await scene.store.record([given])
    (event,) = await all_of(scene, "audit.*")
    for name in NewEvent.__struct_fields__:
        if name != "data":
            assert getattr(event, name) == getattr(given, name), name
    assert event.data == {"a": [1, None, {"b": "ü\ufffd"}]}
    assert event.slot == "conductor-1"


async def test_old_events_are_purged_in_batches(scene: Scene):
    for _ in range(5):
        await scene.store.record([told("audit.old")])
    await scene.bench.pass_time(100)
    await scene.store.record([told("audit.new")])
    assert await scene.store.purge_events(50, 3) == 3
    assert await scene.store.purge_events(50, 3) == 2
    assert await scene.store.purge_events(50, 3) == 0
    assert [event.kind for event in await all_of(scene)] == ["audit.new"]


@pytest.mark.parametrize("text", ["", "1", "1-", "-1-2", "a-b", "1-2-3", "9" * 30 + "-1"])
def test_what_is_no_position_is_refused(text: str):
    with pytest.raises(InvalidInputError):
        Position.parse(text)
    assert Position.parse(str(Position(12, 34))) == Position(12, 34)
