from __future__ import annotations

import pickle

import pytest

from holdfast.stacks.hot import NOTHING_YET, UNRESOLVED, Ref, is_unresolved, select

VALUE = {"a": [1, {"b": "text"}], "0": "zero", "n": None}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ((), VALUE),
        (("a",), [1, {"b": "text"}]),
        (("a", 0), 1),
        (("a", "1", "b"), "text"),
        (("a", -1, "b"), "text"),
        (("a", 1, "b", 0), "t"),
        ((0,), "zero"),
        (("a", 2), None),
        (("a", "x"), None),
        (("x", "y"), None),
        (("n", "y"), None),
        (("a", 0, "x"), None),
    ],
)
def test_a_path_leads_to_a_value_or_to_null(path, found):
    assert select(VALUE, path) == found


def test_a_path_into_what_is_not_known_is_not_known():
    assert select({"a": UNRESOLVED}, ("a", "b", 0)) is UNRESOLVED


@pytest.mark.parametrize(
    ("value", "unknown"),
    [
        (UNRESOLVED, True),
        ([1, [UNRESOLVED]], True),
        ({"a": {"b": UNRESOLVED}}, True),
        (VALUE, False),
    ],
)
def test_one_unknown_makes_a_value_unknown(value, unknown):
    assert is_unresolved(value) is unknown


def test_there_is_one_unresolved_across_processes():
    assert pickle.loads(pickle.dumps(UNRESOLVED)) is UNRESOLVED


def test_ahead_of_creation_nothing_is_known():
    assert NOTHING_YET.reference("a") is UNRESOLVED
    assert NOTHING_YET.attribute("a", ("b",)) is UNRESOLVED


def test_a_reference_names_its_attribute():
    assert Ref("a").attribute is None
    assert Ref("a", ()).attribute is None
    assert Ref("a", ("b", 1)).attribute == "b"
