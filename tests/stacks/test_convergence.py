"""Stacks converge: what engines make of them on virtual time (issue "Stacks", X2, X12, X13)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.stacks.house import House

from holdfast.stacks.jobs.patience import MEMORY_TRIES
from holdfast.stacks.model import Action, Status


def thing(value: Any = 1, *after: str, **properties: Any) -> dict[str, Any]:
    made: dict[str, Any] = {"type": "Test::Thing", "properties": {"value": value, **properties}}
    return {**made, "depends_on": list(after)} if after else made


def read(name: str) -> dict[str, Any]:
    return {"get_attr": [name, "value"]}


@pytest.fixture
def house() -> House:
    house = House()
    house.start("engine-1")
    house.start("engine-2")
    return house


def made(house: House) -> list[str]:
    return [key for what, key in house.world.history if what == "make"]


def test_a_stack_is_made_in_the_order_of_its_references(house: House):
    async def main() -> None:
        stack = await house.create({"a": thing(7), "b": thing(read("a")), "c": thing(1, "b")})
        [done] = await house.settled(stack)
        rows = await house.rows(stack)
        assert (done.action, done.status) == (Action.CREATE, Status.COMPLETE)
        assert rows["b"].properties["value"] == 7
        assert made(house) == [str(rows[name].id) for name in "abc"]
        assert set(rows["b"].requires) == {rows["a"].id}
        await house.check_reality()

    house.play(main())


def test_history_tells_every_resource_and_the_stack(house: House):
    async def main() -> None:
        stack = await house.create({"a": thing()})
        await house.settled(stack)
        told = [(e.name, e.status) for e in house.stacks.events(stack)]
        name = (await house.now(stack)).name
        assert told == [
            ("a", Status.IN_PROGRESS),
            ("a", Status.COMPLETE),
            (name, Status.COMPLETE),
        ]

    house.play(main())


def test_an_update_changes_replaces_adds_and_takes_away(house: House):
    async def main() -> None:
        stack = await house.create(
            {"a": thing(1), "b": thing(1, colour="red"), "c": thing(read("b")), "d": thing(4)}
        )
        await house.settled(stack)
        before = await house.rows(stack)
        await house.ask(
            stack,
            Action.UPDATE,
            {"a": thing(2), "b": thing(9, colour="blue"), "c": thing(read("b")), "e": thing(5)},
        )
        [done] = await house.settled(stack)
        rows = await house.rows(stack)
        assert (done.action, done.status) == (Action.UPDATE, Status.COMPLETE)
        assert rows["a"].id == before["a"].id
        assert rows["b"].id != before["b"].id
        assert rows["c"].id == before["c"].id
        assert rows["c"].properties["value"] == 9
        history = house.world.history
        assert history.index(("make", str(rows["b"].id))) < history.index(
            ("drop", str(before["b"].id))
        )
        await house.check_reality()

    house.play(main())


def test_what_does_not_change_is_not_touched(house: House):
    async def main() -> None:
        same = {"a": thing(1), "b": thing(read("a"))}
        stack = await house.create(same)
        await house.settled(stack)
        history = list(house.world.history)
        await house.ask(stack, Action.UPDATE, same)
        [done] = await house.settled(stack)
        assert done.status is Status.COMPLETE
        assert house.world.history == history

    house.play(main())


def test_a_failure_names_the_resource_and_lets_those_behind_it_be(house: House):
    async def main() -> None:
        house.world.fails = {"b"}
        stack = await house.create({"a": thing(), "b": thing(1, "a"), "c": thing(1, "b")})
        [done] = await house.settled(stack)
        rows = await house.rows(stack)
        assert (done.action, done.status) == (Action.CREATE, Status.FAILED)
        assert done.reason == "Resource CREATE failed: ValueError: resources.b: b cannot be"
        assert not rows["c"].exists
        assert rows["b"].properties["value"] == 1, "whoever deletes it may need what it was made of"
        await house.check_reality()

    house.play(main())


def test_a_resource_that_finds_no_memory_is_tried_again_and_fails_alone_if_it_never_does(
    house: House,
):
    async def main() -> None:
        house.world.greedy = {"a": MEMORY_TRIES, "b": 1000}
        stack = await house.create({"a": thing()})
        [done] = await house.settled(stack)
        assert done.status is Status.COMPLETE
        stack = await house.create({"b": thing(), "c": thing(1)})
        [done] = await house.settled(stack)
        assert done.status is Status.FAILED
        assert done.reason.startswith("Resource CREATE failed: MemoryError: resources.b: ")
        assert "[engine] memory_max_mb" in done.reason
        assert house.world.greedy["b"] == 1000 - MEMORY_TRIES - 1
        assert (await house.rows(stack))["c"].exists
        await house.check_reality()

    house.play(main())


def test_a_failed_stack_is_mended_by_an_update(house: House):
    async def main() -> None:
        house.world.fails = {"b"}
        stack = await house.create({"a": thing(), "b": thing(1, "a"), "c": thing(1, "b")})
        await house.settled(stack)
        a = (await house.rows(stack))["a"]
        house.world.fails = set()
        await house.ask(stack, Action.UPDATE, {"a": thing(), "b": thing(2), "c": thing(1, "b")})
        [done] = await house.settled(stack)
        assert done.status is Status.COMPLETE
        assert (await house.rows(stack))["a"].id == a.id
        await house.check_reality()

    house.play(main())


def test_a_creation_that_fails_is_rolled_back_to_nothing(house: House):
    async def main() -> None:
        house.world.fails = {"b"}
        stack = await house.create({"a": thing(), "b": thing(1, "a")}, rollback=True)
        [done] = await house.settled(stack)
        assert (done.action, done.status) == (Action.ROLLBACK, Status.COMPLETE)
        assert house.world.things == {}
        await house.check_reality()

    house.play(main())


def test_an_update_that_fails_is_rolled_back_to_what_was(house: House):
    async def main() -> None:
        stack = await house.create(
            {"a": thing(1), "b": thing(1, colour="red"), "c": thing(3)}, rollback=True
        )
        await house.settled(stack)
        before = await house.rows(stack)
        house.world.fails = {"x"}
        await house.ask(
            stack,
            Action.UPDATE,
            {"a": thing(2), "b": thing(1, colour="blue"), "x": thing(1, "a", "b")},
        )
        [done] = await house.settled(stack)
        assert (done.action, done.status) == (Action.ROLLBACK, Status.COMPLETE)
        assert {n: r.id for n, r in (await house.rows(stack)).items()} == {
            n: r.id for n, r in before.items()
        }
        await house.check_reality()

    house.play(main())


@pytest.mark.parametrize("convergence", [True, False])
def test_a_deletion_takes_users_before_what_they_use(house: House, convergence: bool):
    async def main() -> None:
        stack = await house.create(
            {"a": thing(), "b": thing(read("a")), "c": thing(1, "b")}, convergence=convergence
        )
        await house.settled(stack)
        rows = await house.rows(stack)
        await house.ask(stack, Action.DELETE)
        [done] = await house.settled(stack)
        assert (done.action, done.status) == (Action.DELETE, Status.COMPLETE)
        assert done.deleted_at is not None
        dropped = [key for what, key in house.world.history if what == "drop"]
        assert dropped == [str(rows[name].id) for name in "cba"]

    house.play(main())


def test_what_shall_be_retained_is_left_behind(house: House):
    async def main() -> None:
        stack = await house.create({"a": {**thing(), "deletion_policy": "retain"}, "b": thing()})
        await house.settled(stack)
        a = (await house.rows(stack))["a"]
        await house.ask(stack, Action.DELETE)
        [done] = await house.settled(stack)
        assert done.status is Status.COMPLETE
        assert list(house.world.things) == [str(a.id)]

    house.play(main())


def test_independent_resources_are_made_at_the_same_time(house: House):
    async def main() -> float:
        began = house.loop.time()
        await house.settled(await house.create({f"t{n}": thing(wait=10) for n in range(30)}))
        return house.loop.time() - began

    assert house.play(main()) < 13


def test_without_convergence_one_engine_makes_them_one_after_the_other(house: House):
    async def main() -> float:
        began = house.loop.time()
        stack = await house.create({f"t{n}": thing(wait=3) for n in range(5)}, convergence=False)
        [done] = await house.settled(stack)
        assert done.status is Status.COMPLETE
        await house.check_reality()
        kinds = {job.kind for job in house.store.tables.jobs.values()}
        assert "stack.resource" not in kinds
        return house.loop.time() - began

    assert 15 <= house.play(main()) < 30


def test_the_deadline_of_a_stack_fires_by_itself(house: House):
    async def main() -> None:
        stack = await house.create({"a": thing(hangs=True), "b": thing(1, "a")}, timeout_s=60.0)
        began = house.loop.time()
        [done] = await house.settled(stack)
        assert done.status is Status.FAILED
        assert "resources.a" in done.reason
        assert house.loop.time() - began < 75
        await house.ask(stack, Action.DELETE)
        [done] = await house.settled(stack)
        assert done.status is Status.COMPLETE
        await house.check_reality()

    house.play(main())


def test_a_newer_update_overtakes_one_that_hangs(house: House):
    async def main() -> None:
        stack = await house.create({"a": thing(hangs=True), "b": thing(1, "a"), "c": thing()})
        await asyncio.sleep(5)
        await house.ask(stack, Action.UPDATE, {"a": thing(2), "c": thing(3)})
        [done] = await house.settled(stack)
        assert (done.action, done.status) == (Action.UPDATE, Status.COMPLETE)
        await house.check_reality()

    house.play(main())


def test_what_must_not_be_interrupted_is_awaited_and_kept():
    house = House(interruptible=False)
    house.start("engine-1")

    async def main() -> None:
        stack = await house.create({"a": thing(1, wait=30)})
        await asyncio.sleep(5)
        await house.ask(stack, Action.UPDATE, {"a": thing(2, wait=30)})
        [done] = await house.settled(stack)
        assert done.status is Status.COMPLETE
        assert len(made(house)) == 1
        await house.check_reality()

    house.play(main())


def test_a_deletion_stops_a_creation(house: House):
    async def main() -> None:
        stack = await house.create({f"t{n}": thing(wait=600) for n in range(20)})
        await asyncio.sleep(5)
        began = house.loop.time()
        await house.ask(stack, Action.DELETE)
        [done] = await house.settled(stack)
        assert (done.action, done.status) == (Action.DELETE, Status.COMPLETE)
        assert house.loop.time() - began < 10
        await house.check_reality()

    house.play(main())


def test_a_stack_whose_work_is_stopped_says_that_it_was_cancelled(house: House):
    async def main() -> None:
        stack = await house.create({"a": thing(), "b": thing(1, "a", wait=60), "c": thing(1, "b")})
        await asyncio.sleep(10)
        await house.stacks.stop(stack, 1, begun=True)
        [done] = await house.settled(stack)
        assert done.status is Status.FAILED
        assert (await house.rows(stack))["a"].status is Status.COMPLETE
        await house.check_reality()

    house.play(main())


@pytest.mark.parametrize("action", [Action.CHECK, Action.SUSPEND, Action.RESUME])
def test_other_actions_go_over_every_resource(house: House, action: Action):
    async def main() -> None:
        stack = await house.create({"a": thing(), "b": thing(read("a"))})
        await house.settled(stack)
        await house.ask(stack, action)
        [done] = await house.settled(stack)
        assert (done.action, done.status) == (action, Status.COMPLETE)
        rows = (await house.rows(stack)).values()
        assert {(row.action, row.status) for row in rows} == {(action, Status.COMPLETE)}

    house.play(main())


# Stacks within stacks


def group(count: int, value: Any = 1) -> dict[str, Any]:
    return {"type": "Test::Group", "properties": {"count": count, "value": value}}


def test_a_body_is_made_changed_and_deleted_with_its_resource(house: House):
    async def main() -> None:
        stack = await house.create({"a": thing(5), "g": group(3, read("a")), "b": thing(1, "g")})
        [done] = await house.settled(stack)
        assert done.status is Status.COMPLETE
        assert len(house.world.things) == 5
        await house.ask(stack, Action.UPDATE, {"a": thing(6), "g": group(5, read("a"))})
        [done] = await house.settled(stack)
        assert done.status is Status.COMPLETE
        assert sorted(one["value"] for one in house.world.things.values()) == [6] * 6
        await house.check_reality()
        await house.ask(stack, Action.DELETE)
        [done] = await house.settled(stack)
        assert done.status is Status.COMPLETE
        assert house.world.things == {}
        await house.check_reality()

    house.play(main())


def test_a_failure_deep_within_is_named_from_the_top(house: House):
    async def main() -> None:
        house.world.fails = {"t1"}
        stack = await house.create({"g": group(3)})
        [done] = await house.settled(stack)
        assert done.reason == (
            "Resource CREATE failed: ValueError: resources.g.resources.t1: t1 cannot be"
        )

    house.play(main())


# Hooks and restrictions


def test_a_resource_waits_at_its_hooks_until_they_are_cleared(house: House):
    async def main() -> None:
        registry = {"resources": {"a": {"hooks": ["pre-create", "post-create"]}}}
        stack = await house.create(
            {"a": thing(), "b": thing(1, "a")}, environment={"resource_registry": registry}
        )
        for hook, made_then in (("pre-create", 0), ("post-create", 1)):
            await asyncio.sleep(30)
            row = (await house.rows(stack))["a"]
            assert row.status is Status.IN_PROGRESS
            assert row.reason == f"CREATE paused until Hook {hook} is cleared"
            assert len(made(house)) == made_then
            await house.clear_hook(stack, "a", hook)
        [done] = await house.settled(stack)
        assert done.status is Status.COMPLETE
        assert len(made(house)) == 2
        await house.check_reality()

    house.play(main())


@pytest.mark.parametrize(("restricted", "change"), [("update", {"value": 2}), ("replace", {})])
def test_what_the_environment_restricts_is_refused(
    house: House, restricted: str, change: dict[str, Any]
):
    async def main() -> None:
        registry = {"resources": {"a": {"restricted_actions": restricted}}}
        environment = {"resource_registry": registry}
        first, second = thing(1, colour="red"), thing(1, colour="red")
        second["properties"] |= change or {"colour": "blue"}
        stack = await house.create({"a": first}, environment=environment)
        await house.settled(stack)
        await house.ask(stack, Action.UPDATE, {"a": second}, environment=environment)
        [done] = await house.settled(stack)
        assert done.status is Status.FAILED
        assert done.reason.endswith(f"resources.a: {restricted} is restricted for resource.")

    house.play(main())


def test_a_failure_is_said_at_once_and_not_when_the_slowest_is_done(house: House):
    async def main() -> None:
        house.world.fails = {"b"}
        stack = await house.create({"a": thing(wait=600), "b": thing()})
        await asyncio.sleep(10)
        now = await house.now(stack)
        assert (now.status, now.reason) == (
            Status.FAILED,
            "Resource CREATE failed: ValueError: resources.b: b cannot be",
        )
        house.world.fails = set()
        await house.ask(stack, Action.UPDATE, {"a": thing(), "b": thing()})
        began = house.loop.time()
        [done] = await house.settled(stack)
        assert done.status is Status.COMPLETE
        assert house.loop.time() - began < 30
        told = [e for e in house.stacks.events(stack) if e.resource is None]
        assert [e.status for e in told] == [Status.FAILED, Status.COMPLETE]
        await house.check_reality()

    house.play(main())


def test_resources_within_count_against_the_limit_of_the_whole_x20(house: House):
    async def main() -> None:
        stack = await house.create({"g": group(1_200)})
        [done] = await house.settled(stack)
        assert done.status is Status.FAILED
        assert "at most 1000 are allowed" in done.reason
        assert house.world.things == {}

    house.play(main())
