from __future__ import annotations

import pytest
from tests.stacks.hot.language import Made

from holdfast.stacks.hot import (
    NOTHING_YET,
    UNRESOLVED,
    AllowedPattern,
    AllowedValues,
    CustomConstraint,
    HotError,
    Length,
    PropertySchema,
    Range,
    attributes_of_template,
    changes,
    compile_template,
    properties_of_template,
    validate_and_resolve,
)
from holdfast.stacks.hot.values import Literal

HERE = ("resources", "r", "properties")


def checked(schema, value, **more):
    return validate_and_resolve(
        {"p": schema}, Literal({"p": value}), NOTHING_YET, path=HERE, **more
    )["p"]


@pytest.mark.parametrize(
    ("kind", "given", "value"),
    [
        ("string", "x", "x"),
        ("string", 5, "5"),
        ("string", 1.5, "1.5"),
        ("string", True, "True"),
        ("string", "", ""),
        ("integer", 5, 5),
        ("integer", "5", 5),
        ("integer", "-5", -5),
        ("integer", 5.0, 5),
        ("number", 1.5, 1.5),
        ("number", "1.5", 1.5),
        ("number", "2", 2),
        ("number", 0, 0),
        ("boolean", True, True),
        ("boolean", False, False),
        ("boolean", "true", True),
        ("boolean", "FALSE", False),
        ("map", {"a": [1]}, {"a": [1]}),
        ("map", {}, {}),
        ("list", ["a", {"b": 1}], ["a", {"b": 1}]),
        ("list", [], []),
        ("any", {"a": 1}, {"a": 1}),
        ("any", [1], [1]),
        ("any", "x", "x"),
        ("any", 5, 5),
    ],
)
def test_a_property_becomes_of_its_type(kind, given, value):
    made = checked(PropertySchema(kind), given)
    assert made == value
    assert type(made) is type(value)


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        ("string", ["x"]),
        ("string", {"a": 1}),
        ("integer", "x"),
        ("integer", 1.5),
        ("integer", "1.5"),
        ("integer", True),
        ("integer", [1]),
        ("integer", ""),
        ("number", "x"),
        ("number", "nan"),
        ("number", True),
        ("number", {}),
        ("boolean", "yes"),
        ("boolean", 1),
        ("boolean", 0),
        ("boolean", ["true"]),
        ("boolean", {}),
        ("map", "x"),
        ("map", ["x"]),
        ("map", 5),
        ("list", "a,b"),
        ("list", {"a": 1}),
        ("list", 5),
    ],
)
def test_a_property_of_another_type_is_refused_with_its_path(kind, given):
    with pytest.raises(
        HotError, match=r"^Property error: resources\.r\.properties\.p: .* (is not|must be)"
    ):
        checked(PropertySchema(kind), given)


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        (PropertySchema("string"), None),
        (PropertySchema("string", default="d"), "d"),
        (PropertySchema("integer", default=0), 0),
        (PropertySchema("boolean", default=False), False),
        (PropertySchema("list", default=["a"]), ["a"]),
        (PropertySchema("map", schema={"x": PropertySchema("string", default="d")}), None),
        (PropertySchema("string", required=True, default="d"), "d"),
    ],
)
@pytest.mark.parametrize("given", [{}, {"p": None}])
def test_what_is_not_given_or_null_is_the_default(schema, value, given):
    assert validate_and_resolve({"p": schema}, Literal(given), NOTHING_YET) == {"p": value}


@pytest.mark.parametrize("given", [{}, {"p": None}])
def test_a_required_property_is_missed(given):
    with pytest.raises(
        HotError, match=r"^Property error: resources\.r\.properties: Property p not assigned$"
    ):
        validate_and_resolve(
            {"p": PropertySchema("string", required=True)}, Literal(given), NOTHING_YET, path=HERE
        )


def test_an_unknown_property_is_named():
    with pytest.raises(
        HotError, match=r"^Property error: resources\.r\.properties: Unknown Property q$"
    ):
        validate_and_resolve(
            {"p": PropertySchema("string")}, Literal({"q": 1}), NOTHING_YET, path=HERE
        )


NESTED = PropertySchema(
    "list",
    schema=PropertySchema(
        "map",
        schema={
            "name": PropertySchema("string", required=True),
            "size": PropertySchema("integer", default=1, constraints=(Range(1, 9),)),
            "tags": PropertySchema("list", schema=PropertySchema("string")),
        },
    ),
)


def test_nested_schemata_are_followed():
    assert checked(NESTED, [{"name": "a"}, {"name": 5, "size": "2", "tags": [1]}]) == [
        {"name": "a", "size": 1, "tags": None},
        {"name": "5", "size": 2, "tags": ["1"]},
    ]


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ([{}], r"properties\.p\[0\]: Property name not assigned"),
        ([{"name": "a"}, {"name": []}], r"properties\.p\[1\]\.name: Value must be a string"),
        ([{"name": "a", "size": 10}], r"properties\.p\[0\]\.size: 10 is out of range"),
        ([{"name": "a", "tags": [{}]}], r"properties\.p\[0\]\.tags\[0\]: "),
        ([{"name": "a", "x": 1}], r"properties\.p\[0\]: Unknown Property x"),
        (["a"], r"properties\.p\[0\]: .* is not a map"),
    ],
)
def test_faults_inside_are_placed(value, says):
    with pytest.raises(HotError, match=says):
        checked(NESTED, value)


@pytest.mark.parametrize(
    ("schema", "fits", "breaks"),
    [
        (PropertySchema("integer", constraints=(Range(1, 3),)), "2", "4"),
        (PropertySchema("string", constraints=(Length(max=2),)), "ab", "abc"),
        (PropertySchema("string", constraints=(AllowedValues(("a", "b")),)), "a", "c"),
        (PropertySchema("string", constraints=(AllowedPattern("[a-z]+"),)), "a", "A"),
        (PropertySchema("list", constraints=(Length(1),)), ["a"], []),
        (PropertySchema("string", constraints=(CustomConstraint("even"),)), "ab", "a"),
    ],
)
def test_constraints_of_properties(schema, fits, breaks):
    checkers = {"even": lambda value: None if len(value) % 2 == 0 else "odd"}
    assert checked(schema, fits, checkers=checkers) is not None
    with pytest.raises(HotError, match=r"^Property error: resources\.r\.properties\.p: "):
        checked(schema, breaks, checkers=checkers)


def test_what_is_not_known_yet_is_left_unchecked():
    plan = compile_template(
        {
            "heat_template_version": "2021-04-16",
            "resources": {
                "a": {"type": "T"},
                "r": {
                    "type": "T",
                    "properties": {
                        "size": {"get_attr": ["a", "size"]},
                        "list": [{"name": {"get_resource": "a"}, "tags": {"get_attr": ["a", "x"]}}],
                    },
                },
            },
        }
    )
    schemata = {
        "size": PropertySchema("integer", constraints=(Range(1),)),
        "list": PropertySchema(NESTED.type, schema=NESTED.schema, constraints=(Length(1),)),
    }
    tree = plan.resources["r"].properties
    assert validate_and_resolve(schemata, tree, NOTHING_YET) == {
        "size": UNRESOLVED,
        "list": [{"name": UNRESOLVED, "size": 1, "tags": UNRESOLVED}],
    }
    made = Made({"a": {"size": "4", "x": ["t"]}})
    assert validate_and_resolve(schemata, tree, made) == {
        "size": 4,
        "list": [{"name": "id-of-a", "size": 1, "tags": ["t"]}],
    }
    with pytest.raises(HotError, match="out of range"):
        validate_and_resolve(schemata, tree, Made({"a": {"size": 0, "x": []}}))


def test_properties_that_are_altogether_unknown_or_no_map():
    assert validate_and_resolve({"p": NESTED}, Literal(UNRESOLVED), NOTHING_YET) == {
        "p": UNRESOLVED
    }
    with pytest.raises(HotError, match="must be a map, not a list"):
        validate_and_resolve({"p": NESTED}, Literal([]), NOTHING_YET)


def test_the_result_shares_nothing_with_the_template():
    tree = Literal({"p": {"a": [1]}})
    schema = {"p": PropertySchema("map"), "d": PropertySchema("list", default=["x"])}
    made = validate_and_resolve(schema, tree, NOTHING_YET)
    made["p"]["a"].append(2)
    made["d"].append("y")
    assert validate_and_resolve(schema, tree, NOTHING_YET) == {"p": {"a": [1]}, "d": ["x"]}


@pytest.mark.parametrize(
    "wrong",
    [
        {"type": "string", "update_allowed": True, "immutable": True},
        {"type": "string", "schema": PropertySchema("string")},
        {"type": "list", "schema": {"a": PropertySchema("string")}},
        {"type": "map", "schema": PropertySchema("string")},
    ],
)
def test_a_schema_that_contradicts_itself_is_refused(wrong):
    with pytest.raises(ValueError, match=r"cannot be both|no such schema"):
        PropertySchema(**wrong)


# ---- updates ------------------------------------------------------------------------------------

SCHEMATA = {
    "free": PropertySchema("any", update_allowed=True),
    "fixed": PropertySchema("any"),
    "never": PropertySchema("any", immutable=True),
}


@pytest.mark.parametrize(
    ("before", "after", "changed", "replacing", "refused"),
    [
        ({}, {}, set(), set(), set()),
        ({"free": 1}, {"free": 1}, set(), set(), set()),
        ({"free": 1}, {"free": 2}, {"free"}, set(), set()),
        ({"free": 1}, {}, {"free"}, set(), set()),
        ({}, {"free": None}, set(), set(), set()),
        ({"fixed": [1]}, {"fixed": [2]}, {"fixed"}, {"fixed"}, set()),
        ({"never": 1}, {"never": 2}, {"never"}, set(), {"never"}),
        ({"free": 1, "fixed": 1}, {"free": 2, "fixed": 2}, {"free", "fixed"}, {"fixed"}, set()),
        ({"free": UNRESOLVED}, {"free": UNRESOLVED}, {"free"}, set(), set()),
        ({"gone": 1}, {}, set(), set(), set()),
    ],
)
def test_an_update_changes_in_place_replaces_or_is_refused(
    before, after, changed, replacing, refused
):
    found = changes(SCHEMATA, before, after)
    assert set(found.changed) == changed
    assert (found.replacing, found.refused) == (replacing, refused)


# ---- nested templates ---------------------------------------------------------------------------

TEMPLATE = """
heat_template_version: wallaby
parameters:
  s: {type: string, description: d, constraints: [{allowed_values: [1, x]}]}
  l: {type: comma_delimited_list, default: ''}
  j: {type: json, default: {}}
  n: {type: number, default: 1}
  b: {type: boolean, default: true}
outputs:
  o: {value: 1, description: what}
  q: {value: 1}
"""


def test_the_parameters_of_a_template_are_the_properties_of_its_resource():
    schemata = properties_of_template(TEMPLATE)
    assert {name: one.type for name, one in schemata.items()} == {
        "s": "string", "l": "list", "j": "map", "n": "number", "b": "boolean",
    }  # fmt: skip
    assert [name for name, one in schemata.items() if one.required] == ["s"]
    assert all(one.update_allowed for one in schemata.values())
    given = Literal({"s": 1, "l": "a,b", "j": [1]})
    values = validate_and_resolve(schemata, given, NOTHING_YET)
    assert values == {"s": "1", "l": ["a", "b"], "j": [1], "n": None, "b": None}
    plan = compile_template(TEMPLATE, parameters=values)
    assert (plan.parameters["l"], plan.parameters["n"]) == (["a", "b"], 1)


def test_the_outputs_of_a_template_are_the_attributes_of_its_resource():
    assert attributes_of_template(TEMPLATE) == {"o": "what", "q": ""}
