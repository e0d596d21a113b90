"""Graphs and reservations on both stores: what comes before what, whatever happens to it."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest
from tests.store.lines import Line, ended, tiny
from tests.store.stores import Bench, Scene

from holdfast.errors import ConflictError, InvalidInputError, NotFoundError
from holdfast.store.model import HeldJob, Hold, JobState, NewJob, StepEnd, Submission

BLOCKED, QUEUED, FAILED = "blocked", "queued", "failed"


@pytest.fixture
def line(bench: Bench) -> Line:
    return Line(bench)


async def begun(line: Line, hold: Hold, **fields: Any) -> HeldJob:
    """A job that has been enqueued and claimed."""
    job = await line.put(**fields)
    [held] = [one for one in await line.claim(hold) if one.job.id == job]
    return held


# Dependencies


async def test_a_job_runs_once_all_it_comes_after_have_succeeded(line: Line):
    hold = await line.worker()
    first, second = await begun(line, hold), await begun(line, hold)
    last = await line.put(after=(first.job.id,), after_end=(second.job.id,))
    assert await line.states(last) == [BLOCKED]
    assert (await line.job(last)).remaining == 2
    assert await line.store.waits_for(last) == [first.job.id, second.job.id]
    assert await line.store.waits_for(last, 1) == [first.job.id]
    await line.end(first)
    assert await line.states(last) == [BLOCKED]
    assert await line.store.waits_for(last) == [second.job.id]
    await line.end(second)
    assert await line.ids(hold) == [last]


async def test_a_whole_graph_comes_in_one_batch_in_any_order(line: Line):
    hold = await line.worker()
    a, b, c, d = (uuid4() for _ in range(4))
    batch = [tiny(id=d, after=(b, c)), tiny(id=b, after=(a,)), tiny(id=c, after=(a,)), tiny(id=a)]
    assert await line.store.enqueue(batch) == 4
    ran: list[list[UUID]] = []
    while held := await line.claim(hold):
        ran.append([one.job.id for one in held])
        assert len(await line.store.end_many(hold, [ended(one) for one in held])) == len(held)
    assert (ran[0], set(ran[1]), ran[2]) == ([a], {b, c}, [d])


async def test_what_ended_before_is_not_waited_for(line: Line):
    hold = await line.worker()
    good, bad = await begun(line, hold), await begun(line, hold)
    await line.store.end_many(hold, [ended(good), ended(bad, JobState.FAILED)])
    fine = await line.put(after=(good.job.id,), after_end=(bad.job.id,))
    hopeless = await line.put(after=(good.job.id, bad.job.id))
    assert await line.states(fine, hopeless) == [QUEUED, FAILED]
    error = (await line.job(hopeless)).error
    assert error is not None
    assert error.code == "dependency_failed"
    assert str(bad.job.id) in error.message


async def test_a_failure_fails_all_that_depend_on_it_and_nothing_else(line: Line):
    hold = await line.worker()
    root, other = await begun(line, hold), await begun(line, hold)
    child, grandchild, cleaner, both = (uuid4() for _ in range(4))
    await line.store.enqueue(
        [
            tiny(id=child, after=(root.job.id,)),
            tiny(id=grandchild, after=(child,)),
            tiny(id=cleaner, after_end=(grandchild, root.job.id)),
            tiny(id=both, after=(root.job.id, other.job.id)),
        ]
    )
    await line.end(root, JobState.FAILED)
    assert await line.states(child, grandchild, cleaner, both) == [FAILED, FAILED, QUEUED, FAILED]
    assert (await line.job(child)).finished_at is not None
    await line.end(other)
    assert await line.ids(hold) == [cleaner]


async def test_a_chain_of_hundreds_fails_to_its_end(line: Line):
    hold = await line.worker()
    root = await begun(line, hold)
    chain = [uuid4() for _ in range(40)]
    before = [root.job.id, *chain]
    await line.store.enqueue(
        [tiny(id=job, after=(pred,)) for pred, job in zip(before, chain, strict=False)]
    )
    await line.end(root, JobState.FAILED)
    assert await line.states(*chain) == [FAILED] * 40
    assert await line.store.tend() == 0


async def test_a_batch_after_a_failure_fails_at_once(line: Line):
    hold = await line.worker()
    root = await begun(line, hold)
    await line.end(root, JobState.FAILED)
    first, second, last = uuid4(), uuid4(), uuid4()
    await line.store.enqueue(
        [
            tiny(id=first, after=(root.job.id,)),
            tiny(id=second, after=(first,), exclusive=("r",)),
            tiny(id=last, after_end=(second,)),
        ]
    )
    assert await line.states(first, second, last) == [FAILED, FAILED, QUEUED]


async def test_one_cancelled_while_it_waits_keeps_its_place_until_its_turn(line: Line):
    hold = await line.worker()
    running = await begun(line, hold)
    middle = await line.put(after=(running.job.id,))
    last = await line.put(after_end=(middle,))
    assert await line.store.cancel(middle)
    assert await line.states(middle, last) == ["cancelled", BLOCKED]
    await line.end(running)
    assert await line.states(middle, last) == ["cancelled", QUEUED]


async def test_one_that_expires_while_it_waits_fails_and_keeps_its_place(line: Line):
    hold = await line.worker()
    running = await begun(line, hold)
    middle = await line.put(after=(running.job.id,), deadline_s=5.0)
    last = await line.put(after_end=(middle,))
    needy = await line.put(after=(middle,))
    assert await line.store.tend() == 0
    await line.bench.pass_time(6)
    assert await line.store.tend() == 1
    error = (await line.job(middle)).error
    assert error is not None
    assert error.code == "deadline"
    assert await line.states(middle, last, needy) == [FAILED, BLOCKED, BLOCKED]
    await line.end(running)
    assert await line.states(last, needy) == [QUEUED, FAILED]


async def test_a_cancelled_job_in_line_lets_its_successors_go(line: Line):
    job = await line.put()
    needy, cleaner = await line.put(after=(job,)), await line.put(after_end=(job,))
    await line.store.cancel(job)
    assert await line.states(needy, cleaner) == [FAILED, QUEUED]


async def test_a_bound_job_may_come_first(line: Line, bench: Bench):
    scene = Scene(bench)
    owner = await scene.owner()
    node = await bench.add_node()
    bound = await line.store.submit(Submission(job=NewJob(id=uuid4(), kind="b", object=node)))
    after = await line.put(after=(bound.id,))
    [owned] = await scene.acquire(owner)
    await line.store.begin_step(owned.fence, bound.id, "one")
    end = StepEnd(step="one", attempt=1, state=JobState.SUCCEEDED)
    await line.store.end_step(owned.fence, bound.id, end)
    await line.store.tend()
    assert await line.states(after) == [QUEUED]
    assert await line.store.tend() == 0


# Reservations


async def test_exclusive_ones_take_turns_in_their_order(line: Line):
    hold = await line.worker()
    jobs = [await line.put(exclusive=("repo",)) for _ in range(3)]
    for job in jobs:
        held = await line.one(hold)
        assert held.job.id == job
        assert await line.claim(hold) == []
        await line.end(held, JobState.FAILED)  # any end opens the way


async def test_shared_ones_run_together_between_exclusive_ones(line: Line):
    hold = await line.worker()
    alone = await line.put(exclusive=("repo",))
    together = [await line.put(shared=("repo",)) for _ in range(3)]
    alone_again = await line.put(exclusive=("repo",))
    late = await line.put(shared=("repo",))
    [held] = await line.claim(hold)
    assert held.job.id == alone
    await line.end(held)
    sharing = await line.claim(hold)
    assert [one.job.id for one in sharing] == together
    await line.store.end_many(hold, [ended(one) for one in sharing[:2]])
    assert await line.claim(hold) == []
    await line.end(sharing[2])
    [held] = await line.claim(hold)
    assert held.job.id == alone_again
    await line.end(held)
    assert await line.ids(hold) == [late]


async def test_the_batch_is_a_queue_too(line: Line):
    hold = await line.worker()
    batch = [
        tiny(exclusive=("a", "b")),
        tiny(shared=("a",)),
        tiny(shared=("a", "b")),
        tiny(exclusive=("b",), shared=("b", "c")),
        tiny(exclusive=("c",)),
    ]
    await line.store.enqueue(batch)
    assert [(await line.job(job.id)).remaining for job in batch] == [0, 1, 1, 1, 1]
    ran: list[list[int]] = []
    order = [job.id for job in batch]
    while held := await line.claim(hold):
        ran.append([order.index(one.job.id) for one in held])
        await line.store.end_many(hold, [ended(one) for one in held])
    assert ran == [[0], [1, 2], [3], [4]]


async def test_resources_are_queued_for_once_the_graph_lets_it(line: Line):
    hold = await line.worker()
    running = await begun(line, hold)
    first = await line.put(after=(running.job.id,), exclusive=("repo",))
    overtaking = await line.put(exclusive=("repo",))
    assert await line.states(first, overtaking) == [BLOCKED, QUEUED]
    await line.end(running)
    assert await line.states(first) == [BLOCKED]
    [held] = await line.claim(hold)
    assert held.job.id == overtaking
    await line.end(held)
    assert await line.ids(hold) == [first]


async def test_a_failed_dependency_reserves_nothing(line: Line):
    hold = await line.worker()
    running = await begun(line, hold)
    never = await line.put(after=(running.job.id,), exclusive=("repo",))
    await line.end(running, JobState.FAILED)
    assert await line.states(never) == [FAILED]
    assert await line.states(await line.put(exclusive=("repo",))) == [QUEUED]


async def test_one_cancelled_in_the_queue_for_a_resource_lets_nobody_overtake(line: Line):
    hold = await line.worker()
    running = await begun(line, hold, exclusive=("repo",))
    middle = await line.put(exclusive=("repo",))
    last = await line.put(shared=("repo",))
    await line.store.cancel(middle)
    assert await line.states(last) == [BLOCKED]
    newest = await line.put(exclusive=("repo",))
    await line.end(running)
    assert await line.states(last, newest) == [QUEUED, BLOCKED]


async def test_a_taken_over_job_keeps_what_it_reserved(line: Line):
    hold, other = await line.worker(), await line.worker("worker-2")
    running = await begun(line, hold, exclusive=("repo",))
    after = await line.put(exclusive=("repo",))
    await line.store.end_lease(hold.owner, hold.epoch, "killed")
    await line.store.tend()
    [taken] = await line.claim(other)
    assert taken.job.id == running.job.id
    assert await line.states(after) == [BLOCKED]
    await line.end(taken)
    assert await line.states(after) == [QUEUED]


async def test_sharing_leaves_nothing_behind_for_the_next(line: Line):
    hold = await line.worker()
    first = await begun(line, hold, shared=("repo",))
    await line.end(first)
    cancelled = await line.put(shared=("repo",))
    await line.store.cancel(cancelled)
    assert await line.states(await line.put(exclusive=("repo",))) == [QUEUED]


# Parents and children


async def test_a_parent_passes_only_when_its_children_have(line: Line):
    hold = await line.worker()
    parent = await begun(line, hold, exclusive=("stack",))
    waiting = await line.put(exclusive=("stack",))
    child = await line.put(parent=parent.job.id)
    assert (await line.job(child)).parent == parent.job.id
    await line.end(parent)
    assert await line.states(parent.job.id, waiting) == ["succeeded", BLOCKED]
    held = await line.one(hold)
    assert held.job.id == child
    await line.end(held, JobState.FAILED)
    assert await line.states(waiting) == [QUEUED]


async def test_parent_and_child_may_end_in_one_batch(line: Line):
    hold = await line.worker()
    parent = await begun(line, hold)
    after = await line.put(after=(parent.job.id,))
    child = await begun(line, hold, parent=parent.job.id)
    await line.store.end_many(hold, [ended(parent), ended(child)])
    assert await line.states(after) == [QUEUED]
    assert (await line.job(parent.job.id)).remaining == 0


async def test_a_child_has_its_parents_resources_in_its_turn_among_its_siblings(line: Line):
    hold = await line.worker()
    parent = await begun(line, hold, exclusive=("a", "b"), shared=("c",))
    outsider = await line.put(shared=("a",))
    first = await line.put(exclusive=("a",), parent=parent.job.id)
    second = await line.put(shared=("a", "c"), parent=parent.job.id)
    third = await line.put(exclusive=("b",), parent=parent.job.id)
    assert await line.states(first, second, third) == [QUEUED, BLOCKED, QUEUED]
    await line.end(await line.one(hold))
    assert await line.states(outsider, first, second) == [BLOCKED, "succeeded", QUEUED]
    grand = await begun(line, hold, shared=("a",), parent=(await line.one(hold)).job.id)
    assert grand.job.parent == second


async def test_a_child_may_not_reserve_or_come_after_what_could_close_a_circle(line: Line):
    hold = await line.worker()
    stranger = await line.put(queue="other")
    parent = await begun(line, hold, exclusive=("a",), shared=("b",))
    sibling = await line.put(parent=parent.job.id)
    for wrong in (
        tiny(exclusive=("b",)),
        tiny(shared=("c",)),
        tiny(after=(parent.job.id,)),
        tiny(after_end=(stranger,)),
    ):
        with pytest.raises(InvalidInputError):
            await line.store.enqueue([wrong], parent=parent.job.id)
    fine = await line.put(after=(sibling,), shared=("a", "b"), parent=parent.job.id)
    assert await line.states(fine) == [BLOCKED]
    assert (await line.job(parent.job.id)).remaining == 2


async def test_the_children_of_one_that_reserves_nothing_reserve_what_they_like(line: Line):
    hold = await line.worker()
    parent = await begun(line, hold)
    holding = await begun(line, hold, exclusive=("a",))
    child = await line.put(exclusive=("a",), parent=parent.job.id)
    assert await line.states(child) == [BLOCKED]
    await line.end(holding)
    assert await line.ids(hold) == [child]


async def test_a_grandchild_is_under_its_nearest_ancestor_that_reserves(line: Line):
    hold = await line.worker()
    top = await begun(line, hold, exclusive=("a",))
    middle = await begun(line, hold, parent=top.job.id)
    aunt = await line.put(exclusive=("a",), parent=top.job.id)
    below = await line.put(exclusive=("a",), parent=middle.job.id)
    assert await line.states(aunt, below) == [QUEUED, BLOCKED]
    with pytest.raises(InvalidInputError):
        await line.store.enqueue([tiny(shared=("z",))], parent=middle.job.id)


async def test_only_a_job_under_way_has_children(line: Line):
    hold = await line.worker()
    running = await begun(line, hold)
    queued = await line.put()
    with pytest.raises(ConflictError) as refused:
        await line.store.enqueue([tiny()], parent=queued)
    assert refused.value.details["kind"] == "parent"
    await line.end(running)
    with pytest.raises(ConflictError):
        await line.store.enqueue([tiny()], parent=running.job.id)
    with pytest.raises(NotFoundError):
        await line.store.enqueue([tiny()], parent=uuid4())
