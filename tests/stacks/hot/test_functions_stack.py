from __future__ import annotations

import pytest
from tests.stacks.hot.language import NEWEST, WEB, fault, result, template

from holdfast.stacks.hot import NOTHING_YET, UNRESOLVED, Facade, HotError, Ref, compile_template

PARAMETERS = {
    "s": {"type": "string", "default": "text"},
    "n": {"type": "number", "default": 7},
    "l": {"type": "comma_delimited_list", "default": "a,b"},
    "j": {"type": "json", "default": {"k": {"x": [1, 2]}, "0": "zero", "null": None}},
    "b": {"type": "boolean", "default": True},
    "name": {"type": "string", "default": "web"},
    "missing": {"type": "string"},
}


@pytest.mark.parametrize(
    ("arguments", "value"),
    [
        ("s", "text"),
        (["s"], "text"),
        ("n", 7),
        ("l", ["a", "b"]),
        ("b", True),
        (["l", 1], "b"),
        (["l", "1"], "b"),
        (["l", 5], ""),
        (["l", "x"], ""),
        (["j", "k"], {"x": [1, 2]}),
        (["j", "k", "x", 1], 2),
        (["j", "k", "x", "0"], 1),
        (["j", 0], "zero"),
        (["j", "nope"], ""),
        (["j", "k", "x", 9], ""),
        (["j", "null"], ""),
        (["s", 0], ""),
        (["n", "x"], ""),
        (["j", {"get_param": "nowhere"}], ""),
        ("OS::stack_name", ""),
        ("OS::stack_id", ""),
        ("OS::project_id", ""),
    ],
)
def test_get_param(arguments, value):
    parameters = PARAMETERS | {"nowhere": {"type": "string", "default": "zzz"}}
    assert result({"get_param": arguments}, parameters=parameters, given={"missing": "x"}) == value


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        ("nothing", "UserParameterMissing"),
        (["nothing", "k"], "UserParameterMissing"),
        ("", "StackValidationFailed"),
        (None, "StackValidationFailed"),
        ([], "StackValidationFailed"),
        (5, "StackValidationFailed"),
        ({"a": 1, "b": 2}, "StackValidationFailed"),
        ([["s"]], "StackValidationFailed"),
        (["j", ["k"]], "StackValidationFailed"),
        (["j", True], "StackValidationFailed"),
        ({"get_attr": ["web", "ip"]}, "StackValidationFailed"),
    ],
)
def test_get_param_refuses(arguments, kind):
    wrong = fault({"get_param": arguments}, parameters=PARAMETERS, given={"missing": "x"})
    assert wrong.kind == kind
    assert wrong.path == ("outputs", "it", "value", "get_param")


@pytest.mark.parametrize(
    ("arguments", "value"),
    [
        (["web", "ip"], "10.0.0.1"),
        (["web", "list", 0], "a"),
        (["web", "list", "1"], "b"),
        (["web", "list", 9], None),
        (["web", "list", "x"], None),
        (["web", "map", "k", "deep", 1, "x"], 2),
        (["web", "map", "nope", "x"], None),
        (["web", "null"], None),
        (["web", "null", "x"], None),
        (["web", "number", "x"], None),
        (["web", {"get_param": "a"}], "10.0.0.1"),
        ([{"get_param": "r"}, "ip"], "10.0.0.1"),
        (["web", "list", {"get_param": "i"}], "b"),
        (["web", "map", {"list_join": ["", ["k"]]}, "deep", 0], 1),
    ],
)
@pytest.mark.parametrize("version", ["2013-05-23", "2014-10-16", NEWEST])
def test_get_attr(version, arguments, value):
    parameters = {
        "a": {"type": "string", "default": "ip"},
        "r": {"type": "string", "default": "web"},
        "i": {"type": "number", "default": 1},
    }
    assert result({"get_attr": arguments}, version, parameters) == value


def test_get_attr_of_all_attributes_since_2015_10_15():
    assert result({"get_attr": ["web"]}) == WEB
    assert "must be of the form" in str(fault({"get_attr": ["web"]}, "2015-04-30"))


def test_a_path_may_wait_for_another_resource():
    snippet = {"get_attr": ["web", "map", {"get_attr": ["web", "map", "key"]}]}
    plan = compile_template(template(snippet))
    value = plan.outputs["it"].value
    assert value is not None
    assert value.dependencies() == {Ref("web", ()), Ref("web", ("map", "key"))}
    assert value.resolve(NOTHING_YET) is UNRESOLVED


@pytest.mark.parametrize(
    "arguments",
    [
        "web.ip",
        {},
        None,
        [],
        [["web"], "ip"],
        ["web", 5],
        ["web", ["ip"]],
        ["web", "map", True],
        ["web", "map", {"get_attr": ["web", "list"]}],
        [{"get_attr": ["web", "ip"]}, "ip"],
    ],
)
def test_get_attr_refuses(arguments):
    assert "get_attr" in fault({"get_attr": arguments}).path


@pytest.mark.parametrize(
    "snippet", [{"get_resource": "nope"}, {"get_attr": ["nope", "x"]}, {"get_attr": ["nope"]}]
)
def test_a_reference_to_nothing_is_named_as_heat_names_it(snippet):
    wrong = fault(snippet)
    assert wrong.kind == "InvalidTemplateReference"
    where = f"outputs.it.value.{next(iter(snippet))}"
    assert f'The specified reference "nope" (in {where}) is incorrect.' in str(wrong)


def test_get_resource():
    assert result({"get_resource": "web"}) == "id-of-web"
    parameters = {"name": {"type": "string", "default": "web"}}
    assert result({"get_resource": {"get_param": "name"}}, parameters=parameters) == "id-of-web"


@pytest.mark.parametrize("argument", [None, [], ["web"], 5, {"get_attr": ["web", "ip"]}])
def test_get_resource_refuses(argument):
    assert fault({"get_resource": argument}).path[-1] == "get_resource"


def test_get_file():
    assert result({"get_file": "a.sh"}, files={"a.sh": "echo"}) == "echo"
    assert result({"get_file": "a.sh"}, files={"a.sh": ""}) == ""
    parameters = {"f": {"type": "string", "default": "a.sh"}}
    assert (
        result({"get_file": {"get_param": "f"}}, parameters=parameters, files={"a.sh": "x"}) == "x"
    )


def test_a_file_that_was_not_sent_is_named():
    assert 'No content found in the "files" section for get_file path: b.sh' in str(
        fault({"get_file": "b.sh"}, files={"a.sh": "x"})
    )


@pytest.mark.parametrize("argument", [None, ["a.sh"], 5, {"get_attr": ["web", "ip"]}])
def test_get_file_refuses(argument):
    assert fault({"get_file": argument}, files={"a.sh": "x"}).path[-1] == "get_file"


FACADE = Facade(metadata={"m": 1}, deletion_policy="Retain", update_policy={"u": 2})


@pytest.mark.parametrize(
    ("version", "snippet", "value"),
    [
        (NEWEST, {"resource_facade": "metadata"}, {"m": 1}),
        (NEWEST, {"resource_facade": "deletion_policy"}, "Retain"),
        (NEWEST, {"resource_facade": "update_policy"}, {"u": 2}),
        ("2013-05-23", {"Fn::ResourceFacade": "Metadata"}, {"m": 1}),
        ("2013-05-23", {"Fn::ResourceFacade": "DeletionPolicy"}, "Retain"),
        ("2013-05-23", {"Fn::ResourceFacade": "UpdatePolicy"}, {"u": 2}),
    ],
)
def test_resource_facade(version, snippet, value):
    plan = compile_template(template(snippet, version), facade=FACADE)
    it = plan.outputs["it"].value
    assert it is not None
    assert it.resolve(NOTHING_YET) == value


@pytest.mark.parametrize("argument", ["wibble", None, ["metadata"], {"get_param": "x"}, "Metadata"])
def test_resource_facade_refuses(argument):
    with pytest.raises(HotError, match="should be one of"):
        compile_template(template({"resource_facade": argument}), facade=FACADE)


def test_resource_facade_outside_a_nested_template_is_refused():
    assert "nested template only" in str(fault({"resource_facade": "metadata"}))


# ---- if -----------------------------------------------------------------------------------------

CONDITIONS = {"yes": True, "no": {"not": "yes"}}


@pytest.mark.parametrize(
    ("snippet", "value"),
    [
        ({"if": ["yes", "a", "b"]}, "a"),
        ({"if": ["no", "a", "b"]}, "b"),
        ({"if": [True, "a", "b"]}, "a"),
        ({"if": [{"not": "yes"}, "a", "b"]}, "b"),
        ({"if": [{"equals": [1, 1]}, {"x": 1}, "b"]}, {"x": 1}),
        ({"if": ["no", {"get_attr": ["nope", "x"]}, "b"]}, "b"),
        ({"if": ["yes", {"if": ["no", 1, 2]}, 3]}, 2),
        ({"if": ["yes", None, 3]}, None),
        ({"if": ["yes", {"get_attr": ["web", "ip"]}, 3]}, "10.0.0.1"),
        ({"a": 1, "b": {"if": ["no", 2]}}, {"a": 1}),
        ([1, {"if": ["no", 2]}, 3], [1, 3]),
        ([1, {"if": ["yes", 2]}, 3], [1, 2, 3]),
        ({"a": {"if": ["no", 1, None]}}, {"a": None}),
        ({"if": ["no", "a"]}, None),
        ({"list_concat": [["a"], {"if": ["no", ["b"]]}]}, ["a"]),
        ({"map_merge": [{"a": 1}, {"if": ["yes", {"b": 2}]}]}, {"a": 1, "b": 2}),
    ],
)
def test_if(snippet, value):
    assert result(snippet, conditions=CONDITIONS) == value


@pytest.mark.parametrize(
    "arguments",
    [None, "yes", {}, [], ["yes"], ["yes", 1, 2, 3], ["unknown", 1, 2], [None, 1, 2], [5, 1, 2],
     [{"get_attr": ["web", "ip"]}, 1, 2], [["yes"], 1, 2], [{"list_join": ["", ["a"]]}, 1, 2]],
)  # fmt: skip
def test_if_refuses(arguments):
    assert "if" in fault({"if": arguments}, conditions=CONDITIONS).path


def test_an_else_may_be_left_out_since_2021_04_16():
    assert "value_if_false" in str(fault({"if": [True, 1]}, "2018-08-31"))
    assert result({"if": [True, 1, 2]}, "2016-10-14") == 1


def test_before_conditions_if_was_an_ordinary_key():
    assert result({"if": [True, 1, 2]}, "2016-04-08") == {"if": [True, 1, 2]}
