from __future__ import annotations

import pytest
from tests.stacks.hot.language import fault, result

LIST = {"get_attr": ["web", "list"]}
MAP = {"get_attr": ["web", "map"]}
NULL = {"get_attr": ["web", "null"]}
PLACED = {"map_merge", "map_replace", "list_concat", "list_concat_unique", "filter", "repeat"}


@pytest.mark.parametrize(
    ("maps", "merged"),
    [
        ([], {}),
        ([{"a": 1}], {"a": 1}),
        ([{"a": 1}, {"b": 2}], {"a": 1, "b": 2}),
        ([{"a": 1}, {"a": 2}], {"a": 2}),
        ([{"a": {"x": 1}}, {"a": {"y": 2}}], {"a": {"y": 2}}),
        ([None, {"a": 1}, None], {"a": 1}),
        ([NULL, {"a": 1}], {"a": 1}),
        ([{"a": 1}, MAP], {"a": 1, "k": {"deep": [1, {"x": 2}]}}),
        ([{"a": 1}, {"if": [False, {"a": 2}]}], {"a": 1}),
        ({"get_param": "maps"}, {"p": 1, "q": 2}),
    ],
)
def test_map_merge(maps, merged):
    parameters = {"maps": {"type": "json", "default": [{"p": 1}, {"q": 2}]}}
    assert result({"map_merge": maps}, parameters=parameters) == merged


@pytest.mark.parametrize("maps", ["x", {}, {"a": 1}, None, 5, ["x"], [["a"]], [1], [LIST], MAP])
def test_map_merge_refuses(maps):
    assert "map_merge" in str(fault({"map_merge": maps}))


@pytest.mark.parametrize(
    ("source", "rules", "replaced"),
    [
        ({"a": "b"}, {"keys": {"a": "A"}}, {"A": "b"}),
        ({"a": "b"}, {"values": {"b": "B"}}, {"a": "B"}),
        ({"a": "b", "c": "b"}, {"keys": {"a": "A"}, "values": {"b": "B"}}, {"A": "B", "c": "B"}),
        ({"a": "b"}, {}, {"a": "b"}),
        ({"a": "b"}, None, {"a": "b"}),
        (None, {"keys": {"a": "A"}}, {}),
        ({"a": "b"}, {"keys": None, "values": None}, {"a": "b"}),
        ({"a": "b"}, {"keys": {"a": None}}, {"a": "b"}),
        ({"a": "b"}, {"keys": {"a": "a"}}, {"a": "b"}),
        ({"a": "b"}, {"values": {"b": None}}, {"a": None}),
        ({"a": ["x"], "m": {}}, {"values": {"x": "y"}}, {"a": ["x"], "m": {}}),
        ({"a": 1}, {"values": {"1": "one"}}, {"a": "one"}),
        ({"a": True, "n": None}, {"values": {"true": "yes"}}, {"a": "yes", "n": None}),
        (MAP, {"keys": {"k": "K"}}, {"K": {"deep": [1, {"x": 2}]}}),
    ],
)
def test_map_replace(source, rules, replaced):
    assert result({"map_replace": [source, rules]}) == replaced


@pytest.mark.parametrize(
    "arguments",
    [
        "x",
        {},
        None,
        [],
        [{"a": "b"}],
        [{"a": "b"}, {}, {}],
        [["a"], {}],
        ["a", {}],
        [{"a": "b"}, ["keys"]],
        [{"a": "b"}, {"key": {}}],
        [{"a": "b"}, {"keys": ["a"]}],
        [{"a": "b"}, {"values": "b"}],
        [{"a": "b"}, {"keys": {"a": 5}}],
        [{"a": "1", "b": "2"}, {"keys": {"a": "b"}}],
        [{"a": "1", "b": "2"}, {"keys": {"a": "c", "b": "c"}}],
        [LIST, {}],
    ],
)
def test_map_replace_refuses(arguments):
    assert fault({"map_replace": arguments}).path[-1] == "map_replace"


@pytest.mark.parametrize(
    ("lists", "one", "unique"),
    [
        ([], [], []),
        ([["a"]], ["a"], ["a"]),
        ([["a", "b"], ["b", "c"]], ["a", "b", "b", "c"], ["a", "b", "c"]),
        ([["a"], None, ["a"]], ["a", "a"], ["a"]),
        ([[1, True, 1.0, "1"]], [1, True, 1.0, "1"], [1, True, "1"]),
        ([[{"a": 1}], [{"a": 1}]], [{"a": 1}, {"a": 1}], [{"a": 1}]),
        ([[[1], [1]]], [[1], [1]], [[1]]),
        ([[None, None]], [None, None], [None]),
        ([LIST, ["a"]], ["a", "b", "a"], ["a", "b"]),
        ([NULL, ["a"]], ["a"], ["a"]),
    ],
)
def test_list_concat_and_list_concat_unique(lists, one, unique):
    assert result({"list_concat": lists}) == one
    assert result({"list_concat_unique": lists}) == unique


@pytest.mark.parametrize(
    "lists", ["x", {}, {"a": 1}, None, 5, ["x"], [{"a": 1}], [1], [["a"], MAP], MAP]
)
@pytest.mark.parametrize("name", ["list_concat", "list_concat_unique"])
def test_list_concat_refuses(name, lists):
    assert name in str(fault({name: lists}))


@pytest.mark.parametrize(
    ("values", "items", "kept"),
    [
        (["a"], ["a", "b", "a"], ["b"]),
        ([None, ""], ["a", None, "", "b"], ["a", "b"]),
        ([], ["a"], ["a"]),
        (None, ["a"], ["a"]),
        (["a"], [], []),
        (["a"], None, None),
        (["a"], NULL, None),
        ([1], [1, True, "1", 1.0], [True, "1"]),
        ([{"a": 1}], [{"a": 1}, {"a": 2}], [{"a": 2}]),
        ([["x"]], [["x"], "x"], ["x"]),
        (LIST, ["a", "c"], ["c"]),
        (["b"], LIST, ["a"]),
    ],
)
def test_filter(values, items, kept):
    assert result({"filter": [values, items]}) == kept


@pytest.mark.parametrize(
    "arguments",
    ["x", {}, None, [], [["a"]], [["a"], ["b"], ["c"]], [["a"], "abc"], ["a", ["a"]], [["a"], MAP]],
)
def test_filter_refuses(arguments):
    assert "filter" in str(fault({"filter": arguments}))


@pytest.mark.parametrize(
    ("template", "for_each", "copies"),
    [
        ("this is %v%", {"%v%": ["a", "b"]}, ["this is a", "this is b"]),
        ("x", {"%v%": ["a", "b"]}, ["x", "x"]),
        ("%v%", {"%v%": []}, []),
        ("%v%", {"%v%": None}, []),
        ("%v%", {"%v%": NULL}, []),
        ("%v%", {"%v%": LIST}, ["a", "b"]),
        ({"k-%v%": "%v%"}, {"%v%": ["a", "b"]}, [{"k-a": "a"}, {"k-b": "b"}]),
        (["%v%", 1, None], {"%v%": ["a"]}, [["a", 1, None]]),
        ({"a": [{"b": "%v%"}]}, {"%v%": ["x"]}, [{"a": [{"b": "x"}]}]),
        ("%a%%b%", {"%a%": ["1", "2"], "%b%": ["x", "y"]}, ["1x", "1y", "2x", "2y"]),
        ("%v%", {"%v%": [1, {"m": 1}, ["l"], True]}, [1, {"m": 1}, ["l"], True]),
        ("n%v%", {"%v%": [1, 2.5, True]}, ["n1", "n2.5", "nTrue"]),
        ("%v%", {"%v%": {"a": 1, "b": 2}}, ["a", "b"]),
        ({"get_attr": ["web", "ip"]}, {"0": ["5"]}, ["15.5.5.1"]),
    ],
)
def test_repeat(template, for_each, copies):
    assert result({"repeat": {"template": template, "for_each": for_each}}) == copies


def test_repeat_side_by_side_since_2017_09_01():
    arguments = {
        "template": "%a%%b%",
        "for_each": {"%a%": ["1", "2"], "%b%": ["x", "y"]},
        "permutations": False,
    }
    assert result({"repeat": arguments}) == ["1x", "2y"]
    assert result({"repeat": arguments}, "2017-02-24") == ["1x", "1y", "2x", "2y"]
    arguments["for_each"]["%b%"] = ["x"]
    assert "of one length" in str(fault({"repeat": arguments}))
    arguments["for_each"] = {"%a%": {"k": 1}}
    assert "must be lists" in str(fault({"repeat": arguments}))


@pytest.mark.parametrize(("version", "fits"), [("2015-04-30", False), ("2016-10-14", True)])
def test_repeat_takes_maps_since_2016_10_14(version, fits):
    snippet = {"repeat": {"template": "%v%", "for_each": {"%v%": {"a": 1}}}}
    if fits:
        assert result(snippet, version) == ["a"]
    else:
        assert "must be lists" in str(fault(snippet, version))


@pytest.mark.parametrize(
    "arguments",
    [
        "x",
        ["x"],
        None,
        {},
        {"template": "x"},
        {"for_each": {"x": []}},
        {"template": "x", "for_each": ["a"]},
        {"template": "x", "for_each": "a"},
        {"template": "x", "for_each": {}},
        {"template": "x", "for_each": {"x": "abc"}},
        {"template": "x", "for_each": {"x": 5}},
        {"template": "x", "for_each": {"": ["a"]}},
        {"template": "x", "for_each": {"x": []}, "permutations": "no"},
        {"template": "ax", "for_each": {"x": [{"m": 1}]}},
        {"template": "ax", "for_each": {"x": [None]}},
        {"template": "x", "for_each": LIST},
    ],
)
def test_repeat_refuses(arguments):
    assert fault({"repeat": arguments}).path[-1] == "repeat"


@pytest.mark.parametrize("count", [5, 6, 20])
def test_repeat_does_not_multiply_without_bound(count):
    for_each = {f"%{n}%": [str(k) for k in range(10)] for n in range(count)}
    assert "more than" in str(fault({"repeat": {"template": ["x"], "for_each": for_each}}))


def test_repeat_does_not_write_without_bound():
    for_each = {"a": ["b" * 1000] * 100, "b": ["c" * 1000]}
    assert "text of more than" in str(fault({"repeat": {"template": "a", "for_each": for_each}}))


@pytest.mark.parametrize(
    ("value", "sequence", "found"),
    [
        ("a", ["a", "b"], True),
        ("c", ["a", "b"], False),
        ("a", [], False),
        (1, [1], True),
        (1, ["1"], False),
        (True, [1], False),
        (None, [None], True),
        ({"a": 1}, [{"a": 1}], True),
        (["a"], [["a"]], True),
        ("b", "abc", True),
        ("x", "abc", False),
        ("b", LIST, True),
    ],
)
def test_contains(value, sequence, found):
    assert result({"contains": [value, sequence]}) is found


@pytest.mark.parametrize(
    "arguments",
    ["x", {}, None, [], ["a"], ["a", ["a"], 1], ["a", {"a": 1}], ["a", 5], [1, "123"], ["a", None]],
)
def test_contains_refuses(arguments):
    assert "contains" in str(fault({"contains": arguments}))
