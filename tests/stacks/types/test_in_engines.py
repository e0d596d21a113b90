"""The types under real engines, on virtual time: templates as users write them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from msgspec.structs import replace
from tests.stacks import house as houses
from tests.stacks.house import House

from holdfast.stacks.model import Action, Resource, Status
from holdfast.stacks.types import bodies, registry

BOX = """
heat_template_version: 2018-08-31
parameters:
  size: {type: number}
resources:
  name: {type: OS::Heat::RandomString, properties: {length: {get_param: size}}}
outputs:
  name: {value: {get_attr: [name, value]}}
"""


@pytest.fixture
def house(monkeypatch: pytest.MonkeyPatch) -> House:
    monkeypatch.setattr(houses, "bodies", bodies)
    house = House()
    house.registry.update(registry())
    house.start("engine-1")
    house.start("engine-2")
    return house


def of(kind: str, **properties: Any) -> dict[str, Any]:
    return {"type": kind, "properties": properties}


def group(count: int, value: Any, **more: Any) -> dict[str, Any]:
    definition = of("Test::Thing", value=value)
    return {**of("OS::Heat::ResourceGroup", count=count, resource_def=definition), **more}


async def body(house: House, row: Resource) -> dict[str, Resource]:
    """The resources of a resource's body."""
    found = await house.stacks.nested(row.id)
    assert found is not None
    return await house.rows(found.id)


async def complete(house: House, stack: Any) -> dict[str, Resource]:
    [done] = await house.settled(stack)
    assert done.status is Status.COMPLETE, done.reason
    return await house.rows(stack)


def test_values_strings_groups_and_what_refers_to_them(house: House):
    async def main() -> None:
        stack = await house.create(
            {
                "secret": of("OS::Heat::RandomString", length=8),
                "group": group(3, {"get_attr": ["secret", "value"]}),
                "nothing": of("OS::Heat::None", any={"thing": 1}),
                "all": of("OS::Heat::Value", value={"get_attr": ["group", "value"]}),
                "one": of("OS::Heat::Value", value={"get_attr": ["group", "resource.1.value"]}),
                "refs": of("OS::Heat::Value", value={"get_attr": ["group", "refs"]}),
                "ref": of("OS::Heat::Value", value={"get_resource": "secret"}),
                "null": of("OS::Heat::Value", value={"a": {"get_attr": ["nothing", "x"]}}),
            }
        )
        rows = await complete(house, stack)
        secret = rows["secret"].attributes["value"]
        inner = await body(house, rows["group"])
        assert sorted(inner) == ["0", "1", "2"]
        value = {name: row.attributes.get("value") for name, row in rows.items()}
        assert (value["all"], value["one"], value["ref"]) == ([secret] * 3, secret, secret)
        assert value["refs"] == [inner[name].physical_id for name in "012"]
        assert value["null"] == {"a": None}
        await house.check_reality()

    house.play(main())


def test_a_group_grows_rolls_and_goes_with_every_thing_made_once(house: House):
    async def main() -> None:
        policy = {
            "update_policy": {
                "rolling_update": {"max_batch_size": 2, "pause_time": 30, "min_in_service": 2}
            }
        }
        stack = await house.create({"group": group(4, "a", **policy)})
        await complete(house, stack)
        began = house.loop.time()
        await house.ask(stack, Action.UPDATE, {"group": group(4, "b", **policy)})
        rows = await complete(house, stack)
        assert house.loop.time() - began >= 30
        inner = await body(house, rows["group"])
        assert {name: row.properties["value"] for name, row in inner.items()} == dict.fromkeys(
            "0123", "b"
        )
        changed = [what for what, _ in house.world.history if what == "change"]
        assert len(changed) == 4
        await house.ask(stack, Action.DELETE, {})
        await house.settled(stack)
        assert house.world.things == {}

    house.play(main())


def test_a_group_of_which_one_failed_is_mended_and_the_others_stay(house: House):
    async def main() -> None:
        house.world.fails = {"1"}
        stack = await house.create({"group": group(3, "a")})
        [failed] = await house.settled(stack)
        assert failed.status is Status.FAILED
        assert "resources.group" in failed.reason
        before = await house.rows(stack)
        house.world.fails = set()
        await house.ask(stack, Action.UPDATE, {"group": group(3, "a")})
        rows = await complete(house, stack)
        assert rows["group"].id == before["group"].id
        assert sorted(await body(house, rows["group"])) == ["0", "1", "2"]
        await house.check_reality()

    house.play(main())


def test_a_template_is_a_type_whose_outputs_are_attributes(
    house: House, monkeypatch: pytest.MonkeyPatch
):
    async def main() -> None:
        resources = {
            "box": of("box.yaml", size=11),
            "name": of("OS::Heat::Value", value={"get_attr": ["box", "name"]}),
            "deep": of("OS::Heat::Value", value={"get_attr": ["box", "resource.name.value"]}),
        }
        plain = house.source
        monkeypatch.setattr(
            house, "source", lambda wanted, _: replace(plain(wanted), files={"box.yaml": BOX})
        )
        rows = await complete(house, await house.create(resources))
        found = rows["name"].attributes["value"]
        assert (len(found), rows["deep"].attributes["value"]) == (11, found)

    house.play(main())


def test_a_condition_waits_for_signals_across_engines_that_die(house: House):
    async def main() -> None:
        stack = await house.create(
            {
                "handle": of("OS::Heat::WaitConditionHandle"),
                "wait": of(
                    "OS::Heat::WaitCondition",
                    handle={"get_resource": "handle"},
                    timeout=600,
                    count=2,
                ),
                "after": of("OS::Heat::Value", value={"get_attr": ["wait", "data"]}),
            }
        )
        await asyncio.sleep(20)
        handle = (await house.rows(stack))["handle"]
        house.stacks.put_signal(handle.id, {"id": "a", "data": 1})
        house.loop.crash(house.processes["engine-1"])
        await asyncio.sleep(20)
        assert (await house.now(stack)).status is Status.IN_PROGRESS
        house.stacks.put_signal(handle.id, {"id": "b", "data": 2})
        rows = await complete(house, stack)
        assert rows["after"].attributes["value"] == '{"a": 1, "b": 2}'

    house.play(main())


def test_an_autoscaling_group_within_engines(house: House):
    async def main() -> None:
        definition = of("Test::Thing", value=1)
        asked = of("OS::Heat::AutoScalingGroup", resource=definition, min_size=2, max_size=5)
        stack = await house.create({"group": asked})
        rows = await complete(house, stack)
        assert len(await body(house, rows["group"])) == 2
        asked["properties"]["min_size"] = 4
        await house.ask(stack, Action.UPDATE, {"group": asked})
        rows = await complete(house, stack)
        assert sorted(await body(house, rows["group"])) == ["0", "1", "2", "3"]
        await house.check_reality()

    house.play(main())


def test_delays_take_their_time_and_no_engine(house: House):
    async def main() -> None:
        began = house.loop.time()
        delays = {f"d{n}": of("OS::Heat::Delay", min_wait=300) for n in range(50)}
        await complete(house, await house.create(delays))
        assert 300 <= house.loop.time() - began < 330

    house.play(main())
