"""A node is judged by what it answers worse than before, not by queries that fail anyway."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.serving.operating.baseline import Counts, are_too_many
from holdfast.serving.operating.gate import GateError, check_errors, since


def test_only_answers_since_it_is_back_count():
    before, after = {"s/e": Counts(1000, 7)}, {"s/e": Counts(1100, 8)}
    check_errors("u", since(after, before), [], 0.01)
    with pytest.raises(GateError, match=r"1 of 100 .* by s/e"):
        check_errors("u", since(after, before), [], 0.009)
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
        check_errors("u", {**fine, "s/new": Counts(10, 1)}, before, 0.01)


@given(st.integers(1, 10_000), st.integers(1, 10_000), st.floats(0, 1))
def test_the_same_share_is_never_too_many_and_all_always_are_after_none(
    before: int, after: int, share: float
):
    was = Counts(before, round(before * share))
    found = Counts(after, int(after * was.errors / was.answers))
    assert not are_too_many(found, [was], 0.0)
    assert are_too_many(Counts(after, after), [Counts(before, 0)], 0.5)
