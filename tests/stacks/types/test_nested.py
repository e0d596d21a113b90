"""Templates as types, and OS::Heat::Stack."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace
from tests.stacks.types.bench import Bench

from holdfast.errors import InvalidInputError
from holdfast.stacks.hot import HotError
from holdfast.stacks.hot.plan import NestedTemplate
from holdfast.stacks.model import Action
from holdfast.stacks.resource import Ready, ResourceFailedError
from holdfast.stacks.types import bodies
from holdfast.stacks.types.nested import NestedStackResource, TemplateResource

TEXT = """
heat_template_version: 2018-08-31
parameters:
  size: {type: number, constraints: [{range: {min: 1}}]}
  label: {type: string, default: x}
resources:
  a: {type: OS::Heat::None}
outputs:
  answer: {description: What it is, value: 42}
"""


def template() -> TemplateResource:
    return TemplateResource("lib/box.yaml", TEXT)


async def test_parameters_are_properties_and_outputs_attributes():
    bench = Bench(template(), {"size": 3})
    assert set(bench.kind.properties) == {"size", "label"}
    assert bench.kind.attributes["answer"].description == "What it is"
    done = await bench.create()
    assert bench.body.parameters == {"size": 3}  # what was not given is the template's to default
    assert bench.row.attributes == {"answer": 42}
    assert bench.kind.reference(bench.row) == done.physical_id
    assert bench.body.templates == [TEXT]


def test_properties_are_checked_as_parameters_are():
    with pytest.raises(HotError):
        Bench(template(), {"size": 0})
    with pytest.raises(HotError, match="size not assigned"):
        Bench(template(), {})


def test_a_template_is_read_once_however_many_resources_have_it():
    assert bodies(NestedTemplate("a", TEXT)) is bodies(NestedTemplate("a", TEXT))
    assert bodies(NestedTemplate("b", TEXT)).name == "b"


async def test_an_update_converges_the_same_body():
    bench = Bench(template(), {"size": 3})
    await bench.create()
    assert bench.kind.always_updates
    assert isinstance(await bench.update({"size": 4}), Ready)
    assert bench.body.parameters == {"size": 4}


async def test_the_output_stack_id_is_what_a_reference_gives():
    bench = Bench(template(), {"size": 3})
    await bench.create()
    named = replace(bench.row, attributes={"OS::stack_id": "the-server"})
    assert bench.kind.reference(named) == "the-server"


async def test_attributes_of_resources_within_can_be_read():
    bench = Bench(template(), {"size": 3})
    await bench.create()
    bench.body.members = {"a": bench.body._row("a", {"type": "T"})}
    bench.body.attributes["a", "late"] = [{"x": 1}]
    assert await bench.attribute("resource.a") == "id-a"
    assert await bench.attribute("resource.a.ip") == "10.0.0.a"
    assert await bench.attribute("resource.a", "deep", "key", 0) == "a"
    assert await bench.attribute("resource.a.late") == [{"x": 1}]
    assert await bench.attribute("resource.a.unknown") is None
    for nothing in ("resource.b", "colour", "resource"):
        with pytest.raises(LookupError):
            await bench.attribute(nothing)


async def test_a_failure_within_is_the_failure_of_the_resource():
    bench = Bench(template(), {"size": 3})
    bench.body.fails = "resources.a: no more servers"
    with pytest.raises(ResourceFailedError, match=r"resources\.a: no more servers"):
        await bench.create()


@pytest.mark.parametrize(
    "kind", [template(), TemplateResource("lost.yaml", "")], ids=["known", "lost"]
)
async def test_actions_reach_the_body_even_when_the_template_is_lost(kind: TemplateResource):
    bench = Bench(kind, {"size": 1} if kind.properties else {})
    await bench.do("observe", Action.CHECK)
    await bench.do("suspend", Action.SUSPEND)
    await bench.do("resume", Action.RESUME)
    await bench.delete()
    assert list(dict.fromkeys(bench.body.actions)) == ["CHECK", "SUSPEND", "RESUME", "DELETE"]


def stack(**more: Any) -> dict[str, Any]:
    return {"template": TEXT, "parameters": {"size": 2}, **more}


async def test_a_stack_within_has_parameters_a_time_and_outputs():
    bench = Bench(NestedStackResource(), stack(timeout=5))
    await bench.create()
    assert bench.body.timeout_s == 300.0
    assert bench.row.attributes == {"stack_name": "app-body", "outputs": {"answer": 42}}
    assert isinstance(await bench.update(stack(parameters={"size": 9})), Ready)
    assert bench.body.parameters == {"size": 9}


async def test_another_region_or_cloud_is_refused_by_name():
    for name, value in (("credential_secret_id", "s"), ("ca_cert", "c"), ("insecure", True)):
        with pytest.raises(InvalidInputError, match=f"context.{name}"):
            Bench(NestedStackResource(), stack(context={name: value}))
    away = stack(context={"region_name": "Elsewhere"})
    bench = Bench(NestedStackResource(), away, call={"region": "Here"})
    with pytest.raises(InvalidInputError, match="this one is Here: leave Elsewhere out"):
        await bench.create()
    assert bench.body.templates == []
    here = stack(context={"region_name": "Here"})
    await Bench(NestedStackResource(), here, call={"region": "Here"}).create()
