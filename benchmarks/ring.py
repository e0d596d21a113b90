"""The ring: balance, movement and time (issue figures; I5)."""

from __future__ import annotations

import time
import uuid

import numpy as np

from holdfast.core.ring import Owners, RingMember, Weights, assign, spread

TITLE = "Ring"
SHARDS = 4096
KEYS = 1_000_000
MEMBERS = 100


def members(count: int) -> list[RingMember]:
    made = [RingMember(uuid.uuid5(uuid.NAMESPACE_OID, str(i))) for i in range(count)]
    return sorted(made, key=lambda m: m.id)


def timed(who: list[RingMember], objects: Weights, before: Owners) -> tuple[Owners, float]:
    best, owners = float("inf"), before
    for _ in range(5):
        started = time.perf_counter()
        owners = assign(who, objects, before)
        best = min(best, time.perf_counter() - started)
    return owners, best


def measure() -> list[tuple[str, str, str]]:
    """Rows of (what, aim, measured)."""
    keys = np.random.default_rng(1).integers(0, SHARDS, KEYS)
    objects = np.bincount(keys, minlength=SHARDS)
    who = members(MEMBERS)
    first, first_s = timed(who, objects, np.full(SHARDS, -1, dtype=np.int64))
    started = time.perf_counter()
    owner_of_key = first[keys]
    lookup_s = time.perf_counter() - started

    gone = 42
    renumbered = np.array([i - (i > gone) if i != gone else -1 for i in range(MEMBERS)])[first]
    rest = [m for i, m in enumerate(who) if i != gone]
    left, leave_s = timed(rest, objects, renumbered)
    leave = objects[left != renumbered].sum() / objects[first == gone].sum()

    joined, join_s = timed([*who, RingMember(uuid.UUID(int=2**128 - 1))], objects, first)
    join = objects[joined != first].sum() / (KEYS / (MEMBERS + 1))

    sixty = np.bincount(np.arange(60) * 17 % 1024, minlength=1024)
    pair = assign(members(2), sixty, np.full(1024, -1, dtype=np.int64))
    shown = " : ".join(str(int(sixty[pair == i].sum())) for i in range(2))
    fill = "max/mean {:.4f}"
    return [
        ("1,000,000 keys over 100 members", "≤ 1.05", fill.format(spread(100, objects, first))),
        ("… first assignment of all shards", "< 1 s", f"{first_s * 1e3:.1f} ms"),
        ("… owner of every key", "< 1 s", f"{lookup_s * 1e3:.1f} ms for {len(owner_of_key):,}"),
        (
            "a leave moves, of its share",
            "≤ 1.1 ×",
            f"{leave:.3f} × in {leave_s * 1e3:.1f} ms",
        ),
        ("… balance after it", "≤ 1.05", fill.format(spread(99, objects, left))),
        ("a join moves, of its share", "≤ 1.1 ×", f"{join:.3f} × in {join_s * 1e3:.1f} ms"),
        ("… balance after it", "≤ 1.05", fill.format(spread(101, objects, joined))),
        (
            "60 nodes, 2 conductors (Ironic 37 : 23)",
            "≤ 1.05",
            f"{shown}, {spread(2, sixty, pair):.3f}",
        ),
    ]
