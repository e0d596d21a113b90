"""A node is judged by what it answers worse than before, not by queries that fail anyway."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.serving.operating.baseline import Counts, are_too_many, errors_allowed
from holdfast.serving.operating.gate import GateError, check_errors, pooled, since


def test_only_answers_since_it_is_back_count():
    before, after = {"s/e": Counts(1000, 7)}, {"s/e": Counts(1100, 15)}
    check_errors("u", since(after, before), [], 0.05)
    with pytest.raises(GateError, match=r"8 of 100 .* by s/e; .* at most 1.0% may be"):
        check_errors("u", since(after, before), [], 0.01)
    assert since({"s/e": Counts(5, 1)}, before) == {"s/e": Counts(5, 1)}  # it has started anew
    check_errors("u", {}, [], 0.0)


def test_a_user_whose_queries_fail_anyway_stops_nothing():
    before = [{"s/fail": Counts(500, 500), "s/add": Counts(10_000, 0)}]
    check_errors("u", {"s/fail": Counts(130, 130), "s/add": Counts(900, 0)}, before, 0.01)


def test_one_who_has_begun_only_now_fails_with_those_that_are_unchanged_too():
    long, meanwhile = {"s/add": Counts(1_000_000, 0)}, {"s/add": Counts(200, 100)}
    check_errors("u", {"s/add": Counts(200, 104)}, [long, meanwhile], 0.01)
    with pytest.raises(GateError):
        check_errors("u", {"s/add": Counts(200, 104)}, [long], 0.01)


def test_an_endpoint_that_breaks_is_found_among_others_that_are_fine_or_always_failed():
    before = [{"s/fail": Counts(500, 500), "s/add": Counts(10_000, 20), "s/rare": Counts(50, 0)}]
    fine = {"s/fail": Counts(130, 130), "s/add": Counts(9000, 20)}
    with pytest.raises(GateError, match=r"3 of 3 .* by s/rare"):
        check_errors("u", {**fine, "s/rare": Counts(3, 3)}, before, 0.01)
    with pytest.raises(GateError, match="s/new"):
        check_errors("u", {**fine, "s/new": Counts(10, 3)}, before, 0.01)


DEAD = Counts(200, 200)
MANY = Counts(1_000_000, 0)


@pytest.mark.parametrize(
    ("found", "before"),
    [
        (DEAD, []),
        (DEAD, [Counts(1, 0)]),
        (DEAD, [Counts(1, 1)]),
        (DEAD, [Counts(2, 1)]),
        (DEAD, [Counts(5, 5)]),
        (DEAD, [Counts(1000, 3), Counts(1, 1)]),
        (DEAD, [MANY, Counts(2, 2), Counts(1, 1)]),
        (Counts(500, 500), [Counts(2, 1)]),
        (Counts(3, 3), [Counts(1, 0)]),
        (Counts(10, 10), [Counts(1, 1)]),
        (Counts(10, 3), [Counts(1000, 0)]),
        (Counts(10, 3), []),
        (Counts(1000, 90), [Counts(1000, 10)]),
    ],
)
def test_a_generation_that_is_worse_is_stopped_whatever_little_came_before(
    found: Counts, before: list[Counts]
):
    assert are_too_many(found, before, 0.01)


@pytest.mark.parametrize(
    ("found", "before"),
    [
        (Counts(50, 1), [Counts(1000, 0)]),
        (Counts(3, 1), [Counts(1000, 0)]),
        (Counts(1, 1), [Counts(1000, 0)]),
        (Counts(50, 1), []),
        (Counts(10, 2), [Counts(1000, 0)]),
        (Counts(200, 4), [Counts(1000, 5)]),
        (DEAD, [Counts(20, 20)]),
        (Counts(10_000, 10_000), [Counts(500, 500)]),
        (Counts(10, 5), [Counts(10, 5)]),
        (Counts(0, 0), [Counts(0, 0)]),
    ],
)
def test_chance_and_queries_that_failed_as_often_before_stop_nothing(
    found: Counts, before: list[Counts]
):
    assert not are_too_many(found, before, 0.01)


def test_where_no_errors_are_allowed_one_stops_nothing_and_two_do():
    assert not are_too_many(Counts(1000, 1), [Counts(1000, 0)], 0.0)
    assert are_too_many(Counts(1000, 2), [Counts(1000, 0)], 0.0)
    assert errors_allowed([Counts(1, 1)], 0.0) < 0.3
    assert errors_allowed([Counts(100, 100)], 0.5) == 1.0


def test_the_few_that_each_of_many_others_answers_count_together():
    others = [{"s/e": Counts(3, 2), "s/f": Counts(1, 0)}, {"s/e": Counts(3, 3)}]
    assert pooled(others) == {"s/e": Counts(6, 5), "s/f": Counts(1, 0)}
    check_errors("u", {"s/e": Counts(100, 95)}, [pooled(others * 10)], 0.01)
    with pytest.raises(GateError):
        check_errors("u", {"s/e": Counts(100, 95)}, others * 10, 0.01)


@given(st.integers(20, 10_000), st.integers(10, 10_000), st.floats(0, 1))
def test_the_same_share_is_never_too_many_and_all_always_are_after_none(
    before: int, after: int, share: float
):
    was = Counts(before, round(before * share))
    found = Counts(after, int(after * was.errors / was.answers))
    assert not are_too_many(found, [was], 0.0)
    assert are_too_many(Counts(after, after), [Counts(before, 0)], 0.5)
