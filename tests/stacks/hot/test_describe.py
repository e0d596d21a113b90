from __future__ import annotations

import pytest

from holdfast.stacks.hot import (
    AllowedValues,
    AttributeSchema,
    Environment,
    HotError,
    Length,
    PropertySchema,
    Range,
    compile_template,
    describe_template,
    provider_template,
    schema_document,
)

TEXT = """
heat_template_version: wallaby
description: An app
parameter_groups: [{label: L, parameters: [a]}]
parameters:
  a: {type: string}
  h: {type: string, hidden: true, default: x}
resources:
  n: {type: n.yaml, properties: {p: {get_param: a}}}
"""
NESTED = "heat_template_version: wallaby\nparameters: {p: {type: number, default: 1}}\n"


def test_a_validated_template_shows_its_parameters_without_their_values():
    shown = describe_template(TEXT, files={"n.yaml": NESTED})
    assert shown == {
        "Description": "An app",
        "Parameters": {
            "a": {"Type": "String", "Description": "", "NoEcho": "false", "Label": "a"},
            "h": {
                "Type": "String",
                "Description": "",
                "NoEcho": "true",
                "Label": "h",
                "Default": "x",
            },
        },
        "ParameterGroups": [{"label": "L", "parameters": ["a"]}],
        "Environment": Environment().document(),
    }


def test_nested_templates_show_theirs_when_asked():
    shown = describe_template(TEXT, files={"n.yaml": NESTED}, show_nested=True)
    assert shown["NestedParameters"] == {
        "n": {
            "Type": "n.yaml",
            "Description": "No description",
            "Parameters": {
                "p": {
                    "Type": "Number",
                    "Description": "",
                    "NoEcho": "false",
                    "Label": "p",
                    "Default": 1,
                }
            },
        }
    }


def test_a_template_that_nests_itself_is_refused():
    text = "heat_template_version: wallaby\nresources: {n: {type: n.yaml}}\n"
    with pytest.raises(HotError, match="nested deeper than 10"):
        describe_template(text, files={"n.yaml": text}, show_nested=True)


def test_the_environments_values_are_shown():
    environment = Environment.parse({"parameters": {"a": "v"}, "parameter_defaults": {"h": "d"}})
    shown = describe_template(TEXT, files={"n.yaml": NESTED}, environment=environment)
    assert shown["Parameters"]["a"]["Value"] == "v"
    assert shown["Parameters"]["h"]["Default"] == "d"
    assert shown["Environment"]["parameters"] == {"a": "v"}


def test_a_wrong_template_is_refused():
    with pytest.raises(HotError, match=r"n\.yaml"):
        describe_template(TEXT)


PROPERTIES = {
    "s": PropertySchema("string", "A text.", required=True, constraints=(Length(1, 3, "short"),)),
    "l": PropertySchema("list", schema=PropertySchema("integer"), default=[1], update_allowed=True),
    "m": PropertySchema("map", schema={"k": PropertySchema("boolean")}, immutable=True),
    "i": PropertySchema("integer", constraints=(Range(min=1), AllowedValues((1, 2)))),
    "x": PropertySchema("any"),
}
ATTRIBUTES = {"value": AttributeSchema("The value.", "string"), "any": AttributeSchema()}


def test_a_resource_types_schema_is_shown():
    plain = {"required": False, "update_allowed": False, "immutable": False}
    assert schema_document("OS::Heat::X", PROPERTIES, ATTRIBUTES) == {
        "resource_type": "OS::Heat::X",
        "properties": {
            "s": {
                "type": "string",
                "description": "A text.",
                "required": True,
                "constraints": [{"description": "short", "length": {"min": 1, "max": 3}}],
                "update_allowed": False,
                "immutable": False,
            },
            "l": plain | {
                "type": "list", "default": [1], "update_allowed": True,
                "schema": {"*": plain | {"type": "integer"}},
            },
            "m": plain | {
                "type": "map", "immutable": True, "schema": {"k": plain | {"type": "boolean"}},
            },
            "i": plain | {
                "type": "integer",
                "constraints": [{"range": {"min": 1}}, {"allowed_values": [1, 2]}],
            },
            "x": plain | {"type": "any"},
        },
        "attributes": {"value": {"description": "The value.", "type": "string"}, "any": {}},
        "support_status": {
            "status": "SUPPORTED", "message": None, "version": None, "previous_status": None,
        },
    }  # fmt: skip
    assert schema_document("T", {}, {}, description="d")["description"] == "d"


def test_a_template_that_wraps_a_resource_type_compiles():
    made = provider_template("OS::Heat::X", PROPERTIES, ATTRIBUTES)
    assert made["resources"]["X"]["properties"]["s"] == {"get_param": "s"}
    assert made["outputs"]["value"]["value"] == {"get_attr": ["X", "value"]}
    plan = compile_template(made, strict=False)
    assert plan.schemata["i"].type == "number"
    assert plan.resources["X"].target == "OS::Heat::X"
