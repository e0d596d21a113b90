from __future__ import annotations

import pytest
from tests.stacks.hot.language import fault, result

OLD = "2013-05-23"


@pytest.mark.parametrize(
    ("snippet", "value"),
    [
        ({"Fn::GetAZs": ""}, ["nova"]),
        ({"Fn::Join": ["-", ["a", "b"]]}, "a-b"),
        ({"Fn::Split": [",", "a,b"]}, ["a", "b"]),
        ({"Fn::Split": [".", {"get_attr": ["web", "ip"]}]}, ["10", "0", "0", "1"]),
        ({"Fn::Replace": [{"$x": "1", "%y%": 2}, "$x %y%"]}, "1 2"),
        ({"Fn::Base64": "text"}, "text"),
        ({"Fn::Select": ["1", ["a", "b"]]}, "b"),
        ({"Fn::Select": [0, ["a", "b"]]}, "a"),
        ({"Fn::Select": [5, ["a"]]}, ""),
        ({"Fn::Select": ["k", {"k": "v"}]}, "v"),
        ({"Fn::Select": ["z", {"k": "v"}]}, ""),
        ({"Fn::Select": ["k", '{"k": "v"}']}, "v"),
        ({"Fn::Select": ["1", '["a", "b"]']}, "b"),
        ({"Fn::Select": ["1", ""]}, ""),
        ({"Fn::Select": ["1", None]}, ""),
        ({"Fn::Select": ["1", {"get_attr": ["web", "list"]}]}, "b"),
        (
            {
                "Fn::MemberListToMap": [
                    "Name",
                    "Value",
                    [
                        ".member.0.Name=a",
                        ".member.0.Value=x=y",
                        ".member.1.Name=b",
                        ".member.1.Value=",
                    ],
                ]
            },
            {"a": "x=y", "b": ""},
        ),
        ({"Fn::MemberListToMap": ["Name", "Value", [".member.0.Name=a", "other=1"]]}, {}),
        ({"Ref": "web"}, "id-of-web"),
        ({"Ref": "p"}, 5),
        ({"Ref": "OS::stack_name"}, ""),
    ],
)
def test_the_first_version_has_functions_of_cloudformation(snippet, value):
    assert result(snippet, OLD, {"p": {"type": "number", "default": 5}}) == value


@pytest.mark.parametrize(
    "snippet",
    [
        {"Fn::Join": [",", "ab"]},
        {"Fn::Split": "a,b"},
        {"Fn::Split": [",", "a", "b"]},
        {"Fn::Split": [",", ["a"]]},
        {"Fn::Split": ["", "a"]},
        {"Fn::Replace": "x"},
        {"Fn::Replace": [{"a": "b"}]},
        {"Fn::Replace": [["a"], "x"]},
        {"Fn::Replace": [{"a": "b"}, 5]},
        {"Fn::Replace": [{"a": {"m": 1}}, "a"]},
        {"Fn::Base64": ["x"]},
        {"Fn::Select": ["1"]},
        {"Fn::Select": "1"},
        {"Fn::Select": ["x", ["a"]]},
        {"Fn::Select": [1, {"k": "v"}]},
        {"Fn::Select": ["k", "no json"]},
        {"Fn::Select": ["k", 5]},
        {"Fn::MemberListToMap": ["Name", "Value"]},
        {"Fn::MemberListToMap": [1, "Value", []]},
        {"Fn::MemberListToMap": ["Name", "Value", "x"]},
        {"Fn::MemberListToMap": ["Name", "Value", [5]]},
        {"Fn::MemberListToMap": ["Name", "Value", ["x"]]},
        {"Fn::ResourceFacade": "metadata"},
        {"Fn::ResourceFacade": "Metadata"},
        {"Ref": "nothing"},
        {"Ref": ["web"]},
        {"Fn::FindInMap": ["a", "b", "c"]},
        {"Fn::GetAtt": ["web", "ip"]},
    ],
)
def test_they_refuse_what_they_cannot_take(snippet):
    assert str(fault(snippet, OLD))


@pytest.mark.parametrize("version", ["2014-10-16", "2015-04-30", "2016-10-14", "2021-04-16"])
@pytest.mark.parametrize(
    "name",
    [
        "Fn::GetAZs",
        "Fn::Join",
        "Fn::Split",
        "Fn::Replace",
        "Fn::Base64",
        "Fn::MemberListToMap",
        "Ref",
    ],
)
def test_later_versions_dropped_them(version, name):
    wrong = fault({name: ["x"]}, version)
    assert wrong.kind == "InvalidTemplateVersion"
    assert f"{name} is not supported in heat_template_version {version}" in str(wrong)


@pytest.mark.parametrize(("version", "has"), [("2015-04-30", True), ("2015-10-15", False)])
def test_fn_select_stayed_two_versions_longer(version, has):
    snippet = {"Fn::Select": ["0", ["a"]]}
    if has:
        assert result(snippet, version) == "a"
    else:
        assert "Fn::Select" in str(fault(snippet, version))
