from __future__ import annotations

import pytest
from tests.stacks.hot.language import NEWEST, fault, result


def yaql(expression, **data):
    return {"yaql": {"expression": expression, "data": data}}


@pytest.mark.parametrize(
    ("snippet", "value"),
    [
        (yaql("$.data.l.sum()", l=[1, 2, 3]), 6),
        (yaql("$.data.l.select($ * 2)", l=[1, 2]), [2, 4]),
        (yaql("$.data.l.where($ > 1)", l=[1, 2]), [2]),
        (yaql("$.data.l.where($ > 1).first(0)", l=[]), 0),
        (yaql("$.data.l.orderBy($)", l=[3, 1, 2]), [1, 2, 3]),
        (yaql("$.data.l.distinct()", l=[1, 1, 2]), [1, 2]),
        (yaql("$.data.l.len()", l=["a"]), 1),
        (yaql("$.data.l.flatten()", l=[[1], [2, 3]]), [1, 2, 3]),
        (yaql("$.data.m.items()", m={"a": 1}), [["a", 1]]),
        (yaql("dict($.data.l.select([$, 1]))", l=["a"]), {"a": 1}),
        (yaql("$.data.l.toDict($.k, $.v)", l=[{"k": "a", "v": 1}]), {"a": 1}),
        (yaql("$.data.m.get(nope, 5)", m={}), 5),
        (yaql("coalesce($.data.x, 'none')", x=None), "none"),
        (yaql("$.data.s.toUpper()", s="ab"), "AB"),
        (yaql("$.data.s.replace(a, bb)", s="banana"), "bbbnbbnbb"),
        (yaql("$.data.s.replace(a, x, 1)", s="banana"), "bxnana"),
        (yaql("$.data.s.replace({a => x, n => y})", s="banana"), "bxyxyx"),
        (yaql("$.data.l.join(',')", l=["a", "b"]), "a,b"),
        (yaql("','.join($.data.l)", l=["a", "b"]), "a,b"),
        (yaql("$.data.l.select(str($)).join('')", l=[1, 2]), "12"),
        (yaql("$.data.s.split(',')", s="a,b"), ["a", "b"]),
        (yaql("set(1, 1).toList()"), [1]),
        (yaql("let(x => 3) -> $x * 1.5"), 4.5),
        (yaql("'ab' * 2"), "abab"),
        (yaql("$.data"), {}),
        ({"yaql": {"expression": "1 + 1"}}, 2),
        (yaql("$.data.ip", ip={"get_attr": ["web", "ip"]}), "10.0.0.1"),
        (yaql("$.data.l.len()", l={"get_attr": ["web", "list"]}), 2),
        ({"yaql": {"expression": {"get_param": "e"}, "data": {"x": 3}}}, 3),
    ],
)
def test_yaql(snippet, value):
    parameters = {"e": {"type": "string", "default": "$.data.x"}}
    assert result(snippet, parameters=parameters) == value


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("$.data", "must be a map"),
        (["$.data"], "must be a map"),
        (None, "must be a map"),
        ({}, "syntax"),
        ({"data": {}}, "syntax"),
        ({"expression": "$.data", "datas": {}}, "syntax"),
        ({"expression": ["$.data"]}, "must be a string"),
        ({"expression": 5}, "must be a string"),
        ({"expression": "(("}, "Bad expression"),
        ({"expression": "$.data.("}, "Bad expression"),
        ({"expression": "$.__class__"}, "Bad expression"),
        ({"expression": "$.data.x"}, "no key 'x'"),
        ({"expression": "nothing()"}, "Unknown function"),
        ({"expression": "1 / 0"}, "zero"),
        ({"expression": "$.data.l.sum()", "data": {"l": ["a", 1]}}, "failed"),
        ({"expression": "datetime(2020, 1, 1)"}, "no template can hold"),
        ({"expression": "((", "data": {"get_attr": ["web", "map"]}}, "Bad expression"),
        ({"expression": "x" * 9000}, "more than 8192"),
        ({"expression": "(" * 4000}, "Bad expression"),
    ],
)
def test_yaql_refuses(arguments, says):
    wrong = fault({"yaql": arguments})
    assert says in str(wrong)
    assert wrong.path[-1] == "yaql"


@pytest.mark.parametrize(
    "expression",
    [
        "range(0, 100000000).sum()",
        "'a' * 1000000000",
        "[1] * 100000000",
        "range(2000).select(range(2000).select($ * $).sum()).sum()",
        "sequence().select($ + 1).sum()",
        "1.repeat().sum()",
        "$.data.s.replace(a, $.data.s)",
        "$.data.l.join($.data.s)",
        "range(100).aggregate($1 * $1, 9)",
        "range(100).aggregate($1 + $1, $.data.s)",
    ],
)
def test_what_would_take_for_ever_is_stopped(expression):
    wrong = fault(yaql(expression, s="a" * 10_000, l=["b"] * 1000))
    assert "more than" in str(wrong)


@pytest.mark.parametrize(
    "expression", ["def(f, f($)) -> f(1)", "1" + "+1" * 4000, "generate(1, true, $)"]
)
def test_what_never_ends_otherwise_is_refused(expression):
    assert fault(yaql(expression))


@pytest.mark.parametrize(
    "name", ["now()", "random()", "localtz()", "pow(10, 9)", "shiftBitsLeft(1, 9)", "regex(a)"]
)
def test_what_is_unbounded_or_differs_each_time_is_left_out(name):
    assert "Unknown function" in str(fault(yaql(name)))


def test_yaql_in_conditions_since_2017_09_01():
    conditions = {"c": yaql("$.data.l.len() = 2", l={"get_param": "l"})}
    parameters = {"l": {"type": "comma_delimited_list", "default": "a,b"}}
    snippet = {"if": ["c", 1, 2]}
    assert result(snippet, NEWEST, parameters, conditions=conditions) == 1
    assert "invalid in this context" in str(
        fault(snippet, version="2017-02-24", parameters=parameters, conditions=conditions)
    )
