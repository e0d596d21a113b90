"""The ring: which member *should* own which shard. A pure function, nothing else.

Rendezvous hashing (Thaler and Ravishankar, 1998) says who a shard prefers; the
loads are then bounded, given the previous assignment, so that a member that
joins or leaves moves little more than its own share (I5).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias
from uuid import UUID

import msgspec
import numpy as np
import numpy.typing as npt
import xxhash

Owners: TypeAlias = npt.NDArray[np.int64]  # per shard: an index into the members, or -1
Weights: TypeAlias = npt.NDArray[np.int64]  # per shard: how many objects live in it

CAP_EPSILON = 0.02  # levelling ends with no member above (1 + this) of its fair share ...
LOW_EPSILON = 0.05  # ... and none below (1 - this)
EMPTY_SLACK = 0.25  # shards without objects are levelled only when counts differ by more
_MIX = np.uint64(0x9E3779B97F4A7C15)
_MIX_A = np.uint64(0xBF58476D1CE4E5B9)
_MIX_B = np.uint64(0x94D049BB133111EB)


class RingMember(msgspec.Struct, frozen=True):
    """A member as the ring sees it."""

    id: UUID
    weight: float = 1.0


def scores(members: Sequence[RingMember], shards: int) -> npt.NDArray[np.float64]:
    """Weighted rendezvous scores, shape (members, shards); higher is preferred."""
    seeds = np.array([xxhash.xxh3_64_intdigest(m.id.bytes) for m in members], dtype=np.uint64)
    mixed = seeds[:, None] ^ (np.arange(1, shards + 1, dtype=np.uint64) * _MIX)[None, :]
    mixed ^= mixed >> np.uint64(30)  # splitmix64's finaliser
    mixed *= _MIX_A
    mixed ^= mixed >> np.uint64(27)
    mixed *= _MIX_B
    mixed ^= mixed >> np.uint64(31)
    uniform = (mixed.astype(np.float64) + 0.5) / 2.0**64
    weights = np.array([m.weight for m in members], dtype=np.float64)
    result: npt.NDArray[np.float64] = -weights[:, None] / np.log(uniform)
    return result


def assign(members: Sequence[RingMember], objects: Weights, previous: Owners) -> Owners:
    """Whom each shard should belong to.

    ``objects[s]`` counts the objects in shard ``s``; ``previous[s]`` is the index
    of its present owner among ``members``, or -1. Returns the same shape; all -1
    without members. Members must be in one order everywhere (by id).
    """
    shards = len(objects)
    if not members:
        return np.full(shards, -1, dtype=np.int64)
    weight = np.array([m.weight for m in members], dtype=np.float64)
    fair = weight / weight.sum()
    preference = scores(members, shards)
    owners = previous.astype(np.int64).copy()
    # Two loads: the objects, and (for those still to come) the number of shards.
    full, ones = objects > 0, np.ones(shards, dtype=np.int64)
    _place_free(owners, full, objects.astype(np.int64), fair, preference)
    _place_free(owners, ~full, ones, fair, preference)
    _level(owners, full, objects.astype(np.int64), fair, preference)
    counts = np.bincount(owners, minlength=len(members)) / (fair * shards)
    if counts.max() > 1 + EMPTY_SLACK or counts.min() < 1 - EMPTY_SLACK:
        _level(owners, ~full, ones, fair, preference)
    return owners


def _loads(owners: Owners, weights: Weights, members: int) -> npt.NDArray[np.float64]:
    owned = owners >= 0
    carried = weights[owned].astype(np.float64)
    return np.bincount(owners[owned], weights=carried, minlength=members).astype(np.float64)


def _place_free(
    owners: Owners,
    movable: npt.NDArray[np.bool_],
    weights: Weights,
    fair: npt.NDArray[np.float64],
    preference: npt.NDArray[np.float64],
) -> None:
    """Give each free shard, the heaviest first, to whom it prefers among those with room."""
    target = fair * weights.sum()
    loads = _loads(owners, weights, len(fair))
    free = np.flatnonzero((owners < 0) & movable)
    for shard in free[np.argsort(-weights[free], kind="stable")]:
        room = loads + weights[shard] <= target
        if room.any():
            chosen = int(np.argmax(np.where(room, preference[:, shard], -1.0)))
        else:
            chosen = int(np.argmin((loads + weights[shard]) / target))
        owners[shard] = chosen
        loads[chosen] += weights[shard]


def _level(
    owners: Owners,
    movable: npt.NDArray[np.bool_],
    weights: Weights,
    fair: npt.NDArray[np.float64],
    preference: npt.NDArray[np.float64],
) -> None:
    """Move shards from the fullest to the emptiest while somebody is out of bounds.

    Each move lowers the sum of squared relative loads, so this ends.
    """
    if not movable.any():
        return
    target = fair * weights.sum()
    loads = _loads(owners, weights, len(fair))
    stuck = np.zeros(len(loads), dtype=bool)
    while True:
        relative = loads / target
        donor = int(np.argmax(np.where(stuck, -1.0, relative)))
        receiver = int(np.argmin(relative))
        balanced = relative[donor] <= 1 + CAP_EPSILON and relative[receiver] >= 1 - LOW_EPSILON
        if balanced or donor == receiver or stuck[donor]:
            return
        # The largest weight whose move still lowers the pair's sum of squares.
        gap = (relative[donor] - relative[receiver]) / (1 / target[donor] + 1 / target[receiver])
        mine = np.flatnonzero((owners == donor) & movable)
        fitting = mine[weights[mine] <= gap]
        if not len(fitting):
            # Strictly, beyond rounding: a move that only swaps the two would go on for ever.
            fitting = mine[weights[mine] < 2 * gap * (1 - 1e-9)]
            if not len(fitting):
                stuck[donor] = True
                continue
            fitting = fitting[np.argmin(weights[fitting])][None]
        # Heavy ones first: fewest moves. Among equals the receiver's favourite.
        heaviest = fitting[weights[fitting] == weights[fitting].max()]
        shard = int(heaviest[np.argmax(preference[receiver, heaviest])])
        owners[shard] = receiver
        loads[donor] -= weights[shard]
        loads[receiver] += weights[shard]


def spread(members: int, objects: Weights, owners: Owners) -> float:
    """The fullest member's objects over the mean: 1.0 is perfect (I5)."""
    total = int(objects.sum())
    if not members or not total:
        return 1.0
    owned = owners >= 0
    loads = np.bincount(owners[owned], weights=objects[owned], minlength=members)
    return float(loads.max() * members / total)
