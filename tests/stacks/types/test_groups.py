"""ResourceGroup and ResourceChain over a body that counts its members."""

from __future__ import annotations

from typing import Any

import pytest
from tests.stacks.types.bench import T0, Bench

from holdfast.errors import InvalidInputError
from holdfast.stacks.hot import HotError, compile_template
from holdfast.stacks.hot.constraints import first_fault
from holdfast.stacks.resource import Ready, ResourceFailedError
from holdfast.stacks.types.groups import ResourceChain, ResourceGroup

DEFINITION: dict[str, Any] = {
    "type": "My::Server",
    "properties": {"name": "web-%index%", "nets": [{"ip": "10.0.%index%.1"}], "none": None},
    "metadata": {"at": "%index%"},
}


def group(count: int, definition: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {"count": count, "resource_def": definition or DEFINITION, **more}


def image(name: str) -> dict[str, Any]:
    return {"type": "My::Server", "properties": {"image": name}}


async def made(given: dict[str, Any], **more: Any) -> Bench:
    bench = Bench(ResourceGroup(), given, **more)
    await bench.create()
    return bench


async def test_each_member_has_its_number_in_its_properties_only():
    bench = await made(group(3))
    two = bench.body.members["2"].properties
    assert two["properties"] == {"name": "web-2", "nets": [{"ip": "10.0.2.1"}]}
    assert two["metadata"] == {"at": "%index%"}
    assert bench.body.made == ["0", "1", "2"]
    assert len(bench.body.templates) == 1
    assert bench.row.attributes == {
        "refs": ["ref-0", "ref-1", "ref-2"],
        "refs_map": {"0": "ref-0", "1": "ref-1", "2": "ref-2"},
        "removed_rsrc_list": [],
    }


async def test_another_variable_and_no_members_at_all():
    definition = {"type": "T", "properties": {"n": "@@@ %index%"}}
    bench = await made(group(1, definition, index_var="@@@"))
    assert bench.body.members["0"].properties["properties"] == {"n": "0 %index%"}
    empty = await made(group(0))
    assert empty.row.attributes["refs"] == []


async def test_the_templates_are_templates():
    bench = await made(group(2, {"type": "OS::Heat::None"}))
    plan = compile_template(bench.body.templates[0])
    assert set(plan.resources) == {"0", "1"}
    assert set(compile_template((await made(group(0))).body.templates[0]).resources) == set()


async def test_it_grows_and_shrinks_at_the_end():
    bench = await made(group(3))
    assert isinstance(await bench.update(group(5)), Ready)
    assert list(bench.body.members) == ["0", "1", "2", "3", "4"]
    await bench.update(group(1))
    assert list(bench.body.members) == ["0"]
    await bench.update(group(2))
    assert bench.body.made == ["0", "1", "2", "3", "4", "1"]


async def test_who_is_removed_goes_by_name_or_by_reference_and_its_name_is_never_used_again():
    bench = await made(group(3))
    policies = [{"resource_list": ["0", "ref-2"]}]
    await bench.update(group(3, removal_policies=policies))
    assert sorted(bench.body.members) == ["1", "3", "4"]
    assert bench.row.attributes["removed_rsrc_list"] == ["0", "2"]
    assert bench.row.attributes["refs"] == ["ref-1", "ref-3", "ref-4"]
    await bench.update(group(4, removal_policies=policies))
    assert sorted(bench.body.members) == ["1", "3", "4", "5"]
    await bench.update(group(2, removal_policies=[{"resource_list": [3, "nobody"]}]))
    assert sorted(bench.body.members) == ["1", "4"]
    only = {"removal_policies": [{"resource_list": ["4"]}], "removal_policies_mode": "update"}
    await bench.update(group(2, **only))
    assert sorted(bench.body.members) == ["0", "1"]


async def test_without_a_policy_a_new_definition_reaches_all_at_once():
    bench = await made(group(4, image("a")))
    await bench.update(group(4, image("b")))
    assert bench.body.updated_at_once == [4, 4]


async def test_a_rolling_update_goes_in_batches_with_pauses_and_keeps_members_in_service():
    policy = {"rolling_update": {"max_batch_size": 2, "pause_time": 60, "min_in_service": 3}}
    bench = await made(group(4, image("a")), policy=policy)
    start = bench.clock.now
    await bench.update(group(4, image("b")))
    assert bench.body.updated_at_once[1:] == [2, 1, 1] or max(bench.body.updated_at_once[1:]) <= 2
    assert max(bench.body.sizes) == 5
    images = {row.properties["properties"]["image"] for row in bench.body.members.values()}
    assert (images, sorted(bench.body.members)) == ({"b"}, ["0", "1", "2", "3"])
    changes = len(bench.body.templates) - 1
    assert bench.clock.now == start + changes * 10 + (changes - 1) * 60


async def test_only_a_new_definition_rolls():
    bench = await made(
        group(2, image("a")), policy={"rolling_update": {"max_batch_size": 1, "pause_time": 9}}
    )
    await bench.update(group(6, image("a")))
    assert bench.body.updated_at_once == [2, 4]


async def test_batch_create_makes_so_many_at_once():
    policy = {"batch_create": {"max_batch_size": 2, "pause_time": 30}}
    bench = await made(group(5), policy=policy)
    assert bench.body.sizes == [2, 4, 5]
    assert bench.body.updated_at_once == [2, 2, 1]
    assert bench.clock.now == T0 + 3 * 10 + 2 * 30
    assert bench.body.made == ["0", "1", "2", "3", "4"]


async def test_pauses_longer_than_the_stack_may_take_are_refused():
    with pytest.raises(ResourceFailedError, match="will result in stack update timeout"):
        await made(group(3), policy={"batch_create": {"pause_time": 1800}})


@pytest.mark.parametrize(
    "policy", [{"max_batch_size": 0}, {"pause_time": "soon"}, {"min_in_service": -1}, 3]
)
async def test_a_policy_that_cannot_be_is_refused_by_name(policy: Any):
    with pytest.raises(InvalidInputError, match="batch_create"):
        await made(group(3), policy={"batch_create": policy})


async def test_attributes_of_members_as_lists_maps_and_one_by_one():
    bench = await made(group(11, {"type": "T"}))
    assert (await bench.attribute("ip"))[9:] == ["10.0.0.9", "10.0.0.10"]
    assert (await bench.attribute("deep", "key", 0))[:2] == ["0", "1"]
    assert (await bench.attribute("attributes", "ip"))["3"] == "10.0.0.3"
    assert await bench.attribute("resource.2") == "ref-2"
    assert await bench.attribute("resource.2.ip") == "10.0.0.2"
    assert await bench.attribute("resource.2", "deep", "key") == ["2"]
    assert await bench.attribute("refs", 1) == "ref-1"
    assert await bench.attribute("refs_map", "4") == "ref-4"
    assert await bench.attribute("unheard_of") == [None] * 11
    for wrong in (("resource.99",), ("resource.99.ip",), ("attributes",)):
        with pytest.raises(LookupError):
            await bench.attribute(*wrong)


def test_what_is_no_group_is_refused():
    for given in ({}, group(-1), group(1, index_var="@"), group(1, {"properties": {}})):
        with pytest.raises(HotError):
            Bench(ResourceGroup(), given)


async def test_deleting_a_group_deletes_its_body():
    bench = await made(group(2))
    await bench.delete()
    assert set(bench.body.actions) == {"DELETE"}


def chain(*kinds: str, **more: Any) -> dict[str, Any]:
    return {"resources": list(kinds), "resource_properties": {"a": 1}, **more}


async def test_a_chain_is_made_one_after_the_other():
    bench = Bench(ResourceChain(), chain("A", "B", "C"))
    await bench.create()
    resources = bench.body.templates[0]["resources"]
    assert resources == {
        "0": {"type": "A", "properties": {"a": 1}},
        "1": {"type": "B", "properties": {"a": 1}, "depends_on": ["0"]},
        "2": {"type": "C", "properties": {"a": 1}, "depends_on": ["1"]},
    }
    assert bench.row.attributes == {"refs": ["ref-0", "ref-1", "ref-2"]}
    assert await bench.attribute("ip") == ["10.0.0.0", "10.0.0.1", "10.0.0.2"]
    assert await bench.attribute("attributes", "ip") == {str(n): f"10.0.0.{n}" for n in range(3)}


async def test_a_concurrent_chain_has_no_order():
    bench = Bench(ResourceChain(), chain("A", "B", concurrent=True))
    await bench.create()
    assert all("depends_on" not in one for one in bench.body.templates[0]["resources"].values())
    await bench.update(chain("A", concurrent=True))
    assert list(bench.body.members) == ["0"]


def test_a_chain_is_of_names():
    with pytest.raises(InvalidInputError, match="a text, not 3"):
        Bench(ResourceChain(), {"resources": [3]})


def test_a_group_of_millions_is_refused_before_anybody_counts_to_it():
    schema = ResourceGroup().properties["count"]
    assert first_fault(schema.constraints, 10_000, {}) is None
    assert first_fault(schema.constraints, 10_001, {}) is not None
