"""How groups grow, shrink and roll: pure functions over the names of their members.

Sizes count members. A rolling update is a line of batches, each a whole new layout of the group;
it keeps so many members in service as it was told, over the group's size if need be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import ceil, floor
from typing import Final, TypeAlias

Members: TypeAlias = list[list[str]]
"""Pairs of a member's name and the key of its definition, in the order of their making."""

Batch: TypeAlias = list[int]
"""The group's size after the batch, and how many members get the new definition in it."""

ADJUSTMENTS: Final = ("change_in_capacity", "exact_capacity", "percent_change_in_capacity")
BATCHES_MAX: Final = 10_000


def batches(
    wanted: int, present: int, batch_max: int, in_service_min: int, *, extras_stay: bool
) -> list[Batch]:
    """The batches that bring a group from its present size to the wanted one, all new.

    ``extras_stay``: members made beyond both sizes survive the end, and so count as updated.
    """
    line: list[Batch] = []
    updated, size = 0, present
    while not (updated >= size == wanted) and len(line) < BATCHES_MAX:
        count = min(batch_max, max(wanted - updated, 0))
        kept = min(in_service_min, wanted, size)
        after = count + max(min(size, wanted - count), kept)
        line.append([after, count])
        extra = 0 if extras_stay else max(after - max(size, wanted), 0)
        updated += count - extra
        size = after
    return line


def layout(ordered: Members, new: str, batch: Batch, fresh_name: Callable[[], str]) -> Members:
    """The group after a batch. ``ordered``: its members, those to be replaced or dropped first.

    New members make up for what the size lacks; what of the batch they leave over
    replaces definitions.
    """
    size, count = batch
    kept = ordered[-size:] if size else []
    made = size - len(kept)
    replaced = count - made
    after: Members = []
    for name, definition in kept:
        if definition != new and replaced > 0:
            replaced -= 1
            after.append([name, new])
        else:
            after.append([name, definition])
    after += [[fresh_name(), new] for _ in range(made)]
    return after


def numbered(skipped: set[str]) -> Iterator[str]:
    """``0``, ``1``, … without those that were removed for good."""
    number = 0
    while True:
        if str(number) not in skipped:
            yield str(number)
        number += 1


def by_priority(members: Members, names: Sequence[str], wanted: int) -> Members:
    """Members of a numbered group in the order in which a rolling update takes them.

    First those that go, then from the highest number down, and last those that only help out.
    """
    place = {name: index for index, name in enumerate(names)}

    def priority(member: list[str]) -> int:
        index = place.get(member[0])
        if index is None:
            return 0
        return wanted - index if index < wanted else len(names) + wanted

    return sorted(members, key=priority)


def by_age(members: Members, new: str) -> Members:
    """Members named by ever higher numbers, in the order in which they are replaced or dropped.

    First those without the new definition, of these the oldest: what a batch made beyond the
    size must not push an old one back in.
    """
    return sorted(members, key=lambda member: (member[1] == new, int(member[0])))


def new_capacity(
    present: int,
    adjustment: float,
    kind: str,
    step_min: int | None,
    low: int,
    high: int,
) -> int:
    """The size after an adjustment (one of ``ADJUSTMENTS``), within the bounds."""
    if kind == "exact_capacity":
        wanted = int(adjustment)
    elif kind == "change_in_capacity":
        wanted = present + int(adjustment)
    else:
        wanted = present + _percent(present, adjustment, step_min)
    return max(min(wanted, high), low)


def _percent(present: int, percent: float, step_min: int | None) -> int:
    """At least one member for any percentage, else rounded towards none."""
    exact = present * percent / 100.0
    away = ceil(exact) if exact > 0 else floor(exact)
    change = away if abs(exact) < 1 else int(exact)
    if step_min and abs(change) < step_min:
        return step_min if percent > 0 else -step_min
    return change
