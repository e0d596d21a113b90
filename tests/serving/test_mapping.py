"""The mapping: the same key goes to the same generation, on every node and for ever."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import InvalidInputError
from holdfast.serving.errors import UnknownGenerationError
from holdfast.serving.generations.mapping import Entry, choose, decode_mapping, point_of


def entries(**probas: float) -> dict[str, Any]:
    return {"entries": [{"generation": name, "proba": proba} for name, proba in probas.items()]}


def test_keys_have_fixed_points_whatever_the_process():
    """These figures are part of the format: another node, another release, the same answer."""
    assert [round(point_of(key), 6) for key in ("", "a", "customer-42", "é")] == POINTS


POINTS = [0.17588, 0.901462, 0.953265, 0.967103]


def test_keys_spread_by_the_probas():
    mapping = decode_mapping(entries(a=0.2, b=0.5, c=0.3))
    counts = Counter(choose(mapping, point_of(f"key-{number}")) for number in range(20_000))
    assert {name: round(count / 20_000, 1) for name, count in counts.items()} == {
        "a": 0.2,
        "b": 0.5,
        "c": 0.3,
    }


def test_the_order_on_the_wire_does_not_matter():
    assert decode_mapping(entries(b=0.4, a=0.6)) == decode_mapping(entries(a=0.6, b=0.4))


@given(st.floats(min_value=0, max_value=1, exclude_max=True))
def test_every_point_has_a_generation_though_sums_are_inexact(point: float):
    mapping = decode_mapping(entries(**{f"g{n}": 0.1 for n in range(10)}))
    assert choose(mapping, point).startswith("g")


@pytest.mark.parametrize(
    "document",
    [
        entries(),
        entries(a=0.5),
        entries(a=0.5, b=0.6),
        entries(a=1.5, b=-0.5),
        entries(a=0.0, b=1.0),
        {"entries": [{"generation": "a", "proba": 0.5}] * 2},
        {"entries": [{"generation": "a"}]},
        {"entries": "a"},
        [],
    ],
)
def test_a_mapping_that_is_none_is_refused(document: Any):
    with pytest.raises(InvalidInputError):
        decode_mapping(document)


def test_without_a_mapping_there_is_nothing_to_choose():
    with pytest.raises(UnknownGenerationError):
        choose((), 0.5)
    assert choose((Entry("a", 1.0),), 0.999999) == "a"
