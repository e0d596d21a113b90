"""``store.port``: rows that unbound jobs write with the ends of their steps, and whole families."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest
from tests.store.lines import STEP, Line, ended, tiny
from tests.store.stores import Bench

from holdfast.errors import ConflictError, InvalidInputError
from holdfast.store.model import JobState, Json, StepEnd, StepSleep, Write


@pytest.fixture
def line(bench: Bench) -> Line:
    return Line(bench)


def write(verb: str, key: UUID, **values: Json) -> Write:
    return Write(verb=verb, kind="note", id=key, values=values)  # pyright: ignore[reportArgumentType]


async def test_rows_are_written_with_the_end_of_a_step(line: Line):
    hold, key, tag = await line.worker(), uuid4(), uuid4()
    await line.put()
    held = await line.one(hold)
    values = {"text": "new", "tags": [tag], "extra": {"a": [1, None]}, "at": 1_700_000_000.25}
    await line.end(held, writes=(write("insert", key, **values),))
    row = (await line.bench.notes())[key]
    assert (row["text"], row["extra"], row["at"]) == ("new", {"a": [1, None]}, 1_700_000_000.25)
    assert [str(one) for one in row["tags"]] == [str(tag)]


async def test_an_insert_keeps_what_is_there_and_the_rest_needs_it(line: Line):
    hold, key, other = await line.worker(), uuid4(), uuid4()
    for writes in (
        [write("insert", key, text="first", extra={"n": 1})],
        [write("insert", key, text="second"), write("update", other, text="nobody")],
        [write("update", key, text="third"), write("delete", other)],
    ):
        await line.put()
        await line.end(await line.one(hold), writes=tuple(writes))
    rows = await line.bench.notes()
    assert {k: (r["text"], r["extra"]) for k, r in rows.items()} == {key: ("third", {"n": 1})}
    await line.put()
    await line.end(await line.one(hold), writes=(write("delete", key),))
    assert await line.bench.notes() == {}


async def test_an_update_may_expect_what_it_replaces(line: Line):
    hold, key = await line.worker(), uuid4()
    first = {"text": "a", "at": 1_700_000_000.25}
    for expect, then, there in (
        ({"text": "b"}, "no", "a"),
        ({"text": "a", "extra": None, "at": 1_700_000_000.25}, "yes", "yes"),
    ):
        for one in (
            write("insert", key, **first),
            Write(verb="update", kind="note", id=key, values={"text": then}, expect=expect),
        ):
            await line.put()
            await line.end(await line.one(hold), writes=(one,))
        assert (await line.bench.notes())[key]["text"] == there


async def test_many_ends_write_many_rows_and_only_those_that_stand(line: Line):
    hold, gone = await line.worker(), await line.worker("worker-2")
    keys = [uuid4() for _ in range(6)]
    await line.store.enqueue([tiny() for _ in keys])
    mine, lost = await line.claim(hold, 4), await line.claim(gone)
    await line.store.end_lease(gone.owner, gone.epoch, "killed")
    ends = [
        ended(held, writes=(write("insert", key, text=str(held.job.id)),))
        for held, key in zip([*mine, *lost], keys, strict=True)
    ]
    assert await line.store.end_many(hold, ends) == {held.job.id for held in mine}
    assert set(await line.bench.notes()) == set(keys[:4])


async def test_rows_are_written_when_a_step_goes_to_sleep(line: Line):
    hold, key = await line.worker(), uuid4()
    await line.put()
    held = await line.one(hold)
    sleep = StepSleep(
        step=STEP,
        attempt=held.job.attempt,
        seen_seq=0,
        wake_in_s=60,
        writes=(write("insert", key, text="asleep"),),
    )
    await line.store.sleep_step(hold, held.job.id, sleep)
    assert (await line.bench.notes())[key]["text"] == "asleep"
    late = StepEnd(step=STEP, attempt=held.job.attempt, state=JobState.SUCCEEDED)
    assert not await line.store.end_many(hold, [(held.job.id, late)])


async def test_rows_nobody_registered_are_refused_and_nothing_is_written(line: Line):
    hold, key = await line.worker(), uuid4()
    await line.put()
    held = await line.one(hold)
    wrong = Write(verb="insert", kind="nothing", id=key)
    for writes in ((write("insert", key, text="a"), wrong), (write("insert", key, colour="red"),)):
        with pytest.raises(InvalidInputError):
            await line.store.end_many(hold, [ended(held, writes=writes)])
    assert await line.bench.notes() == {}
    assert (await line.job(held.job.id)).state is JobState.RUNNING


# Families


async def test_a_family_is_cancelled_but_not_its_head(line: Line):
    hold = await line.worker()
    head = await line.put()
    held = await line.one(hold)
    first = await line.put(parent=head)
    second = await line.put(parent=head, after=(first,))
    stranger = await line.put()
    assert await line.store.cancel_under(head, ("tiny",), begun=False) == 2
    assert await line.states(head, first, second, stranger) == [
        "running", "cancelled", "cancelled", "queued",
    ]  # fmt: skip
    await line.end(held)
    assert await line.store.waits_for(head) == []


async def test_those_that_have_begun_are_woken_or_cancelled_as_asked(line: Line):
    hold = await line.worker()
    head = await line.put()
    await line.one(hold)
    child = await line.put(parent=head)
    held = await line.one(hold)
    grandchild = await line.put(parent=child)
    sleep = StepSleep(step=STEP, attempt=held.job.attempt, seen_seq=0, wake_in_s=600)
    await line.store.sleep_step(hold, child, sleep)
    assert await line.store.cancel_under(head, ("tiny",), begun=False) == 2
    woken = await line.job(child)
    assert (woken.state, woken.cancel_requested) == (JobState.QUEUED, False)
    assert await line.states(grandchild) == ["cancelled"]
    assert await line.store.cancel_under(head, ("tiny",), begun=True) == 1
    assert (await line.job(child)).cancel_requested
    assert await line.store.cancel_under(uuid4(), ("tiny",), begun=True) == 0


async def test_a_chain_that_is_cancelled_lets_go_of_what_waits_behind_its_head(line: Line):
    hold = await line.worker()
    head = await line.put(exclusive=("stack",))
    behind = await line.put(exclusive=("stack",))
    held = await line.one(hold)
    chain = [tiny()]
    for _ in range(40):
        chain.append(tiny(after=(chain[-1].id,)))
    await line.store.enqueue(chain, parent=head)
    await line.end(held)
    assert await line.states(behind) == ["blocked"]
    assert await line.store.cancel_under(head, ("tiny",), begun=True) == 41
    assert await line.states(behind) == ["queued"]


async def test_a_job_asleep_under_its_head_keeps_the_head_from_passing(line: Line):
    hold = await line.worker()
    head = await line.put(exclusive=("stack",))
    behind = await line.put(exclusive=("stack",))
    held = await line.one(hold)
    child = await line.put(parent=head)
    await line.end(held)
    inner = await line.one(hold)
    assert inner.job.id == child
    assert await line.store.cancel_under(head, ("other",), begun=True) == 0
    await line.store.cancel_under(head, ("tiny",), begun=False)
    assert await line.states(behind) == ["blocked"]
    with pytest.raises(ConflictError):
        await line.store.enqueue([tiny()], parent=head)
    await line.end(inner)
    assert await line.states(behind) == ["queued"]
