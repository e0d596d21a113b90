from __future__ import annotations

import pytest
from tests.stacks.hot.language import NEWEST

from holdfast.stacks.hot import HotError, Limits
from holdfast.stacks.hot.template import read_template

WEB = {"type": "OS::Heat::None"}


def read(version=NEWEST, limits=None, **sections):
    return read_template({"heat_template_version": version} | sections, limits or Limits())


def test_empty_sections_are_empty():
    read_one = read(
        parameters=None, resources=None, outputs={}, conditions=None, parameter_groups=None
    )
    assert (read_one.resources, read_one.outputs, read_one.schemata) == ({}, {}, {})


@pytest.mark.parametrize("description", [None, "text", 5, "2013-05-23"])
def test_a_description_is_text(description):
    assert read(description=description).description == (
        "" if description is None else str(description)
    )


@pytest.mark.parametrize(
    "section", ["Resources", "resource", "mappings", "Parameters", "extra", "x-mine"]
)
def test_unknown_sections_are_named(section):
    with pytest.raises(HotError, match=f"The template section is invalid: {section}") as caught:
        read_template({"heat_template_version": NEWEST, section: {}}, Limits())
    assert caught.value.kind == "InvalidTemplateSection"


@pytest.mark.parametrize(("version", "has"), [("2016-04-08", False), ("2016-10-14", True)])
def test_conditions_are_a_section_since_2016_10_14(version, has):
    if has:
        assert read(version, conditions={"a": True}).conditions == {"a": True}
    else:
        with pytest.raises(HotError, match="section is invalid: conditions"):
            read(version, conditions={})


@pytest.mark.parametrize("section", ["parameters", "resources", "outputs", "conditions"])
@pytest.mark.parametrize("content", ["x", [], 5, [{"a": 1}], True])
def test_sections_are_maps(section, content):
    with pytest.raises(HotError, match=f'"{section}" must be a map'):
        read_template({"heat_template_version": NEWEST, section: content}, Limits())


@pytest.mark.parametrize(
    ("definition", "says"),
    [
        (None, "Resources must contain Resource"),
        ("OS::Heat::None", r"Found a \[string\] instead"),
        ([], r"Found a \[list\] instead"),
        ({}, "must contain a type key"),
        ({"properties": {}}, "must contain a type key"),
        ({"type": None}, "must contain a type key"),
        ({"type": ""}, "must contain a type key"),
        ({"type": 5}, "type is not a string"),
        ({"type": {"get_param": "x"}}, "type is not a string"),
        (WEB | {"Properties": {}}, '"Properties" is not a valid keyword inside a resource'),
        (WEB | {"depend_on": "x"}, '"depend_on" is not a valid keyword'),
        (WEB | {"description": ["x"]}, "must be a string"),
    ],
)
def test_resources_are_well_formed(definition, says):
    with pytest.raises(HotError, match=says) as caught:
        read(resources={"web": definition})
    assert caught.value.path[:2] == ("resources", "web")


@pytest.mark.parametrize("key", ["external_id", "condition"])
def test_some_keys_of_resources_came_with_conditions(key):
    assert read(resources={"web": WEB | {key: None}})
    with pytest.raises(HotError, match=f'"{key}" is not a valid keyword'):
        read("2016-04-08", resources={"web": WEB | {key: None}})


@pytest.mark.parametrize("name", ["", "a/b", "x" * 256])
def test_a_resources_name_is_one(name):
    with pytest.raises(HotError, match="cannot be the name of a resource"):
        read(resources={name: WEB})


@pytest.mark.parametrize(
    ("definition", "says"),
    [
        (None, "must be a map"),
        ("x", "Found a string instead"),
        ([], "Found a list instead"),
        ({}, "must contain a value key"),
        ({"description": "x"}, "must contain a value key"),
        ({"Value": 1}, '"Value" is not a valid keyword inside an output'),
        ({"value": 1, "type": "string"}, '"type" is not a valid keyword'),
        ({"value": 1, "description": {}}, "must be a string"),
    ],
)
def test_outputs_are_well_formed(definition, says):
    with pytest.raises(HotError, match=says) as caught:
        read(outputs={"o": definition})
    assert caught.value.path[:2] == ("outputs", "o")


def test_a_condition_of_an_output_came_with_conditions():
    assert read(outputs={"o": {"value": 1, "condition": True}})
    with pytest.raises(HotError, match='"condition" is not a valid keyword'):
        read("2016-04-08", outputs={"o": {"value": 1, "condition": True}})


PARAMETERS = {"a": {"type": "string"}, "b": {"type": "string"}}


def test_parameter_groups_are_kept():
    groups = [{"label": "L", "description": "d", "parameters": ["b", "a"]}, {"parameters": []}]
    assert read(parameters=PARAMETERS, parameter_groups=groups).parameter_groups == tuple(groups)


@pytest.mark.parametrize(
    ("groups", "says"),
    [
        ("x", "should be a list"),
        ({"a": 1}, "should be a list"),
        (["x"], "should be a map"),
        ([{"label": "x"}], "must be provided for each parameter group"),
        ([{"parameters": "a"}], "should be a list"),
        ([{"parameters": {"a": 1}}], "should be a list"),
        ([{"parameters": ["a", "a"]}], "The a parameter must be assigned to one"),
        ([{"parameters": ["a"]}, {"parameters": ["a"]}], "one parameter group only"),
        ([{"parameters": ["z"]}], "grouped parameter z does not reference a valid parameter"),
        ([{"parameters": [5]}], "does not reference"),
    ],
)
def test_parameter_groups_are_well_formed(groups, says):
    with pytest.raises(HotError, match=f"Parameter Groups error: .*{says}"):
        read(parameters=PARAMETERS, parameter_groups=groups)


@pytest.mark.parametrize(
    ("version", "key", "has"),
    [("2018-03-02", "tags", True), ("2017-09-01", "tags", False)],
)
def test_tags_of_parameters_came_with_2018_03_02(version, key, has):
    parameters = {"a": {"type": "string", key: ["x"]}}
    if has:
        assert read(version, parameters=parameters).schemata["a"].tags == ("x",)
    else:
        with pytest.raises(HotError, match=r"parameters\.a: Invalid key 'tags'"):
            read(version, parameters=parameters)


@pytest.mark.parametrize(("version", "has"), [("2017-02-24", True), ("2016-10-14", False)])
def test_modulo_came_with_2017_02_24(version, has):
    constraints = [{"modulo": {"step": 2, "offset": 0}}]
    parameters = {"a": {"type": "number", "constraints": constraints}}
    if has:
        assert read(version, parameters=parameters)
    else:
        with pytest.raises(HotError, match="Invalid key 'modulo'"):
            read(version, parameters=parameters)


def test_resources_are_counted():
    assert read(limits=Limits(resources_max=2), resources={"a": WEB, "b": WEB})
    with pytest.raises(HotError, match=r"the template has 2, the limit is 1\.") as caught:
        read(limits=Limits(resources_max=1), resources={"a": WEB, "b": WEB})
    assert caught.value.kind == "RequestLimitExceeded"
