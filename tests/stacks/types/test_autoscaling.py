"""Autoscaling groups and their policies."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace
from tests.stacks.types.bench import Bench, Clock

from holdfast.errors import InvalidInputError
from holdfast.stacks.model import Action, Status
from holdfast.stacks.resource import Forward
from holdfast.stacks.types.autoscaling import AutoScalingGroup, ScalingPolicy
from holdfast.stacks.types.signalling import opens


def group(definition: str = "a", **more: Any) -> dict[str, Any]:
    resource = {"type": "T", "properties": {"image": definition}}
    return {"resource": resource, "min_size": 1, "max_size": 5, **more}


async def made(**more: Any) -> Bench:
    bench = Bench(AutoScalingGroup(), group(**more))
    await bench.create()
    return bench


def policy(bench: Bench, clock: Clock, **given: Any) -> Bench:
    asked = {"scaling_adjustment": 1, "adjustment_type": "change_in_capacity", **given}
    of = {"auto_scaling_group_id": bench.row.physical_id, **asked}
    return Bench(ScalingPolicy(), of, name="policy", clock=clock)


async def signalled(bench: Bench, **given: Any) -> bool:
    """Signal a policy of the group as the API does; whether the group kept it."""
    scaling = policy(bench, bench.clock, **given)
    forward = await scaling.kind.signal(scaling.context(), None)
    assert isinstance(forward, Forward)
    assert forward.physical_id == bench.row.physical_id
    kept = await bench.kind.signal(bench.context(), forward.payload)
    if kept is not None:
        bench.signals.append(kept)
    return kept is not None


async def test_it_begins_with_what_is_desired_or_the_least():
    assert list((await made()).body.members) == ["0"]
    bench = await made(desired_capacity=3)
    assert list(bench.body.members) == ["0", "1", "2"]
    assert bench.row.attributes["current_size"] == 3
    assert bench.row.attributes["refs"] == ["ref-0", "ref-1", "ref-2"]


async def test_a_policy_makes_it_grow_and_shrink_and_the_oldest_go_first():
    bench = await made(desired_capacity=2)
    assert await signalled(bench, scaling_adjustment=2)
    await bench.heed()
    assert list(bench.body.members) == ["0", "1", "2", "3"]
    bench.clock.now += 1
    assert await signalled(bench, scaling_adjustment=-50, adjustment_type=PERCENT)
    await bench.heed()
    assert list(bench.body.members) == ["2", "3"]
    assert await signalled(bench, scaling_adjustment=3, adjustment_type="exact_capacity")
    await bench.heed()
    assert list(bench.body.members) == ["2", "3", "4"]


PERCENT = "percent_change_in_capacity"


async def test_a_signal_counts_once_however_often_it_is_heeded():
    bench = await made(desired_capacity=1)
    await signalled(bench)
    await bench.heed()
    await bench.heed()
    await bench.heed()
    assert len(bench.body.members) == 2


async def test_bounds_hold_and_what_changes_nothing_is_not_kept():
    bench = await made(desired_capacity=4)
    await signalled(bench, scaling_adjustment=9)
    await bench.heed()
    assert len(bench.body.members) == 5
    assert not await signalled(bench, scaling_adjustment=1)
    assert not await signalled(bench, scaling_adjustment=5, adjustment_type="exact_capacity")


async def test_while_it_cools_down_policies_change_nothing():
    bench = await made(desired_capacity=1, cooldown=60)
    assert not await signalled(bench)  # its creation was a change of size too
    bench.clock.now += 61
    assert await signalled(bench)
    await bench.heed()
    bench.clock.now += 30
    assert not await signalled(bench)
    bench.clock.now += 40
    assert await signalled(bench, cooldown=600)


async def test_of_two_signals_at_once_the_second_meets_the_cooldown_of_the_first():
    bench = await made(desired_capacity=1)
    assert await signalled(bench, cooldown=60)
    assert await signalled(bench, cooldown=60)
    bench.signals.append({"data": None})  # not of a policy
    await bench.heed()
    assert len(bench.body.members) == 2


async def test_while_it_changes_signals_are_not_kept():
    bench = await made(desired_capacity=1)
    bench.row = replace(bench.row, action=Action.UPDATE, status=Status.IN_PROGRESS)
    assert not await signalled(bench)


async def test_only_policies_signal_it():
    bench = await made()
    assert bench.kind.acts_on_signals
    for payload in (None, {"status": "SUCCESS"}):
        with pytest.raises(InvalidInputError, match="by its scaling policies only"):
            await bench.kind.signal(bench.context(), payload)
    with pytest.raises(InvalidInputError, match="no adjustment"):
        await bench.kind.signal(bench.context(), {"adjustment": "more", "kind": "any"})


async def test_an_update_goes_back_to_what_is_desired_else_keeps_the_size_within_bounds():
    bench = await made(desired_capacity=2)
    await signalled(bench, scaling_adjustment=2)
    await bench.heed()
    await bench.update(group(desired_capacity=3))
    assert len(bench.body.members) == 3
    await bench.update(group(max_size=2))
    assert len(bench.body.members) == 2
    await bench.update(group(min_size=4))
    assert len(bench.body.members) == 4


async def test_a_new_definition_rolls_oldest_first_in_batches():
    rolling = {"min_in_service": 2, "max_batch_size": 1, "pause_time": 30}
    bench = await made(desired_capacity=3, rolling_updates=rolling)
    start, templates = bench.clock.now, len(bench.body.templates)
    await bench.update(group("b", desired_capacity=3, rolling_updates=rolling))
    steps = len(bench.body.templates) - templates
    assert steps == 3
    assert bench.clock.now == start + 3 * 10 + 2 * 30
    images = [row.properties["properties"]["image"] for row in bench.body.members.values()]
    assert images == ["b", "b", "b"]
    assert max(bench.body.updated_at_once[1:]) == 1


async def test_a_roll_may_need_members_beyond_its_size_for_a_while():
    rolling = {"min_in_service": 3, "max_batch_size": 2, "pause_time": 0}
    bench = await made(desired_capacity=3, rolling_updates=rolling)
    await bench.update(group("b", desired_capacity=3, rolling_updates=rolling))
    assert (max(bench.body.sizes), len(bench.body.members)) == (5, 3)
    images = {row.properties["properties"]["image"] for row in bench.body.members.values()}
    assert images == {"b"}


async def test_its_attributes():
    bench = await made(desired_capacity=3)
    assert await bench.attribute("outputs", "ip") == {str(n): f"10.0.0.{n}" for n in range(3)}
    assert await bench.attribute("outputs_list", "deep", "key", 0) == ["0", "1", "2"]
    assert await bench.attribute("resource.1") == "ref-1"
    assert await bench.attribute("resource.1.ip") == "10.0.0.1"
    bench.body.members["0"] = replace(bench.body.members["0"], status=Status.FAILED)
    assert await bench.kind.attribute(bench.context(), ["current_size"]) == 2
    assert await bench.kind.attribute(bench.context(), ["refs"]) == ["ref-1", "ref-2"]
    for wrong in ("resource.9", "resource.x", "outputs", "colour"):
        with pytest.raises(LookupError):
            await bench.kind.attribute(bench.context(), [wrong])


@pytest.mark.parametrize(
    "given",
    [{"min_size": 3, "max_size": 2}, {"desired_capacity": 9}, {"desired_capacity": 0}],
    ids=str,
)
def test_sizes_that_contradict_each_other_are_refused(given: dict[str, Any]):
    with pytest.raises(InvalidInputError, match="min_size"):
        Bench(AutoScalingGroup(), group(**given))


def test_a_step_goes_with_percentages_only():
    bench = Bench(AutoScalingGroup(), group())
    bench.row = replace(bench.row, physical_id="g")
    with pytest.raises(InvalidInputError, match="min_adjustment_step"):
        policy(bench, bench.clock, min_adjustment_step=2)
    policy(bench, bench.clock, min_adjustment_step=2, adjustment_type=PERCENT)


async def test_a_policy_has_an_address_that_its_token_opens():
    asked = {
        "auto_scaling_group_id": "g",
        "scaling_adjustment": 1,
        "adjustment_type": "exact_capacity",
    }
    bench = Bench(ScalingPolicy(), asked, call={"orchestration_url": "http://hf/v1"})
    await bench.create()
    known = bench.row.attributes
    address, _, token = known["alarm_url"].partition("?token=")
    assert address == known["signal_url"]
    assert opens(bench.row, token)
