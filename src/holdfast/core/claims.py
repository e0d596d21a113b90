"""Claims: what one member owns, brought towards what the ring wishes.

Level-triggered: each tick reads members and claims anew and acts on the
difference. Nothing is remembered from an event, so a lost answer costs a tick.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from uuid import UUID

import msgspec
import numpy as np
import structlog

from holdfast.core.lease import TrustWindow
from holdfast.core.ring import Owners, RingMember, Weights, assign
from holdfast.store.model import Claim, Fence, Member, MemberState
from holdfast.store.port import Store

log = structlog.get_logger(__name__)


class Moves(msgspec.Struct, frozen=True):
    """What one member should do now. ``give`` maps a successor to the shards for it."""

    take: tuple[int, ...]
    give: dict[int, tuple[int, ...]]  # index into the ring's members -> shards


class RingView(msgspec.Struct, frozen=True):
    """An immutable picture of one group: living members by id, claims, owners wished and held."""

    members: tuple[Member, ...]
    claims: tuple[Claim, ...]
    wished: Owners
    held: Owners
    objects: Weights


def view(members: Sequence[Member], claims: Sequence[Claim]) -> RingView:
    """The ring of one group. Draining members have no share; gone ones are not passed in."""
    up = tuple(sorted((m for m in members if m.state is MemberState.UP), key=lambda m: m.id))
    index = {(m.id, m.epoch): i for i, m in enumerate(up)}
    previous = np.array(
        [-1 if c.owner is None else index.get((c.owner, c.incarnation), -1) for c in claims],
        dtype=np.int64,
    )
    objects = np.array([c.objects for c in claims], dtype=np.int64)
    wished = assign([RingMember(m.id) for m in up], objects, previous)
    return RingView(up, tuple(claims), wished, previous, objects)


def moves(ring: RingView, me: Member, living: Collection[tuple[UUID, int]]) -> Moves:
    """Which shards ``me`` should take and give. ``living``: (id, epoch) not gone."""
    take: list[int] = []
    give: dict[int, list[int]] = {}
    wishes: list[int] = ring.wished.tolist()
    for claim, wish in zip(ring.claims, wishes, strict=True):
        wished = ring.members[wish] if wish >= 0 else None
        mine = claim.owner == me.id and claim.incarnation == me.epoch
        if mine:
            if wished is not None and wished.id != me.id:
                give.setdefault(wish, []).append(claim.shard)
        elif (
            wished is not None
            and wished.id == me.id
            and (claim.owner is None or (claim.owner, claim.incarnation) not in living)
        ):
            take.append(claim.shard)
    return Moves(tuple(take), {to: tuple(shards) for to, shards in give.items()})


class ClaimKeeper:
    """Takes free shards, hands over wished-away ones at step boundaries.

    ``departing`` holds the shards about to be given: the job runner starts no
    step there; ``active`` (asked each tick) says where one still runs. ``moves``
    counts the ticks that found, or made, a change of what is held.
    """

    def __init__(self, store: Store, me: Member, window: TrustWindow, shards: int) -> None:
        self._store = store
        self._me = me
        self._window = window
        self._shards = shards
        self.departing: frozenset[int] = frozenset()
        self.held = 0
        self.moves = 0
        self.ring: RingView | None = None
        self._mine: set[int] = set()

    async def prepare(self) -> None:
        """Make sure that the group has its shards."""
        await self._store.ensure_shards(self._me.group, self._shards)

    async def tick(self, active: Collection[int]) -> bool:
        """One comparison of claims and ring; True if a shard was taken.

        ``active``: shards in which a step runs right now.
        """
        living = await self._store.members(self._me.role)
        claims = await self._store.claims(self._me.group)
        ring = view([m for m in living if m.group == self._me.group], claims)
        self.ring = ring
        todo = moves(ring, self._me, {(m.id, m.epoch) for m in living})
        mine = {
            c.shard for c in claims if c.owner == self._me.id and c.incarnation == self._me.epoch
        }
        wanted = any(m.id == self._me.id for m in ring.members)
        # A draining member starts no step anywhere, even with nobody to hand over to.
        self.departing = frozenset(
            (s for shards in todo.give.values() for s in shards) if wanted else mine
        )
        taken = await self._take(todo.take)
        given = await self._give(ring, todo, frozenset(active))
        self.held = len(mine) + len(taken) - given
        if taken or given or mine != self._mine:
            self.moves += 1
        self._mine = mine
        return bool(taken)

    async def _take(self, shards: Sequence[int]) -> list[Claim]:
        if not shards or not self._window.open():
            return []
        taken = await self._store.take(self._me.group, shards, self._me.id, self._me.epoch)
        if taken:
            log.info("claims.taken", member=self._me.slot, group=self._me.group, shards=len(taken))
        return taken

    async def _give(self, ring: RingView, todo: Moves, active: frozenset[int]) -> int:
        given = 0
        for to, shards in todo.give.items():
            successor = ring.members[to]
            fences = [
                Fence(self._me.group, s, self._me.id, ring.claims[s].epoch)
                for s in shards
                if s not in active
            ]
            if not fences:
                continue
            moved = await self._store.hand_over(fences, successor.id, successor.epoch)
            given += len(moved)
            if moved:
                log.info(
                    "claims.handed_over",
                    member=self._me.slot,
                    to=successor.slot,
                    shards=len(moved),
                )
        return given
