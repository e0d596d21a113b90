"""``store.port.CensusStore``, on both stores."""

from __future__ import annotations

import pytest
from tests.store.lines import Line, tiny
from tests.store.stores import Bench, Scene

from holdfast.store.model import JobState, MemberState


async def test_nothing_is_counted_where_nothing_is(scene: Scene):
    census = await scene.store.census()
    assert (census.jobs, census.members, census.unowned) == ((), {}, {})


async def test_members_by_role_and_state_and_shards_without_a_living_owner(scene: Scene):
    first = await scene.owner(shards=4)
    second = await scene.member("conductor-2")
    await scene.store.ensure_shards("other", 2)
    await scene.store.mark_draining(second.id, second.epoch)
    census = await scene.store.census()
    assert census.members == {
        ("conductor", MemberState.UP): 1,
        ("conductor", MemberState.DRAINING): 1,
    }
    assert census.unowned == {"": 0, "other": 2}
    await scene.store.end_lease(first.id, first.epoch, "killed")
    census = await scene.store.census()
    assert census.members == {("conductor", MemberState.DRAINING): 1}
    assert census.unowned == {"": 4, "other": 2}


async def test_jobs_by_kind_and_state_with_their_age_and_those_past_their_deadline_x11(
    scene: Scene,
):
    owner = await scene.owner()
    await scene.begun(owner)
    for deadline_s in (5.0, 500.0):
        await scene.submit(await scene.bench.add_node(), "node.verify", deadline_s=deadline_s)
    await scene.bench.pass_time(60)
    census = await scene.store.census()
    counts = {(count.kind, count.state): count for count in census.jobs}
    assert set(counts) == {
        ("node.deploy", JobState.RUNNING),
        ("node.verify", JobState.QUEUED),
    }
    queued = counts[("node.verify", JobState.QUEUED)]
    assert (queued.queue, queued.jobs, queued.overdue) == (None, 2, 1)
    assert queued.oldest_s == pytest.approx(60, abs=5)
    assert counts[("node.deploy", JobState.RUNNING)].overdue == 0


async def test_unbound_jobs_by_queue_with_how_long_the_first_in_line_is_due(bench: Bench):
    line = Line(bench)
    hold = await line.worker()
    running = await line.put()
    await line.claim(hold)
    await line.put()
    await bench.pass_time(30)
    await line.store.enqueue([tiny(), tiny(after=(running,)), tiny(queue="other")])
    counts = {(c.queue, c.state): c for c in (await line.store.census()).jobs}
    assert {key: count.jobs for key, count in counts.items()} == {
        ("work", JobState.BLOCKED): 1,
        ("work", JobState.QUEUED): 2,
        ("work", JobState.RUNNING): 1,
        ("other", JobState.QUEUED): 1,
    }
    assert counts["work", JobState.QUEUED].oldest_s == pytest.approx(30, abs=5)
    assert counts["other", JobState.QUEUED].oldest_s == pytest.approx(0, abs=5)
