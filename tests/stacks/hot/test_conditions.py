from __future__ import annotations

import pytest
from tests.stacks.hot.language import NEWEST, template

from holdfast.stacks.hot import HotError, compile_template

PARAMETERS = {
    "env": {"type": "string", "default": "prod"},
    "n": {"type": "number", "default": 3},
    "on": {"type": "boolean", "default": True},
    "l": {"type": "comma_delimited_list", "default": "a,b"},
}


def truths(conditions, version=NEWEST, **given):
    return compile_template(
        template(1, version, PARAMETERS, conditions=conditions), parameters=given
    ).conditions


@pytest.mark.parametrize(
    ("condition", "truth"),
    [
        (True, True),
        (False, False),
        ({"get_param": "on"}, True),
        ({"equals": [{"get_param": "env"}, "prod"]}, True),
        ({"equals": [{"get_param": "env"}, "test"]}, False),
        ({"equals": [{"get_param": "n"}, 3]}, True),
        ({"equals": [{"get_param": "n"}, "3"]}, False),
        ({"equals": [{"get_param": "l"}, ["a", "b"]]}, True),
        ({"equals": [{"get_param": ["l", 0]}, "a"]}, True),
        ({"equals": [{"a": 1}, {"a": 1}]}, True),
        ({"equals": [{"get_param": "on"}, 1]}, False),
        ({"equals": [None, None]}, True),
        ({"not": False}, True),
        ({"not": {"get_param": "on"}}, False),
        ({"not": {"not": True}}, True),
        ({"not": "named"}, False),
        ({"and": [True, True]}, True),
        ({"and": [True, False]}, False),
        ({"and": ["named", True, {"get_param": "on"}]}, True),
        ({"or": [False, False]}, False),
        ({"or": [False, True]}, True),
        ({"or": [{"equals": [1, 2]}, {"and": ["named", True]}]}, True),
        ({"contains": ["a", {"get_param": "l"}]}, True),
        ({"yaql": {"expression": "$.data.n > 2", "data": {"n": {"get_param": "n"}}}}, True),
    ],
)
def test_conditions(condition, truth):
    assert truths({"named": True, "c": condition})["c"] is truth


@pytest.mark.parametrize(
    ("condition", "says"),
    [
        ("text", "neither true nor false"),
        (None, "neither true nor false"),
        (5, "neither true nor false"),
        ([], "neither true nor false"),
        ({"get_param": "env"}, "neither true nor false"),
        ({"x": 1}, "neither true nor false"),
        ("named", "neither true nor false"),
        ({"not": None}, "must be a condition"),
        ({"not": "nothing"}, 'Invalid condition "nothing"'),
        ({"not": ["named"]}, "Invalid condition"),
        ({"not": {"get_param": "n"}}, "Invalid condition"),
        ({"and": True}, "must be a list of conditions"),
        ({"and": []}, "minimum number of condition arguments"),
        ({"or": [True]}, "minimum number of condition arguments"),
        ({"and": ["nothing", True]}, "Invalid condition"),
        ({"equals": [1]}, "must be of the form"),
        ({"equals": [1, 2, 3]}, "must be of the form"),
        ({"equals": 1}, "must be of the form"),
        ({"equals": [{"get_attr": ["web", "x"]}, 1]}, "invalid in this context"),
        ({"equals": [{"get_resource": "web"}, 1]}, "invalid in this context"),
        ({"equals": [{"list_join": ["", ["a"]]}, 1]}, "invalid in this context"),
        ({"if": [True, True, False]}, "invalid in this context"),
        ({"get_param": "nothing"}, "was not provided"),
        ({"Fn::Equals": [1, 1]}, "does not exist in HOT"),
    ],
)
def test_conditions_refuse(condition, says):
    with pytest.raises(HotError, match=says) as caught:
        truths({"named": True, "c": condition})
    assert caught.value.path[:2] == ("conditions", "c")


@pytest.mark.parametrize(
    "conditions",
    [
        {"a": {"not": "a"}},
        {"a": {"not": "b"}, "b": {"not": "a"}},
        {"a": {"and": ["b", True]}, "b": {"or": ["c", True]}, "c": {"not": "a"}},
    ],
)
def test_conditions_in_a_circle_are_refused(conditions):
    with pytest.raises(HotError, match='Circular definition for condition "a"'):
        truths(conditions)


def test_a_long_chain_of_conditions_is_evaluated_in_order_and_refused_out_of_it():
    chain = {"c0": True} | {f"c{n}": {"not": f"c{n - 1}"} for n in range(1, 2000)}
    assert truths(chain)["c1998"] is True
    with pytest.raises(HotError, match="over 64 deep"):
        truths(dict(reversed(chain.items())))


def test_conditions_on_what_is_not_given_hold():
    document = template(
        1,
        parameters={"p": {"type": "string"}},
        conditions={"c": {"equals": [{"get_param": "p"}, "x"]}},
    )
    assert compile_template(document, strict=False).conditions == {"c": True}
