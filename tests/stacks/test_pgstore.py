"""What engines read and write of stacks, in PostgreSQL."""

from __future__ import annotations

from uuid import uuid4

import pytest
from tests.stacks.rows import a_resource, a_stack, put_rows, put_stack

from holdfast.errors import FenceLostError
from holdfast.stacks.model import Action, Event, Source, Stack, Status, nested_id, round_id
from holdfast.stacks.pgstore import VIEW, PgStacks, root_job
from holdfast.stacks.tables import ROWS, values_of
from holdfast.store.model import Hold, Job, JobState, MemberSpec, QueuedJob, StepEnd, Write
from holdfast.store.pg.database import Connection, Database
from holdfast.store.pg.store import PgStore
from holdfast.store.pg.writes import write_rows


async def held_job(store: PgStore) -> tuple[Hold, Job]:
    """A job that a member runs."""
    member = await store.register(MemberSpec(id=uuid4(), role="engine", slot="e", host="h"), 30.0)
    await store.enqueue([QueuedJob(id=uuid4(), kind="stack.resource", queue="stacks")])
    hold = Hold(member.id, member.epoch)
    (held,) = await store.claim(hold, {"stacks": 1}, {"stack.resource": "run"})
    return hold, held.job


async def test_a_stack_reads_as_it_was_written(db: Database, stacks: PgStacks) -> None:
    stack = a_stack(tags=("a", "b"), deadline=1_700_003_600.5, previous=uuid4())
    await put_stack(db, stack)
    assert await stacks.stack(stack.id) == stack
    assert await stacks.stack(uuid4()) is None


async def test_a_revoked_delegation_delegates_nothing(db: Database, stacks: PgStacks) -> None:
    stack = a_stack()
    await put_stack(db, stack)
    await db.execute("update delegation set revoked_at = clock_timestamp()")
    found = await stacks.stack(stack.id)
    assert found is not None
    assert found.delegation.roles == ()
    assert found.delegation.user_name == "alice"


async def test_the_environment_of_a_source_is_sealed(db: Database, stacks: PgStacks) -> None:
    source = Source(
        id=uuid4(),
        template={"heat_template_version": "2021-04-16", "description": "says this"},
        files={"a.sh": "#!"},
        environment={"parameters": {"password": "swordfish"}},
    )
    stack = uuid4()
    await db.run(lambda conn: stacks.sources.write(conn, stack, source))
    assert await stacks.source(source.id) == source
    row = await db.fetchrow("select * from stack_source")
    assert row is not None
    assert row["description"] == "says this"
    assert b"swordfish" not in row["environment"]
    assert "swordfish" not in str(dict(row.items()))


async def test_a_source_made_of_hidden_parameters_is_sealed_whole(
    db: Database, stacks: PgStacks
) -> None:
    template = {"heat_template_version": "2021-04-16", "resources": {"a": {"p": "swordfish"}}}
    source = Source(id=uuid4(), template=template, files={"a.sh": "swordfish"}, secret=True)
    stack = uuid4()
    await db.run(lambda conn: stacks.sources.write(conn, stack, source))
    assert await stacks.source(source.id) == source
    row = await db.fetchrow("select * from stack_source")
    assert row is not None
    assert "swordfish" not in str(dict(row.items()))


async def test_what_a_resource_keeps_secret_is_sealed(db: Database, stacks: PgStacks) -> None:
    stack = a_stack()
    row = a_resource(stack.id, "a", physical_id="p-1")
    await put_stack(db, stack)
    await put_rows(db, row)
    secret: dict[str, dict[str, str]] = {
        "properties": {"p": "swordfish"},
        "attributes": {"value": "swordfish"},
        "data": {"token": "swordfish"},
    }
    write = Write(
        verb="update",
        kind="stack_resource",
        id=row.id,
        values=stacks.columns(row.id, secret, secret=True),
    )
    await db.run(lambda conn: write_rows(conn, ROWS, [write]))
    (found,) = await stacks.rows(stack.id)
    peer = await stacks.peer(stack.id, "p-1")
    view = await stacks.view(stack.id, row.id, ())
    assert view is not None
    for read in (found, peer, view.row):
        assert read is not None
        assert (read.properties, read.attributes, read.data) == tuple(secret.values())
    stored = await db.fetchrow("select * from stack_resource")
    assert stored is not None
    assert "swordfish" not in str(dict(stored.items()))
    # Once it is no secret any more, what was sealed does not come back.
    plain: dict[str, dict[str, str]] = {**secret, "properties": {"p": "known"}}
    values = stacks.columns(row.id, plain, secret=False)
    again = Write(verb="update", kind="stack_resource", id=row.id, values=values)
    await db.run(lambda conn: write_rows(conn, ROWS, [again]))
    (found,) = await stacks.rows(stack.id)
    assert (found.properties, found.attributes) == ({"p": "known"}, {"value": "swordfish"})


async def test_a_view_has_the_versions_that_the_traversal_uses(
    db: Database, stacks: PgStacks
) -> None:
    stack = a_stack(traversal=3)
    old, new = a_resource(stack.id, "a", 1), a_resource(stack.id, "a", 3)
    kept = a_resource(stack.id, "b", 2, traversal=3, attributes={"x": [1]})
    later = a_resource(stack.id, "b", 4, traversal=2, created_at=1_800_000_000.0)
    other = a_resource(stack.id, "c", 1)
    await put_stack(db, stack)
    await put_rows(db, old, new, kept, later, other)
    view = await stacks.view(stack.id, other.id, ["a", "b", "missing"])
    assert view is not None
    assert (view.stack, view.row) == (stack, other)
    assert view.others == {"a": new, "b": kept}
    assert await stacks.view(uuid4(), other.id, ["a"]) is None


async def test_rows_are_written_by_steps_as_they_are_read(db: Database, stacks: PgStacks) -> None:
    stack = a_stack()
    rows = [
        a_resource(
            stack.id,
            name,
            action=Action.CREATE,
            status=Status.FAILED,
            requires=(uuid4(), uuid4()),
            properties={"p": {"q": None}},
            updated_at=1_700_000_001.25,
        )
        for name in ("b", "a")
    ]
    await put_rows(db, *rows)
    assert await stacks.rows(stack.id) == rows[::-1]


async def test_a_nested_stack_converges_under_a_hold_only(
    db: Database, store: PgStore, stacks: PgStacks
) -> None:
    top = a_stack()
    row = a_resource(top.id, "body")
    await put_stack(db, top)
    await put_rows(db, row)
    hold, job = await held_job(store)
    source = Source(id=uuid4(), template={"resources": {}})
    nested = a_stack(
        "app-body", id=nested_id(row.id), root=top.id, depth=1, owner=row.id, source=source.id
    )
    assert await stacks.converge(hold, job.id, nested, source) == nested
    assert await stacks.converge(hold, job.id, nested, source) == nested  # once is enough
    assert await stacks.nested(row.id) == nested
    assert await stacks.source(source.id) == source
    root = await store.job(round_id(nested.id, 1, "apply"))
    assert root is not None
    assert (root.kind, root.exclusive) == ("stack.round", (f"stack:{nested.id}",))
    with pytest.raises(FenceLostError):
        await stacks.converge(Hold(hold.owner, hold.epoch + 1), job.id, later(nested), None)
    assert await store.job(round_id(nested.id, 2, "apply")) is None
    assert (await stacks.converge(hold, job.id, later(nested), None)).stopped == 1


def later(stack: Stack) -> Stack:
    return a_stack(
        stack.name,
        id=stack.id,
        root=stack.root,
        depth=1,
        owner=stack.owner,
        source=stack.source,
        traversal=stack.traversal + 1,
    )


async def test_to_stop_a_stack_stops_its_nested_ones_and_what_has_not_begun(
    db: Database, store: PgStore, stacks: PgStacks
) -> None:
    top = a_stack(traversal=2)
    row = a_resource(top.id, "body")
    nested = a_stack("n", id=nested_id(row.id), root=top.id, depth=1, owner=row.id, around=2)
    inner_row = a_resource(nested.id, "body")
    inner = a_stack(
        "i", id=nested_id(inner_row.id), root=top.id, owner=inner_row.id, traversal=3, around=1
    )
    other = a_stack("other")
    for stack in (top, nested, inner, other):
        await put_stack(db, stack)
        await store.enqueue([root_job(stack)])
    await put_rows(db, row, inner_row)
    spec = MemberSpec(id=uuid4(), role="engine", slot="e", host="h")
    member = await store.register(spec, 30.0)
    hold = Hold(member.id, member.epoch)
    held = await store.claim(hold, {"stacks": 9}, {"stack.round": "plan"})
    child = QueuedJob(id=uuid4(), kind="stack.resource", queue="stacks")
    await store.enqueue([child], parent=root_job(inner).id)
    # The heads end as soon as they have planned; what they enqueued is under way all the same.
    for one in held:
        end = StepEnd(step="plan", attempt=one.job.attempt, state=JobState.SUCCEEDED)
        await store.end_step(hold, one.job.id, end)
    assert await stacks.stop(top.id, 1, begun=False) == 0
    assert await stacks.stop(top.id, 2, begun=False) == 1
    found = [await stacks.stack(one.id) for one in (top, nested, inner, other)]
    assert [one.stopped for one in found if one] == [2, 1, 3, 0]
    left = await store.job(child.id)
    assert left is not None
    assert left.state is JobState.CANCELLED


async def test_the_oldest_events_go(db: Database, stacks: PgStacks) -> None:
    stack = a_stack()
    events = [
        Event(
            id=uuid4(),
            stack=stack.id,
            resource=None,
            name=f"e{n}",
            type="OS::Heat::Stack",
            physical_id=None,
            action=Action.CREATE,
            status=Status.COMPLETE,
            reason="",
            at=1_700_000_000.0,
        )
        for n in range(5)
    ]

    async def work(conn: Connection) -> None:
        await write_rows(
            conn,
            ROWS,
            [
                Write(verb="insert", kind="stack_event", id=e.id, values=values_of(e))
                for e in events
            ],
        )

    await db.run(work)
    assert await stacks.trim_events(stack.id, 5) == 0
    assert await stacks.trim_events(stack.id, 2) == 3
    rows = await db.fetch("select name from stack_event order by seq")
    assert [row["name"] for row in rows] == ["e3", "e4"]  # in the order in which they were told


async def test_resources_are_counted_over_the_tree_each_once(
    db: Database, stacks: PgStacks
) -> None:
    top = a_stack()
    row, again = a_resource(top.id, "body"), a_resource(top.id, "body", 2)
    nested = a_stack("n", id=nested_id(row.id), root=top.id, owner=row.id)
    await put_stack(db, top)
    await put_stack(db, nested)
    await put_rows(db, row, again, a_resource(nested.id, "a"), a_resource(nested.id, "b"))
    assert await stacks.count_resources(top.id) == 3


async def test_signals_come_in_order(db: Database, stacks: PgStacks) -> None:
    row = a_resource(uuid4(), "handle")
    await put_rows(db, row)
    for n in range(3):
        await db.execute(
            "insert into stack_signal (id, resource, payload) values ($1, $2, $3)",
            uuid4(),
            row.id,
            {"n": n},
        )
    assert await stacks.signals(row.id) == [{"n": 0}, {"n": 1}, {"n": 2}]
    assert await stacks.signals(uuid4()) == []


@pytest.mark.parametrize("mode", ["force_generic_plan", "force_custom_plan"])
async def test_a_view_reads_no_rows_but_those_it_shows_though_statistics_are_old(
    db: Database, mode: str
) -> None:
    small, large = a_stack("small"), a_stack("large")
    await put_stack(db, small)
    await put_rows(db, a_resource(small.id, "a"))
    await db.execute("analyze stack_resource")
    await put_stack(db, large)
    rows = [a_resource(large.id, f"r{n}") for n in range(500)]
    await put_rows(db, *rows)
    async with db.transaction() as conn:
        await conn.execute(f"set local plan_cache_mode = {mode}")
        plan = await conn.fetch(f"explain analyze {VIEW}", large.id, rows[7].id, ["r3", "r9"])
    text = "\n".join(line[0] for line in plan)
    assert "Rows Removed" not in text, text
