"""TestResource does what it is told, in virtual time."""

from __future__ import annotations

import pytest
from tests.stacks.types.bench import T0, Bench

from holdfast.errors import InvalidInputError
from holdfast.stacks.hot.errors import HotError
from holdfast.stacks.resource import Ready, Replace, ResourceFailedError
from holdfast.stacks.types.testing import TestResource


async def test_it_keeps_a_value_and_waits_as_long_as_it_is_told():
    bench = Bench(TestResource(), {"value": "v", "wait_secs": 5})
    await bench.create()
    assert (bench.clock.now, bench.row.attributes) == (T0 + 5, {"output": "v"})
    await bench.update({"value": "w", "wait_secs": 5, "action_wait_secs": {"update": 7}})
    assert (bench.clock.now, bench.row.attributes) == (T0 + 12, {"output": "w"})
    await bench.delete()
    assert bench.clock.now == T0 + 17


async def test_actions_have_times_of_their_own_and_the_slow_knobs_add_to_them():
    bench = Bench(
        TestResource(),
        {
            "wait_secs": 100,
            "action_wait_secs": {"create": 1, "delete": 0},
            "constraint_prop_secs": 2,
            "attr_wait_secs": 3,
        },
    )
    await bench.create()
    assert bench.clock.now == T0 + 6
    await bench.delete()
    assert bench.clock.now == T0 + 6


async def test_it_fails_after_its_time_and_deletes_without_failing():
    bench = Bench(TestResource(), {"fail": True, "wait_secs": 4})
    with pytest.raises(ResourceFailedError, match="Test Resource failed thing"):
        await bench.create()
    assert bench.clock.now == T0 + 4
    await bench.delete()


async def test_a_change_of_value_replaces_it_only_if_told():
    bench = Bench(TestResource(), {"value": "a"})
    await bench.create()
    assert isinstance(await bench.update({"value": "b"}), Ready)
    assert isinstance(await bench.update({"value": "c", "update_replace": True}), Replace)
    same = await bench.update({"value": "c", "update_replace": True, "wait_secs": 9})
    assert isinstance(same, Ready)


async def test_an_update_that_turns_fail_on_fails():
    bench = Bench(TestResource(), {"value": "a"})
    await bench.create()
    with pytest.raises(ResourceFailedError):
        await bench.update({"value": "a", "fail": True})


async def test_minus_one_is_for_ever():
    bench = Bench(TestResource(), {"wait_secs": -1})
    with pytest.raises(AssertionError, match="never done"):
        await bench.create()
    assert bench.clock.now > T0 + 100 * 3600


async def test_for_ever_ends_with_a_deletion_or_nobody_could_take_the_stack_away():
    bench = Bench(TestResource(), {"wait_secs": -1, "action_wait_secs": {"create": 0}})
    await bench.create()
    await bench.delete()
    assert bench.clock.now == T0
    with pytest.raises(HotError, match=r"action_wait_secs\.delete: -1 is out of range"):
        Bench(TestResource(), {"action_wait_secs": {"delete": -1}})


async def test_a_check_of_what_was_never_made_fails():
    bench = Bench(TestResource())
    with pytest.raises(ResourceFailedError, match="Resource not created"):
        await bench.kind.observe(bench.context())


def test_there_is_no_client_to_poll():
    with pytest.raises(InvalidInputError, match="client_name"):
        Bench(TestResource(), {"client_name": "nova"})
