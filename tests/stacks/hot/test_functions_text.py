from __future__ import annotations

import pytest
from tests.stacks.hot.language import fault, result

from holdfast.stacks.hot.limits import TEXT_MAX

ATTR = {"get_attr": ["web", "ip"]}


@pytest.mark.parametrize(
    ("arguments", "joined"),
    [
        ([",", ["a", "b"]], "a,b"),
        (["", ["a", "b"]], "ab"),
        ([", ", []], ""),
        ([",", ["a"]], "a"),
        ([",", ["a", None, "b"]], "a,,b"),
        ([",", None], ""),
        ([",", ["a"], ["b", "c"]], "a,b,c"),
        ([",", ["a"], None, ["b"]], "a,b"),
        ([",", ["a", {"y": 1, "x": 2}]], 'a,{"x": 2, "y": 1}'),
        ([",", [["b", "a"]]], '["b", "a"]'),
        ([{"get_param": "d"}, ["a", "b"]], "a-b"),
        ([",", {"get_attr": ["web", "list"]}], "a,b"),
        ([",", ["x", ATTR]], "x,10.0.0.1"),
        ([",", ["a", {"if": [False, "b"]}, "c"]], "a,c"),
    ],
)
def test_list_join(arguments, joined):
    parameters = {"d": {"type": "string", "default": "-"}}
    assert result({"list_join": arguments}, parameters=parameters) == joined


@pytest.mark.parametrize(
    "arguments",
    [
        "a,b",
        {},
        None,
        [],
        [","],
        [",", "ab"],
        [",", {"a": 1}],
        [",", 5],
        [1, ["a"]],
        [None, ["a"]],
        [",", ["a", 1]],
        [",", ["a", True]],
        [",", ["a", 1.5]],
        [",", {"get_attr": ["web", "map"]}],
        [",", [{"get_attr": ["web", "number"]}]],
    ],
)
def test_list_join_refuses(arguments):
    assert "list_join" in str(fault({"list_join": arguments}))


@pytest.mark.parametrize("version", ["2013-05-23", "2014-10-16", "2015-04-30"])
def test_list_join_once_joined_one_list_of_strings_only(version):
    assert result({"list_join": [",", ["a", "b"]]}, version) == "a,b"
    for arguments in ([",", ["a"], ["b"]], [",", [{"a": 1}]], [",", [["a"]]]):
        assert fault({"list_join": arguments}, version)


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ([",", "a,b"], ["a", "b"]),
        ([",", "a"], ["a"]),
        ([",", ""], [""]),
        ([",", "a,b", 1], "b"),
        ([",", "a,b", "0"], "a"),
        ([",", "a,b", -1], "b"),
        ([", ", "a, b"], ["a", "b"]),
        ([",", None], None),
        ([",", {"get_attr": ["web", "null"]}], None),
        ([".", ATTR, 3], "1"),
    ],
)
def test_str_split(arguments, parts):
    assert result({"str_split": arguments}) == parts


@pytest.mark.parametrize(
    "arguments",
    [
        "a,b",
        {"a": 1},
        None,
        [],
        [","],
        [",", "a", 0, 0],
        [",", 5],
        [",", ["a"]],
        ["", "ab"],
        [1, "ab"],
        [",", "a,b", "x"],
        [",", "a,b", 2],
        [",", "a,b", -3],
        [",", "a,b", None],
    ],
)
def test_str_split_refuses(arguments):
    assert "str_split" in str(fault({"str_split": arguments}))


REPLACED = [
    ("NAME is NAME", {"NAME": "x"}, "x is x"),
    ("a b", {"a": "b", "b": "c"}, "b c"),
    ("a", {"a": "aa"}, "aa"),
    ("aab", {"a": "1", "aa": "2"}, "2b"),
    ("abcd", {"ab": "X", "bcd": "Y"}, "aY"),
    ("foo bar", {"foo": "bar", "bar": "foo"}, "bar foo"),
    ("n t f", {"n": 1, "t": True, "f": 1.5}, "1 True 1.5"),
    ("x", {"x": None}, ""),
    ("x", {}, "x"),
    ("", {"x": "y"}, ""),
    ("no", {"x": "y"}, "no"),
    ("$a-${b}", {"$a": "1", "${b}": "2"}, "1-2"),
    ("x.*", {".*": "y"}, "xy"),
    ("ip IP", {"IP": ATTR}, "ip 10.0.0.1"),
    ("x y", {"get_param": "m"}, "1 2"),
]


@pytest.mark.parametrize(("text", "params", "replaced"), REPLACED)
@pytest.mark.parametrize("version", ["2013-05-23", "2015-10-15", "2021-04-16"])
def test_str_replace(version, text, params, replaced):
    parameters = {"m": {"type": "json", "default": {"x": 1, "y": 2}}}
    snippet = {"str_replace": {"template": text, "params": params}}
    assert result(snippet, version, parameters) == replaced


@pytest.mark.parametrize(
    ("value", "text"),
    [({"b": 1, "a": [1]}, '{"a": [1], "b": 1}'), ([1, "x"], '[1, "x"]'), ({}, "{}"), ([], "[]")],
)
def test_str_replace_writes_maps_and_lists_as_json_since_2015_10_15(value, text):
    snippet = {"str_replace": {"template": "p", "params": {"p": value}}}
    assert result(snippet) == text
    assert "strings or numbers" in str(fault(snippet, "2015-04-30"))


@pytest.mark.parametrize(
    "arguments",
    [
        "x",
        ["template", "params"],
        None,
        {},
        {"template": "x"},
        {"params": {}},
        {"tmpl": "x", "params": {}},
        {"template": "x", "params": ["a"]},
        {"template": "x", "params": "a"},
        {"template": ["x"], "params": {}},
        {"template": 5, "params": {}},
        {"template": "x", "params": {"": "y"}},
        {"template": {"get_attr": ["web", "list"]}, "params": {}},
        {"template": "x", "params": {"get_attr": ["web", "list"]}},
    ],
)
@pytest.mark.parametrize("name", ["str_replace", "str_replace_strict", "str_replace_vstrict"])
def test_str_replace_refuses(name, arguments):
    assert name in str(fault({name: arguments}))


@pytest.mark.parametrize("name", ["str_replace_strict", "str_replace_vstrict"])
@pytest.mark.parametrize(("text", "params", "replaced"), [REPLACED[0], REPLACED[1], REPLACED[6]])
def test_the_strict_ones_replace_alike(name, text, params, replaced):
    assert result({name: {"template": text, "params": params}}) == replaced


@pytest.mark.parametrize("name", ["str_replace_strict", "str_replace_vstrict"])
def test_the_strict_ones_name_the_params_that_do_not_occur(name):
    snippet = {name: {"template": "x", "params": {"x": "1", "b": "2", "a": "3", "long": "4"}}}
    assert "not found in the template: long,a,b" in str(fault(snippet))


def test_a_param_hidden_by_a_longer_one_counts_as_missing():
    snippet = {"str_replace_strict": {"template": "aab", "params": {"aab": "x", "aa": "y"}}}
    assert "not found in the template: aa" in str(fault(snippet))


@pytest.mark.parametrize("empty", [None, "", {}, [], {"get_attr": ["web", "null"]}])
def test_the_very_strict_one_refuses_empty_values(empty):
    params = {"template": "x y", "params": {"x": empty, "y": "1"}}
    assert "empty value for param x" in str(fault({"str_replace_vstrict": params}))
    assert result({"str_replace_strict": params}) is not None


@pytest.mark.parametrize("falsy", [0, False])
def test_zero_and_false_are_values(falsy):
    snippet = {"str_replace_vstrict": {"template": "x", "params": {"x": falsy}}}
    assert result(snippet) == str(falsy)


@pytest.mark.parametrize(
    ("algorithm", "value", "digest"),
    [
        ("md5", "foo", "acbd18db4cc2f85cedef654fccc4a4d8"),
        ("sha1", "foo", "0beec7b5ea3f0fdbc95d0dd47f3c5bc275da8a33"),
        ("SHA1", "foo", "0beec7b5ea3f0fdbc95d0dd47f3c5bc275da8a33"),
        ("sha256", "", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        ("md5", "é", "d77aa4dcd1ccb1bbec4e45f00babc0aa"),
    ],
)
def test_digest(algorithm, value, digest):
    if value == "é":
        import hashlib

        digest = hashlib.md5(b"\xe9").hexdigest()
    assert result({"digest": [algorithm, value]}) == digest


def test_digest_of_text_beyond_latin_1_is_of_its_utf_8():
    assert len(result({"digest": ["sha256", "日本"]})) == 64


@pytest.mark.parametrize(
    "arguments",
    [
        "md5",
        {},
        None,
        [],
        ["md5"],
        ["md5", "a", "b"],
        ["md5", 5],
        [1, "x"],
        ["md6", "x"],
        ["shake_128", "x"],
        ["", "x"],
        ["md5", {"get_attr": ["web", "list"]}],
    ],
)
def test_digest_refuses(arguments):
    assert fault({"digest": arguments}).path[-1] == "digest"


@pytest.mark.parametrize(
    ("parts", "url"),
    [
        (
            {"scheme": "http", "host": "example.com", "path": "/foo/bar"},
            "http://example.com/foo/bar",
        ),
        ({"scheme": "http", "host": "example.com", "path": "foo"}, "http://example.com/foo"),
        ({"scheme": "http", "host": "e.com", "port": 8080}, "http://e.com:8080"),
        ({"scheme": "http", "host": "e.com", "port": "8080"}, "http://e.com:8080"),
        ({"scheme": "http", "host": "e.com", "port": ""}, "http://e.com"),
        ({"scheme": "http", "host": "::1"}, "http://[::1]"),
        ({"scheme": "http", "host": "[::1]", "port": 80}, "http://[::1]:80"),
        ({"scheme": "http", "username": "u", "host": "h"}, "http://u@h"),
        ({"scheme": "http", "username": "u", "password": "p", "host": "h"}, "http://u:p@h"),
        (
            {"scheme": "http", "username": "u@", "password": "p:/", "host": "h"},
            "http://u%40:p%3A%2F@h",
        ),
        ({"scheme": "http", "host": "h", "query": {"a": "b c", "d": 1}}, "http://h?a=b+c&d=1"),
        ({"scheme": "http", "host": "h", "query": {"a": "/x"}}, "http://h?a=/x"),
        ({"scheme": "http", "host": "h", "path": "/a b"}, "http://h/a%20b"),
        ({"scheme": "http", "host": "h", "fragment": "f g"}, "http://h#f%20g"),
        ({"scheme": "file", "path": "/x"}, "file:///x"),
        ({"host": "h", "path": "/x"}, "//h/x"),
        ({"path": "/x"}, "/x"),
        (
            {"scheme": "http", "host": ATTR, "port": {"get_attr": ["web", "number"]}},
            "http://10.0.0.1:5",
        ),
    ],
)
def test_make_url(parts, url):
    assert result({"make_url": parts}) == url


@pytest.mark.parametrize(
    "parts",
    [
        "http://x",
        ["http"],
        None,
        {"scheme": "http", "hostname": "h"},
        {"scheme": 5},
        {"scheme": "ht:tp"},
        {"host": ["h"]},
        {"path": None},
        {"port": 0},
        {"port": 65536},
        {"port": -1},
        {"port": "http"},
        {"port": True},
        {"port": [80]},
        {"query": "a=b"},
        {"query": ["a"]},
        {"host": {"get_attr": ["web", "number"]}},
    ],
)
def test_make_url_refuses(parts):
    assert fault({"make_url": parts}).path[-1] == "make_url"


def test_texts_do_not_grow_without_bound():
    big = "a" * (TEXT_MAX // 100)
    parameters = {"big": {"type": "string", "default": big}}
    twice = {
        "str_replace": {"template": {"get_param": "big"}, "params": {"a": {"get_param": "big"}}}
    }
    assert "would make a text of more than" in str(fault(twice, parameters=parameters))
    join = {"list_join": ["", [{"get_param": "big"}] * 101]}
    assert fault(join, parameters=parameters).kind == "RequestLimitExceeded"


def test_replacing_many_things_in_much_text_is_refused_in_time():
    params = {f"zz{n}": "q" for n in range(20_000)}
    snippet = {"str_replace": {"template": "x" * 400_000, "params": params}}
    assert "too much to do" in str(fault(snippet))
    snippet = {"repeat": {"template": "x" * 400_000, "for_each": {key: ["q"] for key in params}}}
    assert "too much to do" in str(fault(snippet))
