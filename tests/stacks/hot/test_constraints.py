from __future__ import annotations

import pytest

from holdfast.stacks.hot.constraints import (
    AllowedPattern,
    AllowedValues,
    CustomConstraint,
    Length,
    Modulo,
    Range,
    constraint_of,
    first_fault,
)
from holdfast.stacks.hot.errors import ParameterSchemaError


@pytest.mark.parametrize(
    ("constraint", "fits", "breaks"),
    [
        (Range(1, 3), [1, 2, 3, 1.5], [0, 4, 0.99, -1]),
        (Range(min=1), [1, 10**9], [0]),
        (Range(max=3), [3, -(10**9)], [4]),
        (
            Length(2, 3),
            ["ab", "abc", [1, 2], {"a": 1, "b": 2}],
            ["a", "abcd", [], {"a": 1}, 5, None],
        ),
        (Length(min=1), ["a"], [""]),
        (Length(max=1), ["", "a"], ["ab"]),
        (Modulo(2, 0), [0, 2, -4, 2.0], [1, 3, -1]),
        (Modulo(5, 3), [3, 8, -2], [0, 5, 4]),
        (Modulo(-5, -3), [-3, -8, 2], [0, 3]),
        (AllowedValues(("a", "b")), ["a", "b", ["a", "b"], []], ["c", ["a", "c"], 1]),
        (AllowedValues((1, 2.5)), [1, 2.5, 1.0], ["1", 2, True]),
        (AllowedValues((True,)), [True], [1, "true", False]),
        (AllowedPattern("[a-z]+"), ["a", "abc"], ["", "A", "a1", "1a"]),
        (AllowedPattern("a|ab"), ["a", "ab"], ["abc"]),
        (AllowedPattern("^[0-9]{3}$"), ["123"], ["1234", "12"]),
        (AllowedPattern(".*"), ["", "x"], ["a\nb"]),
    ],
)
def test_values_fit_or_break_a_constraint(constraint, fits, breaks):
    assert [constraint.fault(value, {}) for value in fits] == [None] * len(fits)
    assert all(constraint.fault(value, {}) for value in breaks)


@pytest.mark.parametrize(
    ("constraint", "value", "says"),
    [
        (Range(1, 3), 5, "5 is out of range (min: 1, max: 3)"),
        (Range(min=1), 0, "0 is out of range (min: 1, max: None)"),
        (Length(2, 3), "abcd", "length (4) is out of range (min: 2, max: 3)"),
        (Modulo(2, 1), 4, "4 is not a multiple of 2 with an offset of 1"),
        (AllowedValues(("a", 1)), "b", '"b" is not an allowed value ["a", 1]'),
        (AllowedPattern("[a-z]+"), "A", '"A" does not match pattern "[a-z]+"'),
        (CustomConstraint("a.b"), "x", '"x" does not validate a.b (constraint not found)'),
    ],
)
def test_a_fault_says_what_is_wrong(constraint, value, says):
    assert constraint.fault(value, {}) == says


def test_the_authors_own_words_come_first():
    assert first_fault([Range(1, 3, "one to three")], 5) == "one to three"
    assert first_fault([Length(1), AllowedPattern("b", "only b")], "a") == "only b"
    assert first_fault([], "a") is None


def test_a_custom_constraint_is_whatever_its_checker_says():
    checkers = {"even": lambda value: None if value % 2 == 0 else f"{value} is odd"}
    assert CustomConstraint("even").fault(2, checkers) is None
    assert CustomConstraint("even").fault(3, checkers) == "3 is odd"


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|aa)+$", "(a*)*b", "^(([a-z])+.)+[A-Z]([a-z])+$"])
def test_a_pattern_that_backtracks_for_ever_is_stopped(pattern):
    fault = AllowedPattern(pattern).fault("a" * 60 + "!", {})
    assert fault is not None


@pytest.mark.parametrize(
    ("definition", "constraint"),
    [
        ({"range": {"min": 1, "max": 3}}, Range(1, 3)),
        ({"range": {"min": "1"}}, Range(1, None)),
        ({"range": {"max": 1.5}, "description": "d"}, Range(None, 1.5, "d")),
        ({"length": {"min": 1}}, Length(1)),
        ({"length": {"max": "5"}}, Length(None, 5)),
        ({"modulo": {"step": 2, "offset": 1}}, Modulo(2, 1)),
        ({"modulo": {"step": 2.0, "offset": "0"}}, Modulo(2, 0)),
        ({"allowed_values": ["a", 1]}, AllowedValues(("a", 1))),
        ({"allowed_values": []}, AllowedValues(())),
        ({"allowed_pattern": "[a]"}, AllowedPattern("[a]")),
        ({"custom_constraint": "a.b"}, CustomConstraint("a.b")),
    ],
)
def test_constraints_are_read_and_shown_alike(definition, constraint):
    read = constraint_of(definition)
    assert read == constraint
    again = constraint_of(read.document() | {"description": read.description})
    assert again == constraint


@pytest.mark.parametrize(
    "definition",
    [
        "range",
        ["range"],
        None,
        {},
        {"description": "x"},
        {"ranges": {}},
        {"range": {"min": 1}, "length": {"min": 1}},
        {"range": 5},
        {"range": {}},
        {"range": None},
        {"range": {"min": None}},
        {"range": {"minimum": 1}},
        {"range": {"min": "x"}},
        {"range": {"min": [1]}},
        {"range": {"min": True}},
        {"length": {}},
        {"length": {"min": 1.5}},
        {"length": [1, 2]},
        {"modulo": {}},
        {"modulo": {"step": 2}},
        {"modulo": {"offset": 1}},
        {"modulo": {"step": 0, "offset": 0}},
        {"modulo": {"step": 2, "offset": 2}},
        {"modulo": {"step": 2, "offset": -1}},
        {"modulo": {"step": -2, "offset": 1}},
        {"modulo": {"step": 1.5, "offset": 0}},
        {"modulo": {"step": 2, "offset": 0, "x": 1}},
        {"allowed_values": "a"},
        {"allowed_values": {"a": 1}},
        {"allowed_pattern": 5},
        {"allowed_pattern": "("},
        {"allowed_pattern": "*"},
        {"custom_constraint": ["a"]},
        {"range": {"min": 1}, "description": ["x"]},
    ],
)
def test_what_is_no_constraint_is_refused(definition):
    with pytest.raises(ParameterSchemaError):
        constraint_of(definition)


def test_modulo_can_be_withheld():
    with pytest.raises(ParameterSchemaError, match="Invalid key 'modulo'"):
        constraint_of({"modulo": {"step": 2, "offset": 0}}, with_modulo=False)
