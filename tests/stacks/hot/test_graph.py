from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.stacks.hot.errors import CircularDependencyError
from holdfast.stacks.hot.graph import in_order


@pytest.mark.parametrize(
    ("requires", "order"),
    [
        ({}, []),
        ({"a": []}, ["a"]),
        ({"a": [], "b": []}, ["a", "b"]),
        ({"a": ["b"], "b": []}, ["b", "a"]),
        ({"a": ["b", "b"], "b": []}, ["b", "a"]),
        ({"d": ["b", "c"], "c": ["a"], "b": ["a"], "a": []}, ["a", "c", "b", "d"]),
    ],
)
def test_each_comes_after_what_it_requires(requires, order):
    assert in_order(requires) == order


@pytest.mark.parametrize(
    ("requires", "circle"),
    [
        ({"a": ["a"]}, "a -> a"),
        ({"a": ["b"], "b": ["a"]}, "a -> b -> a"),
        ({"a": ["b"], "b": ["c"], "c": ["b"], "d": []}, "b -> c -> b"),
        ({"x": ["a"], "a": ["b"], "b": ["c"], "c": ["a"]}, "a -> b -> c -> a"),
    ],
)
def test_a_circle_is_named(requires, circle):
    with pytest.raises(CircularDependencyError, match=f"Circular Dependency Found: {circle}$"):
        in_order(requires)


def test_a_long_chain_is_no_trouble():
    requires = {str(n): [str(n - 1)] if n else [] for n in range(20_000)}
    assert in_order(dict(reversed(requires.items()))) == list(requires)


@given(st.dictionaries(st.integers(0, 12), st.sets(st.integers(0, 12)), max_size=13))
def test_any_graph_is_ordered_or_has_a_circle_that_is_one(edges):
    requires = {str(n): sorted(str(m) for m in edges.get(n, ())) for n in range(13)}
    try:
        order = in_order(requires)
    except CircularDependencyError as fault:
        circle = fault.reason.removeprefix("Circular Dependency Found: ").split(" -> ")
        assert circle[0] == circle[-1]
        assert all(b in requires[a] for a, b in itertools.pairwise(circle))
    else:
        places = {name: place for place, name in enumerate(order)}
        assert all(places[m] < places[n] for n in requires for m in requires[n])
