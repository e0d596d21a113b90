from __future__ import annotations

import pytest

from holdfast.stacks.hot import UNRESOLVED, HotError
from holdfast.stacks.hot.parameters import (
    as_text,
    check_custom,
    described,
    read_schema,
    refuse_immutable,
    resolve_parameters,
)


def schema(kind, **more):
    return read_schema("p", {"type": kind} | more)


@pytest.mark.parametrize(
    ("kind", "given", "value"),
    [
        ("string", "x", "x"),
        ("string", "", ""),
        ("string", 5, "5"),
        ("string", 1.5, "1.5"),
        ("string", True, "True"),
        ("number", 5, 5),
        ("number", "5", 5),
        ("number", "-5", -5),
        ("number", "5.5", 5.5),
        ("number", 1e3, 1000.0),
        ("number", "1e3", 1000.0),
        ("number", 0, 0),
        ("boolean", True, True),
        ("boolean", False, False),
        *(
            ("boolean", word, True)
            for word in ("true", "True", "TRUE", "t", "yes", "y", "on", "1", 1, " true ")
        ),
        *(("boolean", word, False) for word in ("false", "F", "no", "n", "off", "0", 0)),
        ("comma_delimited_list", "a,b", ["a", "b"]),
        ("comma_delimited_list", "", []),
        ("comma_delimited_list", "a", ["a"]),
        ("comma_delimited_list", "a, b,", ["a", " b", ""]),
        ("comma_delimited_list", ["a", 1, True], ["a", "1", "True"]),
        ("comma_delimited_list", [], []),
        ("json", {"a": 1}, {"a": 1}),
        ("json", [1, {"a": 2}], [1, {"a": 2}]),
        ("json", '{"a": [1]}', {"a": [1]}),
        ("json", "[1]", [1]),
        ("json", "{}", {}),
        ("json", "5", 5),
        ("json", "", ""),
    ],
)
def test_a_value_becomes_of_its_type(kind, given, value):
    made = schema(kind).value_of(given)
    assert made == value
    assert type(made) is type(value)


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        ("string", ["a"]),
        ("string", {"a": 1}),
        ("number", "x"),
        ("number", ""),
        ("number", "nan"),
        ("number", "inf"),
        ("number", True),
        ("number", [1]),
        ("number", {"a": 1}),
        ("boolean", "maybe"),
        ("boolean", ""),
        ("boolean", 2),
        ("boolean", ["true"]),
        ("comma_delimited_list", 5),
        ("comma_delimited_list", {"a": 1}),
        ("comma_delimited_list", True),
        ("json", "{"),
        ("json", "a: 1"),
        ("json", "[" * 5000),
        ("json", "[" * 100 + "]" * 100),
    ],
)
def test_a_value_of_another_type_is_refused(kind, given):
    with pytest.raises(HotError, match=r"Parameter 'p' is invalid|nested deeper"):
        schema(kind).value_of(given)


@pytest.mark.parametrize(
    ("kind", "constraint", "fits", "breaks"),
    [
        ("number", {"range": {"min": 1, "max": 3}}, ["1", 2, 3.0], ["0", 4]),
        ("number", {"modulo": {"step": 2, "offset": 0}}, ["2", 4], ["1"]),
        ("number", {"allowed_values": ["1", 2]}, [1, "2", 1.0], [3]),
        ("string", {"length": {"min": 2}}, ["ab", 55], ["a", 5]),
        ("string", {"allowed_values": ["a", 1]}, ["a", "1", 1], ["b"]),
        ("string", {"allowed_pattern": "[a-z]+"}, ["abc"], ["ABC", "ab1"]),
        ("boolean", {"allowed_values": [True]}, ["true", "yes"], ["no"]),
        ("boolean", {"allowed_values": ["yes"]}, [True], [False]),
        ("comma_delimited_list", {"length": {"max": 2}}, ["a,b", []], ["a,b,c"]),
        ("comma_delimited_list", {"allowed_values": ["a", "b"]}, ["a,b", "a"], ["a,c"]),
        ("json", {"length": {"min": 1}}, [{"a": 1}, "[1]"], [{}, "[]"]),
    ],
)
def test_constraints_hold_for_the_value_as_its_type(kind, constraint, fits, breaks):
    one = schema(kind, constraints=[constraint])
    for value in fits:
        one.value_of(value)
    for value in breaks:
        with pytest.raises(HotError, match="Parameter 'p' is invalid"):
            one.value_of(value)


@pytest.mark.parametrize(
    ("definition", "says"),
    [
        (None, "expected a mapping"),
        ("string", "expected a mapping"),
        ([], "expected a mapping"),
        ({}, "Missing parameter type"),
        ({"type": None}, "Missing parameter type"),
        ({"type": "String"}, r"Invalid type \(String\), it must be one of string, number"),
        ({"type": "list"}, "Invalid type"),
        ({"type": ["string"]}, "Invalid type"),
        ({"type": "string", "defaults": 1}, "Invalid key 'defaults'"),
        ({"type": "string", "Default": 1}, "Invalid key 'Default'"),
        ({"type": "string", "constraints": {"length": {"min": 1}}}, "expected a list"),
        ({"type": "string", "constraints": "x"}, "expected a list"),
        (
            {"type": "string", "constraints": [{"range": {"min": 1}}]},
            "Range constraint invalid for string",
        ),
        ({"type": "string", "constraints": [{"modulo": {"step": 2, "offset": 1}}]}, "Modulo"),
        ({"type": "number", "constraints": [{"length": {"min": 1}}]}, "Length constraint invalid"),
        ({"type": "number", "constraints": [{"allowed_pattern": "x"}]}, "AllowedPattern"),
        ({"type": "boolean", "constraints": [{"length": {"min": 1}}]}, "Length"),
        ({"type": "json", "constraints": [{"allowed_values": ["a"]}]}, "AllowedValues"),
        ({"type": "json", "constraints": [{"custom_constraint": "x"}]}, "CustomConstraint"),
        ({"type": "comma_delimited_list", "constraints": [{"allowed_pattern": "x"}]}, "Pattern"),
        ({"type": "string", "constraints": [{}]}, "No constraint expressed"),
        ({"type": "string", "hidden": "perhaps"}, "hidden of parameter p must be true or false"),
        ({"type": "string", "immutable": []}, "immutable of parameter p"),
        ({"type": "string", "description": ["x"]}, "description of parameter p must be a string"),
        ({"type": "string", "label": {}}, "label of parameter p"),
        ({"type": "string", "tags": "a"}, "Tags property should be a list"),
        ({"type": "number", "default": "x"}, "Invalid default"),
        ({"type": "boolean", "default": "x"}, "Invalid default"),
        ({"type": "json", "default": "{"}, "Invalid default"),
        ({"type": "comma_delimited_list", "default": 5}, "Invalid default"),
        ({"type": "string", "default": {"a": 1}}, "Invalid default"),
        (
            {"type": "number", "default": 5, "constraints": [{"range": {"max": 4}}]},
            "Invalid default 5",
        ),
        (
            {"type": "string", "default": "", "constraints": [{"length": {"min": 1}}]},
            "Invalid default",
        ),
    ],
)
def test_a_wrong_definition_is_refused(definition, says):
    with pytest.raises(HotError, match=says) as caught:
        read_schema("p", definition)
    assert caught.value.kind == "InvalidSchemaError"


@pytest.mark.parametrize(
    ("flag", "truth"), [(True, True), ("true", True), ("no", False), (None, False)]
)
def test_flags_are_truth_values_or_words_for_them(flag, truth):
    assert schema("string", hidden=flag).hidden is truth
    assert schema("string", immutable=flag).immutable is truth


def test_tags_and_modulo_can_be_withheld():
    with pytest.raises(HotError, match="Invalid key 'tags'"):
        read_schema("p", {"type": "string", "tags": ["a"]}, with_tags=False)
    with pytest.raises(HotError, match="Invalid key 'modulo'"):
        read_schema(
            "p",
            {"type": "number", "constraints": [{"modulo": {"step": 2, "offset": 1}}]},
            with_modulo=False,
        )


SCHEMATA = {
    "a": schema("number", default=1),
    "b": schema("string"),
    "c": schema("json", default={}),
}


@pytest.mark.parametrize(
    ("given", "defaults", "values"),
    [
        ({"b": "x"}, {}, {"a": 1, "b": "x", "c": {}}),
        ({"a": 2, "b": "x"}, {"a": 3}, {"a": 2, "b": "x", "c": {}}),
        ({}, {"a": "3", "b": "d"}, {"a": 3, "b": "d", "c": {}}),
        ({"a": None, "b": "x"}, {}, {"a": 1, "b": "x", "c": {}}),
        ({"b": "", "a": 0}, {"b": "d"}, {"a": 0, "b": "", "c": {}}),
        ({"b": "x"}, {"unknown": 1}, {"a": 1, "b": "x", "c": {}}),
    ],
)
def test_given_wins_over_the_environments_default_over_the_templates(given, defaults, values):
    assert resolve_parameters(SCHEMATA, given, defaults) == values


def test_a_parameter_without_a_value_is_named():
    with pytest.raises(HotError, match=r"The Parameter \(b\) was not provided\.") as caught:
        resolve_parameters(SCHEMATA, {}, {})
    assert caught.value.kind == "UserParameterMissing"
    assert resolve_parameters(SCHEMATA, {}, {}, strict=False)["b"] is UNRESOLVED


def test_a_parameter_that_is_not_there_is_named():
    with pytest.raises(
        HotError, match=r"The Parameter \(z\) was not defined in template\."
    ) as caught:
        resolve_parameters(SCHEMATA, {"b": "x", "z": 1}, {})
    assert caught.value.kind == "UnknownUserParameter"


def test_a_default_of_the_environment_is_checked_as_a_value():
    with pytest.raises(HotError, match="is invalid"):
        resolve_parameters(SCHEMATA, {"b": "x"}, {"a": "no number"})


def test_what_is_not_known_yet_goes_in_unchecked():
    values = resolve_parameters(SCHEMATA, {"a": UNRESOLVED, "b": "x", "c": {"k": UNRESOLVED}}, {})
    assert (values["a"], values["c"]) == (UNRESOLVED, UNRESOLVED)


def test_custom_constraints_that_nobody_supplies_are_named_with_those_there_are():
    one = schema("string", default="x", constraints=[{"custom_constraint": "nova.flavor"}])
    with pytest.raises(HotError, match=r'"nova\.flavor" does not exist here \(available: none\)'):
        check_custom({"p": one}, {})
    checkers = {"holdfast.node": lambda _value: "no such node", "a.b": lambda _value: None}
    with pytest.raises(HotError, match=r"available: a\.b, holdfast\.node"):
        check_custom({"p": one}, checkers)


def test_custom_constraints_are_asked_about_values():
    one = schema("string", constraints=[{"custom_constraint": "even"}])
    checkers = {"even": lambda value: None if len(value) % 2 == 0 else "it is odd"}
    check_custom({"p": one}, checkers)
    assert one.value_of("ab", checkers) == "ab"
    with pytest.raises(HotError, match="Parameter 'p' is invalid: it is odd"):
        one.value_of("abc", checkers)


def test_immutable_parameters_keep_their_values_through_updates():
    schemata = {
        "a": schema("string", immutable=True),
        "b": schema("string"),
        "c": schema("json", immutable=True),
    }
    refuse_immutable(schemata, {"a": "1", "b": "1"}, {"a": "1", "b": "2", "c": {}})
    with pytest.raises(HotError, match="immutable and may not be updated: a, c") as caught:
        refuse_immutable(schemata, {"a": "1", "c": {}}, {"a": "2", "b": "2", "c": {"x": 1}})
    assert caught.value.kind == "ImmutableParameterModified"


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        ("string", "x", "x"),
        ("number", 5, "5"),
        ("boolean", True, "True"),
        ("comma_delimited_list", ["a", "b"], "a,b"),
        ("json", {"a": [1]}, '{"a": [1]}'),
    ],
)
def test_a_stack_shows_its_parameters_as_text(kind, value, text):
    assert as_text(schema(kind), value) == text
    assert as_text(schema(kind, hidden=True), value) == "******"


DESCRIBED = {"Type": "String", "Description": "", "NoEcho": "false", "Label": "p"}


@pytest.mark.parametrize(
    ("definition", "shown"),
    [
        ({"type": "string"}, {}),
        ({"type": "number"}, {"Type": "Number"}),
        ({"type": "comma_delimited_list"}, {"Type": "CommaDelimitedList"}),
        ({"type": "json"}, {"Type": "Json"}),
        ({"type": "boolean"}, {"Type": "Boolean"}),
        ({"type": "string", "description": "d"}, {"Description": "d"}),
        ({"type": "string", "label": "L"}, {"Label": "L"}),
        ({"type": "string", "hidden": True}, {"NoEcho": "true"}),
        ({"type": "string", "default": "x"}, {"Default": "x"}),
        ({"type": "string", "default": ""}, {"Default": ""}),
        ({"type": "string", "tags": ["t"]}, {"Tags": ["t"]}),
        (
            {"type": "string", "constraints": [{"length": {"min": 1, "max": 2}}]},
            {"MinLength": 1, "MaxLength": 2},
        ),
        (
            {"type": "number", "constraints": [{"range": {"min": 1}}]},
            {"Type": "Number", "MinValue": 1},
        ),
        (
            {"type": "number", "constraints": [{"range": {"max": 1}}]},
            {"Type": "Number", "MaxValue": 1},
        ),
        (
            {"type": "number", "constraints": [{"modulo": {"step": 2, "offset": 1}}]},
            {"Type": "Number", "Step": 2, "Offset": 1},
        ),
        ({"type": "string", "constraints": [{"allowed_values": ["a"]}]}, {"AllowedValues": ["a"]}),
        ({"type": "string", "constraints": [{"allowed_pattern": "a"}]}, {"AllowedPattern": "a"}),
        (
            {"type": "string", "constraints": [{"custom_constraint": "a"}]},
            {"CustomConstraint": "a"},
        ),
        (
            {
                "type": "string",
                "constraints": [
                    {"length": {"min": 1}, "description": "one"},
                    {"allowed_pattern": "a", "description": "two"},
                ],
            },
            {"MinLength": 1, "AllowedPattern": "a", "ConstraintDescription": "one two"},
        ),
    ],
)
def test_template_validate_prints_a_schema_in_cloudformations_casing(definition, shown):
    assert described(read_schema("p", definition), {}, None) == DESCRIBED | shown


def test_template_validate_prints_the_environments_default_and_the_value():
    one = schema("string", default="x")
    assert described(one, {"p": "y"}, "z") == DESCRIBED | {"Default": "y", "Value": "z"}
