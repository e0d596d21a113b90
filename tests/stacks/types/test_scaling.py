"""How groups roll: the arithmetic, for every size and policy."""

from __future__ import annotations

from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.stacks.types.scaling import (
    Members,
    batches,
    by_age,
    by_priority,
    layout,
    new_capacity,
    numbered,
)

SIZES = st.integers(0, 12)


@pytest.mark.parametrize(
    ("present", "adjustment", "kind", "step", "wanted"),
    [
        (3, 2, "change_in_capacity", None, 5),
        (3, -2, "change_in_capacity", None, 1),
        (3, -9, "change_in_capacity", None, 1),
        (3, 90, "change_in_capacity", None, 10),
        (3, 4, "exact_capacity", None, 4),
        (3, 0, "exact_capacity", None, 1),
        (4, 50, "percent_change_in_capacity", None, 6),
        (3, 50, "percent_change_in_capacity", None, 4),  # 1.5 towards none
        (3, 10, "percent_change_in_capacity", None, 4),  # 0.3: at least one
        (3, -10, "percent_change_in_capacity", None, 2),
        (6, -50, "percent_change_in_capacity", None, 3),
        (4, 25, "percent_change_in_capacity", 3, 7),
        (7, -10, "percent_change_in_capacity", 3, 4),
        (4, 100, "percent_change_in_capacity", 2, 8),
    ],
)
def test_adjustments(present: int, adjustment: float, kind: str, step: int | None, wanted: int):
    assert new_capacity(present, adjustment, kind, step, 1, 10) == wanted


@given(wanted=SIZES, present=SIZES, batch=st.integers(1, 5), service=st.integers(0, 8))
def test_a_numbered_group_rolls_to_what_is_wanted_and_keeps_its_service(
    wanted: int, present: int, batch: int, service: int
):
    members: Members = [[str(n), "old"] for n in range(present)]
    for one in batches(wanted, present, batch, service, extras_stay=False):
        names = [name for name, _ in zip(numbered(set()), range(one[0]), strict=False)]
        have = {name for name, _ in members}
        fresh = iter([name for name in names if name not in have])
        ordered = by_priority(members, names, wanted)
        after = layout(ordered, "new", one, lambda fresh=fresh: next(fresh))
        was = dict(members)
        touched = [name for name, key in after if was.get(name) != key]
        assert len(touched) <= batch
        untouched = [name for name, key in after if was.get(name) == key]
        assert len(untouched) >= min(service, wanted, present)
        members = after
    assert sorted(members) == sorted([str(n), "new"] for n in range(wanted))


@given(present=SIZES, batch=st.integers(1, 5), service=st.integers(0, 8))
def test_a_group_without_numbers_rolls_the_oldest_first(present: int, batch: int, service: int):
    members: Members = [[str(n), "old"] for n in range(present)]
    names = count(present)
    for one in batches(present, present, batch, service, extras_stay=True):
        members = layout(by_age(members, "new"), "new", one, lambda: str(next(names)))
    assert [key for _, key in members] == ["new"] * present


def test_removed_numbers_are_passed_over():
    found = numbered({"0", "2"})
    assert [next(found) for _ in range(3)] == ["1", "3", "4"]
