"""None, Value and Delay."""

from __future__ import annotations

from typing import Any

import pytest
from tests.stacks.types.bench import T0, Bench

from holdfast.errors import InvalidInputError
from holdfast.stacks.hot import HotError
from holdfast.stacks.model import Action
from holdfast.stacks.resource import Ready, ResourceFailedError
from holdfast.stacks.types.plain import Delay, NoneResource, Value


async def test_none_is_a_placeholder_that_does_nothing():
    bench = Bench(NoneResource())
    assert bench.kind.placeholder
    assert (await bench.create()).physical_id == str(bench.row.id)
    assert await bench.update({}) == Ready()
    await bench.delete()


@pytest.mark.parametrize(
    ("kind", "given", "value"),
    [
        (None, {"a": [1]}, {"a": [1]}),
        (None, 3, 3),
        ("string", 3, "3"),
        ("string", "x", "x"),
        ("number", "3", 3),
        ("number", "3.5", 3.5),
        ("number", 7, 7),
        ("boolean", "yes", True),
        ("boolean", False, False),
        ("boolean", "off", False),
        ("comma_delimited_list", "a, b", ["a", "b"]),
        ("comma_delimited_list", ["a"], ["a"]),
        ("json", '{"a": 1}', {"a": 1}),
        ("json", {"a": 1}, {"a": 1}),
    ],
)
async def test_a_value_comes_in_its_type(kind: str | None, given: Any, value: Any):
    bench = Bench(Value(), {"value": given, "type": kind})
    await bench.create()
    assert bench.row.attributes == {"value": value}
    assert type(bench.row.attributes["value"]) is type(value)


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        ("number", "three"),
        ("number", {}),
        ("boolean", "maybe"),
        ("json", "{"),
        ("json", 3),
        ("string", []),
        ("comma_delimited_list", 5),
    ],
)
def test_what_is_not_of_the_type_is_refused(kind: str, given: Any):
    with pytest.raises(InvalidInputError, match=f"is no {kind}"):
        Bench(Value(), {"value": given, "type": kind})


def test_a_value_needs_a_value_and_a_known_type():
    with pytest.raises(HotError, match="Property value not assigned"):
        Bench(Value())
    with pytest.raises(HotError, match="allowed value"):
        Bench(Value(), {"value": 1, "type": "float"})


async def test_a_value_is_updated_in_place():
    bench = Bench(Value(), {"value": "1"})
    await bench.create()
    before = bench.row.physical_id
    assert isinstance(await bench.update({"value": "2", "type": "number"}), Ready)
    assert (bench.row.attributes, bench.row.physical_id) == ({"value": 2}, before)


async def test_a_delay_waits_in_its_actions_only():
    bench = Bench(Delay(), {"min_wait": 30, "actions": ["CREATE", "RESUME"]})
    await bench.create()
    assert bench.clock.now == T0 + 30
    await bench.do("suspend", Action.SUSPEND)
    assert bench.clock.now == T0 + 30
    await bench.do("resume", Action.RESUME)
    assert bench.clock.now == T0 + 60
    await bench.delete()
    assert bench.clock.now == T0 + 60


async def test_the_jitter_is_bounded_spread_and_the_same_when_asked_again():
    ends: set[float] = set()
    for number in range(20):
        bench = Bench(
            Delay(),
            {"min_wait": 10, "max_jitter": 4, "jitter_multiplier": 2.5},
            name=f"thing{number}",
        )
        await bench.create()
        assert len(bench.waits) == 1  # asked again, it had the same end
        assert T0 + 10 <= bench.clock.now <= T0 + 20
        ends.add(bench.clock.now)
    assert len(ends) == 20


async def test_a_delay_longer_than_the_stack_may_take_fails_at_once():
    bench = Bench(Delay(), {"min_wait": 3000, "max_jitter": 601})
    with pytest.raises(ResourceFailedError, match="3601 s, exceeds the timeout"):
        await bench.create()


@pytest.mark.parametrize("given", [{"min_wait": -1}, {"actions": ["UPDATE"]}, {"max_jitter": "x"}])
def test_a_delay_that_cannot_be_is_refused(given: dict[str, Any]):
    with pytest.raises(HotError):
        Bench(Delay(), given)
